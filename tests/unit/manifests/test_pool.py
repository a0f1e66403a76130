"""MiningPool: defaults, ids and the default scheme."""

import pytest

from pithead.manifests.pool import MiningPool
from tests.unit.manifests.samples import listener, pool, put

pytestmark = pytest.mark.gate


def test_shortest_pool_gets_the_documented_defaults() -> None:
    spec = MiningPool.model_validate(pool()).spec
    assert spec.listeners[0].host == "0.0.0.0"
    assert spec.vardiff.share_interval_seconds == 5
    assert spec.limits.connections_max == 20_000
    assert spec.bans.duration_seconds == 600
    assert spec.regions[0].state == "Active"
    assert spec.payouts.interval_seconds == 3600
    assert spec.payouts.paused is False


def test_pool_id_is_given_or_namespace_and_name() -> None:
    assert MiningPool.model_validate(pool()).pool_id == "default.alpha"
    elsewhere = put(pool(), "metadata.namespace", "mining")
    assert MiningPool.model_validate(elsewhere).pool_id == "mining.alpha"
    assert MiningPool.model_validate(pool(poolId="old")).pool_id == "old"


def test_default_scheme_is_given_or_the_only_one() -> None:
    assert MiningPool.model_validate(pool()).spec.default_scheme_name == "pplns"
    two = pool(schemes=[{"name": "pplns"}, {"name": "b"}], defaultScheme="b")
    assert MiningPool.model_validate(two).spec.default_scheme_name == "b"


def test_difficulty_keeps_what_was_written() -> None:
    bounds = {"start": 16, "min": "0.000031", "max": "64"}
    spec = MiningPool.model_validate(pool(listeners=[listener(difficulty=bounds)])).spec
    found = spec.listeners[0].difficulty
    assert (found.start, found.min, found.max) == ("16", "0.000031", "64")
