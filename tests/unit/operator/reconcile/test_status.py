"""Status: what is told of what was seen."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pithead.config import SlotSettings
from pithead.manifests import canonical_parameters, revision_of
from pithead.manifests.endpoint import CoinEndpointStatus
from pithead.manifests.pool import MiningPoolStatus
from pithead.manifests.scheme import RewardSchemeStatus
from pithead_operator.reconcile.gather import Finding
from pithead_operator.reconcile.reports import NodeReport, Sum
from pithead_operator.reconcile.status import (
    HubView,
    Mark,
    RegionView,
    Truth,
    bytes_text,
    endpoint_status,
    joined,
    pool_status,
    scheme_status,
    stream_mark,
)
from pithead_operator.regions.member import Health
from tests.unit.operator import samples

pytestmark = pytest.mark.gate

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = Health("Reachable", "Reachable", "its API server answers")
AWAY = Health("Unreachable", "Unreachable", "no answer in time")
Object = dict[str, Any]
MODEL = next(each for each in samples.hub_inputs().manifests.pools if each.metadata.name == "ltc")


def region(identity: str = "eu", **more: Any) -> RegionView:
    given = {"cluster": None, "health": GOOD, "desired": 1, "ready": 1, **more}
    return RegionView(id=identity, **given)


def told(
    *regions: RegionView,
    findings: tuple[Finding, ...] = (),
    hub: HubView | None = None,
    before: Object | None = None,
    now: datetime = NOW,
) -> tuple[dict[str, tuple[str, str]], Object]:
    item = samples.pool() | {"status": before or {}}
    item["metadata"]["generation"] = 4
    status = pool_status(item, MODEL, findings, hub or HubView(), regions, now)
    MiningPoolStatus.model_validate(status, by_alias=True, by_name=False)
    marks = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    return marks, status


def of_region(status: Object, index: int) -> dict[str, Object]:
    """The conditions of one region by type."""
    return {each["type"]: each for each in status["regions"][index]["conditions"]}


def test_a_pool_with_all_edges_ready_is_ready() -> None:
    sums = Sum(edges=1, connections=5, hashrate=2 * 10**9)
    marks, status = told(region(told=sums), region("us", cluster="us", told=sums))
    assert marks["Ready"] == ("True", "AsWanted")
    assert marks["Stalled"][0] == marks["Reconciling"][0] == "False"
    assert (status["connections"], status["hashrate"]) == (10, "4 GH/s")
    assert status["regionsReady"] == "2/2"
    assert {each["observedGeneration"] for each in status["conditions"]} == {4}


def test_a_finding_stalls_and_says_what_to_do() -> None:
    finding = Finding("SecretMissing", "there is no Secret x; make it")
    marks, status = told(findings=(finding,))
    assert marks["Stalled"] == ("True", "SecretMissing")
    assert marks["Ready"] == ("False", "SecretMissing")
    (stalled,) = (each for each in status["conditions"] if each["type"] == "Stalled")
    assert stalled["message"] == finding.message


def test_a_region_that_is_away_is_not_a_stall() -> None:
    marks, status = told(region(), region("us", health=AWAY))
    assert marks["Stalled"][0] == "False"
    assert marks["Ready"] == ("False", "RegionUnreachable")
    assert [each["reachable"] for each in status["regions"]] == [True, False]
    assert of_region(status, 1)["Reachable"]["reason"] == "Unreachable"


def test_another_cluster_under_a_known_name_is_a_stall() -> None:
    marks, _ = told(region(health=Health("Refused", "ClusterChanged", "another cluster")))
    assert marks["Stalled"] == ("True", "ClusterChanged")


def test_what_is_waited_for_is_reconciling() -> None:
    marks, _ = told(region(ready=0, waiting=("edges to be ready",)))
    assert marks["Reconciling"] == ("True", "Progressing")
    assert marks["Ready"] == ("False", "Progressing")


def test_a_transition_keeps_its_time_until_it_happens_again() -> None:
    _, first = told(region())
    later = NOW + timedelta(hours=1)
    _, second = told(region(), before=first, now=later)
    assert second == first
    _, third = told(region(health=AWAY), before=second, now=later)
    times = {each["type"]: each["lastTransitionTime"] for each in third["conditions"]}
    assert times["Ready"] == "2026-01-02T04:04:05Z"
    assert times["Stalled"] == "2026-01-02T03:04:05Z"
    assert of_region(third, 0)["Reachable"]["lastTransitionTime"] == "2026-01-02T04:04:05Z"


def test_shares_in_spools_degrade_a_region_and_stop_no_miner() -> None:
    sums = Sum(edges=2, spooling=1, spool_bytes=5_600_000)
    marks, status = told(
        region(told=Sum(edges=1)),
        region("us", told=sums),
        hub=HubView(stream=stream_mark([region("us", told=sums)])),
    )
    assert marks["Ready"] == ("True", "AsWanted")
    assert marks["StreamReady"] == ("False", "Spooling")
    assert of_region(status, 0)["Degraded"]["status"] == "False"
    found = of_region(status, 1)["Degraded"]
    assert (found["status"], found["reason"]) == ("True", "Spooling")
    assert "1 edges keep shares in their spools, 5 MiB" in found["message"]


def test_region_that_told_nothing_is_not_known_to_be_degraded() -> None:
    _, status = told(region())
    assert of_region(status, 0)["Degraded"]["status"] == "Unknown"
    assert "Relayed" not in of_region(status, 0)


@pytest.mark.parametrize(
    ("sums", "relay", "reason"),
    [
        (Sum(edges=1, away=1, full=1), "True", "LogAway"),
        (Sum(edges=1, full=1, spooling=1), "True", "LogFull"),
        (Sum(edges=1, spooling=1), "False", "Spooling"),
        (Sum(edges=1), "False", "RelayAway"),
        (Sum(edges=1), "True", "TopicsReady"),
    ],
    ids=["away", "full", "spooling", "relay", "good"],
)
def test_stream_tells_the_worst_first(sums: Sum, relay: Truth, reason: str) -> None:
    mark = Mark("Relayed", relay, "RelayAway", "because")
    found = stream_mark([region(told=Sum(edges=1)), region("us", told=sums, relay=mark)])
    assert found.reason == reason
    assert found.status == ("True" if reason == "TopicsReady" else "False")
    if reason == "RelayAway":
        assert found.message == "shares of us wait there: because"


def test_stream_is_unknown_while_a_relay_is() -> None:
    mark = Mark("Relayed", "Unknown", "Progressing", "the relay is not made yet")
    found = stream_mark([region("us", told=Sum(edges=1), relay=mark)])
    assert (found.status, found.reason) == ("Unknown", "Progressing")
    assert found.message == "region us: the relay is not made yet"


def test_relay_of_a_region_is_told() -> None:
    mark = Mark("Relayed", "True", "RelayReady", "it brings shares")
    _, status = told(region(relay=mark))
    assert of_region(status, 0)["Relayed"]["reason"] == "RelayReady"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1000 B"), (1024, "1 KiB"), (2**20 * 37, "37 MiB"), (2**40, "1 TiB"),
     (2**80, "4100000 TiB")],
)  # fmt: skip
def test_bytes_are_told_to_two_digits(count: int, text: str) -> None:
    assert bytes_text(count) == text


def test_many_findings_are_counted_and_not_all_told() -> None:
    text = joined([Finding("A", f"sentence {number}") for number in range(9)])
    assert text.endswith("sentence 3; and 5 more")


WALLET = Mark("WalletReady", "True", "AddressKnown", "")


def node_status(*reports: NodeReport, wallet: Mark = WALLET) -> tuple[dict[str, str], Object]:
    item = samples.endpoint()
    model = samples.hub_inputs().manifests.endpoints["litecoin"]
    status = endpoint_status(item, model, (), wallet, reports, NOW)
    CoinEndpointStatus.model_validate(status, by_alias=True, by_name=False)
    return {each["type"]: each["status"] for each in status["conditions"]}, status


def test_nodes_are_told_as_edges_see_them_the_slowest_answer_counts() -> None:
    marks, status = node_status(
        NodeReport("a", reachable=True, active=True, height=100, latency_ms=123),
        NodeReport("a", reachable=False, height=99, latency_ms=7, error="refused"),
        NodeReport("b", reachable=False, error="no answer"),
        NodeReport("another", reachable=True),
    )
    assert status["height"] == 100
    assert status["nodesReachable"] == "1/2"
    lines = {each["name"]: each for each in status["nodes"]}
    assert lines["a"]["latencyMilliseconds"] == 120
    assert lines["b"]["error"] == "no answer"
    assert (marks["Synced"], marks["NodesHealthy"], marks["Ready"]) == ("True", "False", "True")


def test_without_any_report_nothing_is_claimed_of_nodes() -> None:
    marks, status = node_status()
    assert marks["Synced"] == marks["NodesHealthy"] == "Unknown"
    assert "height" not in status


def test_a_scheme_tells_its_revisions_and_where_each_holds() -> None:
    item = samples.scheme()
    model = samples.hub_inputs().manifests.schemes["pplns"]
    present = revision_of(canonical_parameters(model))
    slots = {
        "ns.a": [
            SlotSettings(slot=1, scheme="pplns", revision="0" * 64, effective_height=0),
            SlotSettings(slot=1, scheme="pplns", revision=present, effective_height=9),
        ],
        "ns.b": [SlotSettings(slot=2, scheme="another", revision=present, effective_height=0)],
    }
    status = scheme_status(item, model, (), ["b", "a"], slots, NOW)
    RewardSchemeStatus.model_validate(status, by_alias=True, by_name=False)
    assert status["revision"] == present
    assert (status["users"], status["usedBy"]) == ("a, b", ["a", "b"])
    assert [each["revision"] for each in status["revisions"]] == ["0" * 64, present]
    assert status["revisions"][1]["usedBy"] == [{"pool": "ns.a", "slot": 1, "effectiveHeight": 9}]


def test_what_stolen_edges_tell_stays_within_what_a_status_holds() -> None:
    much = Sum(edges=1, connections=2**31 - 1, hashrate=10**30)
    _, status = told(region(told=much), region("us", told=much))
    assert status["connections"] == 2**31 - 1
    _, found = node_status(NodeReport("a", height=2**70, error="gone\nERROR all is lost\x1b[2J"))
    assert found["nodes"][0]["error"] == "gone ERROR all is lost [2J"
