"""The sealing rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.shares.seals import (
    BURIED,
    SILENT_MS,
    Facts,
    Heard,
    Note,
    counting_height,
    passed,
    sealable,
    silent,
)

pytestmark = pytest.mark.gate

NOTE = Note(102, {"eu-0": 500, "us-0": 300})


def facts(
    *,
    sealed: int = 90,
    positions: dict[str, int] | None = None,
    promise: int | None = 200,
    pending: int | None = None,
) -> Facts:
    return Facts(sealed, positions or {"eu-0": 500, "us-0": 300}, promise, pending)


@pytest.mark.parametrize(
    ("given_facts", "expected"),
    [
        (facts(), 100),
        (facts(positions={"eu-0": 499, "us-0": 300}), None),
        (facts(positions={"eu-0": 500}), None),
        (facts(positions={"eu-0": 900, "us-0": 900, "ap-0": 1}), 100),
        (facts(promise=98), 97),
        (facts(promise=91), None),
        (facts(promise=0), None),
        (facts(promise=None), 100),
        (facts(pending=95), 94),
        (facts(pending=91), None),
        (facts(sealed=100), None),
    ],
    ids=[
        "all-read",
        "one-byte-short",
        "partition-unread",
        "read-past",
        "promise-limits",
        "promise-at-next",
        "no-template-yet",
        "no-open-producer",
        "undecided-segment",
        "undecided-at-next",
        "sealed-already",
    ],
)
def test_a_height_is_sealed_only_by_the_rule(given_facts: Facts, expected: int | None) -> None:
    assert sealable(NOTE, given_facts) == expected


@given(
    st.integers(0, 50),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    st.integers(0, 50),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    st.none() | st.integers(0, 50),
    st.none() | st.integers(0, 50),
)
def test_no_height_is_sealed_out_of_order_or_too_early(
    node: int,
    ends: dict[str, int],
    sealed: int,
    positions: dict[str, int],
    promise: int | None,
    pending: int | None,
) -> None:
    height = sealable(Note(node, ends), Facts(sealed, positions, promise, pending))
    if height is not None:
        assert sealed < height <= node - BURIED
        assert passed(Note(node, ends), positions)
        assert promise is None or promise > height
        assert pending is None or pending > height


@given(st.integers(0, 100), st.integers(-1, 100))
def test_a_share_always_counts_above_what_is_sealed(height: int, sealed: int) -> None:
    at, seal = counting_height(height, sealed)
    assert at > sealed
    assert (at, seal) == ((height, 0) if height > sealed else (sealed + 1, sealed + 1))


PLACES = {"a": ("eu", "0"), "b": ("us", "0"), "c": ("eu", "1"), "d": ("us", "1")}
"""Region and partition of some producers."""


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40_000)), min_size=1, max_size=20),
    st.dictionaries(st.sampled_from(["0", "1"]), st.integers(0, 20)),
)
def test_who_is_surely_silent_wrote_nothing_in_that_minute(
    appends: list[tuple[str, int]], unread: dict[str, int]
) -> None:
    """Appends carry the time since the one before; the last few of a partition are not read."""
    log: dict[str, list[tuple[str, int]]] = {"0": [], "1": []}
    now_ms = 1
    for name, since_ms in appends:
        now_ms += since_ms
        log[PLACES[name][1]].append((name, now_ms))
    read = {
        partition: records[: len(records) - unread.get(partition, 0)]
        if len(records) > unread.get(partition, 0)
        else []
        for partition, records in log.items()
    }
    last_ms = {name: time_ms for records in read.values() for name, time_ms in records}
    newest_ms = {partition: records[-1][1] for partition, records in read.items() if records}
    opened = [
        Heard(name.encode(), *PLACES[name], time_ms) for name, time_ms in sorted(last_ms.items())
    ]
    found = silent(opened, newest_ms)
    assert all(each.newest_ms - each.heard.last_ms > SILENT_MS for each in found)
    for each in found:
        if each.certain:
            assert not [
                time_ms
                for name, time_ms in log[each.heard.partition]
                if name.encode() == each.heard.producer
                and each.heard.last_ms < time_ms <= each.newest_ms
            ]
    beside = {
        heard.producer for heard in opened if newest_ms[heard.partition] - heard.last_ms > SILENT_MS
    }
    assert beside == {each.heard.producer for each in found if each.certain}


def test_without_shared_partitions_only_the_regions_clocks_count() -> None:
    opened = [
        Heard(b"a", "eu", "eu-0", 0),
        Heard(b"b", "eu", "eu-1", SILENT_MS + 1),
        Heard(b"c", "us", "us-0", 0),
        Heard(b"d", "eu", "eu-2", 1),
    ]
    (found,) = silent(opened, {})
    assert (found.heard.producer, found.newest_ms, found.certain) == (b"a", SILENT_MS + 1, False)
