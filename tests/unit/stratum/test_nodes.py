"""What is told of coin nodes."""

import pytest

from pithead.coins.nodeset import NodeHealth
from pithead.stratum.nodes import ERROR_CHARACTERS_MAX, REACHABLE_MS, NodeFacts, node_facts

pytestmark = pytest.mark.gate

NOW_MS = 1_000_000


def health(name: str, *, healthy: bool, answered_ms: int, trouble: str = "") -> NodeHealth:
    return NodeHealth(
        name, healthy=healthy, height=7, answered_ms=answered_ms, latency_ms=3, trouble=trouble
    )


def test_a_node_that_answers_is_reachable_also_while_no_work_is_taken_from_it() -> None:
    syncing = health("a", healthy=False, answered_ms=NOW_MS - 5, trouble="still syncing")
    [facts] = node_facts([syncing], "a", NOW_MS)
    assert facts == NodeFacts(
        name="a", reachable=True, active=False, height=7, latency_ms=3, error="still syncing"
    )


@pytest.mark.parametrize(
    ("answered_ms", "reachable"),
    [(0, False), (NOW_MS - REACHABLE_MS, True), (NOW_MS - REACHABLE_MS - 1, False)],
    ids=["never", "just now", "too long ago"],
)
def test_reachable_is_who_answered_a_short_while_ago(answered_ms: int, reachable: bool) -> None:
    [facts] = node_facts([health("a", healthy=True, answered_ms=answered_ms)], "a", NOW_MS)
    assert facts.reachable is reachable


def test_one_node_is_active_and_none_when_none_is_healthy() -> None:
    nodes = [health(name, healthy=True, answered_ms=NOW_MS) for name in "ab"]
    assert [facts.active for facts in node_facts(nodes, "b", NOW_MS)] == [False, True]
    assert [facts.error for facts in node_facts(nodes, "b", NOW_MS)] == [None, None]
    nodes[0].healthy = nodes[1].healthy = False
    assert [facts.active for facts in node_facts(nodes, "a", NOW_MS)] == [False, False]


def test_a_long_trouble_is_cut() -> None:
    ill = health("a", healthy=False, answered_ms=0, trouble="x" * 10_000)
    [facts] = node_facts([ill], "a", NOW_MS)
    assert facts.error is not None
    assert len(facts.error) == ERROR_CHARACTERS_MAX
