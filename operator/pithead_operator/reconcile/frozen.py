"""Answers for leaving edges alone while shares wait in their spools.

A spool lies on a volume of its pod and goes with it, so nothing may end a pod
then: no rollout, no scale-in, no drain, no region that is switched off. Settings
and Secrets change all the same, as a container that starts again reads them.
Pure.
"""

from collections.abc import Sequence
from dataclasses import replace

from pithead_operator.desired.edge import render_edge
from pithead_operator.desired.inputs import EdgeInputs, Object
from pithead_operator.desired.names import edge_name
from pithead_operator.regions.plan import Key, key_of


def without_deployment(items: Sequence[Object], edge: EdgeInputs) -> tuple[Object, ...]:
    """The objects but for the one that runs the edges."""
    name = edge_name(edge.pool.metadata.name, edge.region.id)
    return tuple(each for each in items if key_of(each) != ("Deployment", name))


def keys_of_edges(edge: EdgeInputs) -> set[Key]:
    """All that edges consist of, also in a region that was switched off meanwhile.

    Raises MissingInput, RenderError.
    """
    active = edge.region.model_copy(update={"state": "Active"})
    return {key_of(item) for item in render_edge(replace(edge, region=active))}
