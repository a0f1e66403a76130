"""What edges told, summed up."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead_operator.reconcile.reports import (
    ALIVE_SECONDS,
    KEPT_SECONDS,
    SAMPLES_MAX,
    TEXT_MAX,
    Reports,
    told_pools,
)

pytestmark = pytest.mark.gate

UNIX = 1_800_000_000


def text(**more: Any) -> str:
    told = {
        "v": 1,
        "pool": "ns.pool",
        "region": "eu",
        "producer": "p1",
        "version": "0.1.0",
        "connections": 3,
        "accepted": 10,
        "work": "1000",
        "log": "ok",
        "draining": False,
        "at": UNIX,
        "nodes": [
            {
                "name": "n",
                "reachable": True,
                "active": True,
                "height": 7,
                "latencyMs": 12,
                "error": "",
            }
        ],
    }
    return json.dumps(told | more)


def test_spool_counts_longer_than_its_edge_is_taken_for_alive() -> None:
    reports = Reports()
    texts = {
        "a": text(spooling=True, spoolBytes=700),
        "b": text(producer="p2", spoolBytes=30),
        "c": text(producer="p3", log="full"),
    }
    reports.take(texts, 0, UNIX)
    found = reports.of("ns.pool", "eu", 1)
    assert (found.spooling, found.spool_bytes, found.full, found.away) == (2, 730, 1, 0)
    silent = reports.of("ns.pool", "eu", ALIVE_SECONDS + 1)
    assert (silent.edges, silent.spooling) == (0, 2)
    assert reports.of("ns.pool", "eu", KEPT_SECONDS + 1).spooling == 0


def test_edges_of_a_region_are_summed() -> None:
    reports = Reports()
    texts = {
        "a": text(),
        "b": text(producer="p2", connections=4, log="away"),
        "c": text(producer="p3", region="us"),
        "d": text(producer="p4", pool="ns.other"),
    }
    reports.take(texts, 0, UNIX)
    found = reports.of("ns.pool", "eu", 1)
    assert (found.edges, found.connections, found.away, found.hashrate) == (2, 7, 1, None)


def test_a_hash_rate_is_the_growth_of_work_by_the_edges_own_clock() -> None:
    reports = Reports()
    reports.take({"a": text()}, 0, UNIX)
    reports.take({"a": text(work=str(1000 + 15 * 10**12), at=UNIX + 15)}, 20, UNIX + 20)
    assert reports.of("ns.pool", "eu", 21).hashrate == 10**12


def test_a_restarted_edge_begins_anew() -> None:
    reports = Reports()
    reports.take({"a": text(work="99999")}, 0, UNIX)
    reports.take({"a": text(producer="p9", work="5", at=UNIX + 15)}, 15, UNIX + 15)
    assert reports.of("ns.pool", "eu", 16).hashrate is None


def test_a_silent_edge_no_longer_counts_and_its_text_goes_at_last() -> None:
    reports = Reports()
    assert reports.take({"a": text()}, 0, UNIX) == ()
    assert reports.of("ns.pool", "eu", ALIVE_SECONDS + 1).edges == 0
    assert reports.nodes(["ns.pool"], ALIVE_SECONDS + 1) == ()
    assert reports.take({"a": text()}, KEPT_SECONDS + 1, UNIX) == ("a",)


def test_an_old_text_that_is_seen_for_the_first_time_is_of_a_dead_edge() -> None:
    reports = Reports()
    reports.take({"a": text(at=UNIX - 3600)}, 0, UNIX)
    assert reports.of("ns.pool", "eu", 0).edges == 0


@given(st.text() | st.builds(json.dumps, st.dictionaries(st.text(), st.integers() | st.text())))
def test_no_text_of_an_edge_raises(value: str) -> None:
    reports = Reports()
    reports.take({"a": value}, 0, UNIX)
    assert reports.of("ns.pool", "eu", 0).edges == 0


@pytest.mark.parametrize("change", [{"v": 2}, {"work": "lots"}, {"connections": "3"}], ids=str)
def test_a_text_of_another_form_is_passed_over(change: dict[str, Any]) -> None:
    reports = Reports()
    reports.take({"a": text(**change)}, 0, UNIX)
    assert reports.of("ns.pool", "eu", 0).edges == 0


@pytest.mark.parametrize(
    "garbage",
    [
        text()[:-1] + ', "more": ' + "[" * 20_000 + "]" * 20_000 + "}",
        text(at=10**400),
        text(at=-(10**400)),
        text(connections=10**4000),
        text(work="9" * 5000),
        text(version="x" * TEXT_MAX),
        text(nodes=[{"name": "n", "height": 1e300}]),
        "[" * 20_000,
        "\ud800",
    ],
    ids=["deep", "late", "early", "many", "work", "long", "height", "open", "surrogate"],
)
def test_whoever_steals_an_edge_can_break_nothing_with_its_text(garbage: str) -> None:
    reports = Reports()
    texts = {"stolen": garbage, "good": text(producer="p2")}
    assert told_pools({}, texts) == {"ns.pool"}
    assert reports.take(texts, 0, UNIX) == ()
    found = reports.of("ns.pool", "eu", 1)
    assert (found.edges, found.connections) == (1, 3)


def test_an_edge_that_tells_all_the_time_fills_no_memory() -> None:
    reports = Reports()
    for turn in range(5 * SAMPLES_MAX):
        reports.take({"a": text(connections=turn)}, turn, UNIX)
    (edge,) = reports._edges.values()
    assert len(edge.samples) <= SAMPLES_MAX
