"""CoinEndpoint: defaults and what stays absent."""

import pytest

from pithead.manifests.endpoint import CoinEndpoint
from tests.unit.manifests.samples import endpoint, node

pytestmark = pytest.mark.gate


def test_shortest_endpoint_gets_the_documented_defaults() -> None:
    spec = CoinEndpoint.model_validate(endpoint()).spec
    assert spec.nodes == ()
    assert (spec.wallet.kind, spec.wallet.name) == ("node", "pool")
    assert spec.confirmations == 6
    assert spec.poll_interval_milliseconds == 500
    assert spec.devchain is None


def test_nodes_keep_their_order_and_default_to_main() -> None:
    found = CoinEndpoint.model_validate(
        endpoint(coin="litecoin", nodes=[node(name="b"), node(name="a", role="standby")])
    )
    assert [(each.name, each.role) for each in found.spec.nodes] == [
        ("b", "main"),
        ("a", "standby"),
    ]


def test_built_in_node_has_defaults_of_its_own() -> None:
    built_in = CoinEndpoint.model_validate(endpoint(devchain={})).spec.devchain
    assert built_in is not None
    assert (built_in.hashes_per_block, built_in.rpc_port) == (65536, 19443)
