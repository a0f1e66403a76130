"""Edges whose spools hold shares are left as they are."""

from dataclasses import replace

import pytest

from pithead_operator.desired.edge import render_edge
from pithead_operator.reconcile.frozen import keys_of_edges, without_deployment
from pithead_operator.regions.plan import key_of
from tests.unit.operator.samples import edge_inputs

pytestmark = pytest.mark.gate


def test_deployment_alone_is_left_as_it_is() -> None:
    edge = edge_inputs()
    left = {key_of(each) for each in render_edge(edge)} - {
        key_of(each) for each in without_deployment(render_edge(edge), edge)
    }
    assert left == {("Deployment", "ltc-eu-stratum")}


def test_edges_of_a_region_that_is_switched_off_are_kept() -> None:
    edge = edge_inputs()
    off = replace(edge, region=edge.region.model_copy(update={"state": "Off"}))
    assert render_edge(off) == ()
    assert keys_of_edges(off) == {key_of(each) for each in render_edge(edge)}
