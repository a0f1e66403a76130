"""What checked manifests answer."""

from decimal import Decimal

import pytest

from pithead.manifests.objects import DEMO_MINERS_MAX, demo_hashrates
from pithead.manifests.pool import MiningPool
from tests.unit.manifests.samples import endpoint, listener, load, node, pool, put, scheme, secret

pytestmark = pytest.mark.gate


def with_miners(text: str) -> MiningPool:
    annotated = put(pool(), "metadata.annotations", {"pithead.dev/demo-miners": text})
    return MiningPool.model_validate(annotated)


def test_pools_are_ordered_by_name_and_references_resolve() -> None:
    found = load(
        pool("beta", listeners=[listener(port=3334)], schemes=[{"name": "solo-like"}]),
        endpoint(),
        pool("alpha"),
        scheme(),
        scheme("solo-like"),
        put(endpoint(network="testnet", coin="bitcoin", nodes=[node()]), "metadata.name", "btc"),
        secret(),
    )
    assert [each.metadata.name for each in found.pools] == ["alpha", "beta"]
    assert found.endpoint(found.pools[0]).spec.coin == "devchain"
    assert [each.metadata.name for each in found.offered(found.pools[1])] == ["solo-like"]
    assert [each.metadata.name for each in found.used_endpoints()] == ["dev"]
    assert found.namespace == "default"


def test_credentials_never_show_their_password() -> None:
    found = load(pool(), endpoint(coin="litecoin", nodes=[node()]), scheme(), secret())
    assert found.credentials["rpc"].password == "s3cret-word"
    assert "s3cret-word" not in repr(found)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("16000, 8000,4000", ["16000", "8000", "4000"]),
        ("1.2, 0.15", ["1.2", "0.15"]),
        ("", []),
        (" ", []),
        (", ".join(["1"] * DEMO_MINERS_MAX), ["1"] * DEMO_MINERS_MAX),
    ],
    ids=["whole", "decimal", "empty", "blank", "most"],
)
def test_demo_miners_are_read(text: str, rates: list[str]) -> None:
    assert demo_hashrates(with_miners(text)) == tuple(map(Decimal, rates))


@pytest.mark.parametrize(
    "text", ["0", "-1", "1e3", "1,,2", "NaN", "1.", ".5", "x", "1 2", "\uff11", "9" * 19]
)
def test_other_demo_miners_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected hashes per second of each demo miner"):
        demo_hashrates(with_miners(text))


def test_number_of_demo_miners_is_bounded() -> None:
    with pytest.raises(ValueError, match="65 demo miners are given; at most 64 are run"):
        demo_hashrates(with_miners(", ".join(["1"] * (DEMO_MINERS_MAX + 1))))
