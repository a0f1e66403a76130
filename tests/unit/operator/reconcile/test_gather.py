"""Which pools are good, and what stands in for one that is bad now."""

import base64
import copy
from typing import Any

import pytest

from pithead.manifests import Problem
from pithead_operator.reconcile.gather import Gathered, essential, gather, referred
from tests.unit.operator import samples

pytestmark = pytest.mark.gate

Object = dict[str, Any]

SECRETS = [
    {
        "metadata": {"name": name, "namespace": samples.NAMESPACE},
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in each.items()},
    }
    for name, each in samples.SECRET_TEXTS.items()
]


def form(name: str = "ltc", coin: str = "litecoin") -> tuple[Object, ...]:
    """What is kept of a pool that was good."""
    found = (samples.pool(name, coin), samples.endpoint(coin, coin), samples.scheme())
    return tuple(essential(each) for each in found)


def judged(objects: list[Object], **more: Any) -> Gathered:
    return gather(samples.NAMESPACE, objects, SECRETS, more.pop("accepted", {}), **more)


def names(found: Gathered) -> list[str]:
    return [pool.metadata.name for pool in found.manifests.pools]


def test_good_pools_have_no_findings() -> None:
    found = judged(samples.all_objects())
    assert names(found) == ["btc", "ltc"]
    assert found.good("ltc")
    assert not found.findings


def test_a_bad_new_pool_is_left_out_and_told_and_harms_no_other() -> None:
    objects = [each for each in samples.all_objects() if each["metadata"]["name"] != "litecoin"]
    found = judged(objects)
    assert names(found) == ["btc"]
    (finding,) = found.findings["MiningPool/ltc"]
    assert finding.reason == "ReferenceMissing"
    assert finding.message.startswith("spec.coinEndpointRef.name: there is no CoinEndpoint")
    assert found.good("btc")
    assert not found.standing_in | found.lost


def test_a_pool_that_worked_is_stood_in_for_when_its_endpoint_is_deleted() -> None:
    objects = [each for each in samples.all_objects() if each["metadata"]["name"] != "litecoin"]
    found = judged(objects, accepted={"ltc": form()})
    assert names(found) == ["btc", "ltc"]
    assert not found.good("ltc")
    assert found.standing_in == {"ltc"}


def test_a_pool_that_worked_is_stood_in_for_by_its_own_last_good_form() -> None:
    objects = copy.deepcopy(samples.all_objects())
    bad = next(each for each in objects if each["metadata"]["name"] == "ltc")
    bad["spec"]["database"]["host"] = "127.0.0.1"
    found = judged(objects, accepted={"ltc": form()})
    (stand_in,) = (each for each in found.manifests.pools if each.metadata.name == "ltc")
    assert stand_in.spec.database is not None
    assert stand_in.spec.database.host == "postgres.example"


def test_a_pool_whose_secret_is_gone_is_lost_and_not_forgotten() -> None:
    secrets = [each for each in SECRETS if each["metadata"]["name"] != "litecoin-wallet"]
    found = gather(samples.NAMESPACE, samples.all_objects(), secrets, {"ltc": form()})
    assert found.lost == {"ltc"}
    assert names(found) == ["btc"]


def test_a_clash_with_another_namespace_leaves_the_pool_out() -> None:
    clash = Problem("", 0, "MiningPool/ltc", "spec.poolId", "is taken", "Conflict")
    found = judged(samples.all_objects(), clashes=[clash])
    assert names(found) == ["btc"]
    assert found.findings["MiningPool/ltc"][0].reason == "Conflict"


def test_the_order_of_objects_does_not_matter() -> None:
    forward, backward = samples.all_objects(), samples.all_objects()[::-1]
    assert judged(forward) == judged(backward)


def test_what_a_pool_refers_to_is_read_from_whatever_was_written() -> None:
    assert referred(samples.pool()) == (("CoinEndpoint", "litecoin"), ("RewardScheme", "pplns"))
    assert referred({"metadata": {}, "spec": None}) == (("CoinEndpoint", ""),)
