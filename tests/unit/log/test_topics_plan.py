"""What is done to topics, by their wanted and found state."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.topics_plan import TopicFound, TopicsPlan, plan_topics, topic_settings

pytestmark = pytest.mark.gate


class Wanted(NamedTuple):
    name: str
    partitions: int
    replicas: int


def found(partitions: int, replicas: int, **own: str) -> TopicFound:
    settings = {**topic_settings(replicas), **own}
    return TopicFound(partitions, replicas, settings, own)


def test_a_missing_topic_is_made() -> None:
    wanted = Wanted("t", 8, 3)
    plan = plan_topics([wanted], {}, brokers=3)
    assert plan == TopicsPlan((wanted,), {}, {}, ())


def test_a_topic_as_it_should_be_is_left_alone() -> None:
    plan = plan_topics([Wanted("t", 8, 3)], {"t": found(8, 3)}, brokers=3)
    assert plan == TopicsPlan((), {}, {}, ())


def test_partitions_only_grow() -> None:
    topics = {"few": found(2, 1), "many": found(9, 1)}
    plan = plan_topics([Wanted("few", 8, 1), Wanted("many", 8, 1)], topics, brokers=1)
    assert plan.grow == {"few": 8}
    assert not plan.problems


def test_a_setting_that_loses_records_is_corrected_and_foreign_ones_stay() -> None:
    topics = {"t": found(8, 1, **{"retention.ms": "604800000", "segment.bytes": "1048576"})}
    plan = plan_topics([Wanted("t", 8, 1)], topics, brokers=1)
    assert plan.alter == {"t": {**topic_settings(1), "segment.bytes": "1048576"}}


def test_too_few_replicas_are_told_and_all_else_is_done() -> None:
    topics = {"t": found(2, 1, **{"retention.bytes": "1"})}
    plan = plan_topics([Wanted("t", 8, 3)], topics, brokers=3)
    assert plan.grow == {"t": 8}
    # Two in-sync replicas of one would stop the topic for good.
    assert plan.alter["t"]["min.insync.replicas"] == "1"
    (problem,) = plan.problems
    assert problem == (
        "topic t has 1 replicas and should have 3: add replicas with "
        "kafka-reassign-partitions, or ask for fewer"
    )


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted("t", 1, 3), "there are 2 brokers"),
        (Wanted("t", 0, 1), "at least one partition"),
        (Wanted("t", 1, 0), "at least one partition"),
        (Wanted("t" * 250, 1, 1), "more than 249 characters"),
    ],
    ids=["too-few-brokers", "no-partition", "no-replica", "long-name"],
)
def test_what_cannot_be_made_is_told(wanted: Wanted, words: str) -> None:
    plan = plan_topics([wanted], {}, brokers=2)
    assert plan.create == ()
    assert words in plan.problems[0]


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "2"), (3, "2"), (5, "2")])
def test_a_single_copy_is_trusted_only_where_there_is_no_other(replicas: int, in_sync: str) -> None:
    assert topic_settings(replicas)["min.insync.replicas"] == in_sync


@given(
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 4),
    st.dictionaries(st.sampled_from(["retention.ms", "retention.bytes", "x"]), st.just("7")),
)
def test_carrying_a_plan_out_leaves_nothing_to_do(
    partitions: int, replicas: int, has: int, copies: int, own: dict[str, str]
) -> None:
    wanted = [Wanted("t", partitions, replicas)]
    before = found(has, copies, **own)
    plan = plan_topics(wanted, {"t": before}, brokers=4)
    after_own = dict(plan.alter.get("t", before.own))
    after = TopicFound(plan.grow.get("t", has), copies, {**before.settings, **after_own}, after_own)
    again = plan_topics(wanted, {"t": after}, brokers=4)
    assert again == TopicsPlan((), {}, {}, again.problems)
    assert after.partitions >= max(partitions, has)
    assert bool(again.problems) == (copies < replicas)
