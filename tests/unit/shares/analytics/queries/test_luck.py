"""Rounds, effort and luck against a count share by share."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.weight import bits_to_target, expected_hashes
from pithead.shares.analytics.queries.luck import (
    FoundBlock,
    HeightWork,
    Luck,
    effort,
    rounds_of,
)

pytestmark = pytest.mark.gate

BITS = 0x1F00FFFF
HASHES = expected_hashes(bits_to_target(BITS))


def block(height: int, *, orphaned: bool = False, found_ms: int = 0, fork: int = 0) -> FoundBlock:
    return FoundBlock(bytes([fork, height]), height, BITS, found_ms or height, orphaned)


def work_of(by_height: dict[int, int]) -> HeightWork:
    heights = sorted(by_height)
    return HeightWork(heights, [1] * len(heights), [by_height[height] for height in heights])


def luck(
    blocks: list[FoundBlock],
    by_height: dict[int, int],
    *,
    limit: int = 50,
    since_ms: int = 0,
    whole: bool = True,
) -> Luck:
    return rounds_of(
        blocks,
        work_of(by_height),
        bits_now=BITS,
        shift=0,
        limit=limit,
        since_ms=since_ms,
        whole=whole,
    )


def test_effort_of_a_round_of_exactly_the_expected_work_is_one() -> None:
    assert effort(HASHES, BITS, 0) == 1.0
    assert effort(1 << 12, BITS, 4) == pytest.approx(1.0, rel=1e-4)
    assert effort(5, 0, 0) == 0.0, "bits that are not known"


def test_rounds_share_all_work_between_them() -> None:
    found = luck([block(5), block(3)], {1: 10, 3: 20, 4: 5, 5: 7, 6: 100})
    assert [(one.block.height, one.work) for one in found.rounds] == [(5, 12), (3, 30)]
    assert found.current.work == 100
    assert found.blocks == 2
    assert found.expected == pytest.approx(42 / HASHES)
    assert found.luck == pytest.approx(2 / found.expected)
    assert found.error == pytest.approx(2**-0.5)


def test_an_orphan_ends_no_round() -> None:
    found = luck([block(3), block(4, orphaned=True), block(5)], {1: 10, 4: 20, 5: 5})
    assert [(one.block.height, one.work, one.counted) for one in found.rounds] == [
        (5, 25, True),
        (4, 0, False),
        (3, 10, True),
    ]


def test_of_two_blocks_on_one_height_one_ends_the_round() -> None:
    found = luck([block(3), block(3, fork=1), block(3, orphaned=True, fork=2)], {3: 10})
    assert sorted(one.work for one in found.rounds) == [0, 0, 10]
    assert found.blocks == 1


def test_the_oldest_round_of_a_list_that_goes_on_is_not_counted() -> None:
    found = luck([block(3), block(5)], {1: 1000, 3: 20, 5: 7}, whole=False)
    assert [(one.work, one.counted) for one in found.rounds] == [(7, True), (0, False)]


def test_a_period_holds_the_rounds_that_ended_in_it() -> None:
    found = luck([block(3), block(5), block(9)], {1: 1, 4: 2, 8: 3}, since_ms=5)
    assert [one.block.height for one in found.rounds] == [9, 5]
    assert found.rounds[1].work == 2, "the round began before the period"


def test_a_pool_without_blocks_has_an_effort_and_no_luck() -> None:
    found = luck([], {1: 10, 2: 20})
    assert (found.current.work, found.blocks, found.luck) == (30, 0, 0.0)


@given(
    work=st.dictionaries(st.integers(1, 60), st.integers(1, 10**30), max_size=40),
    heights=st.sets(st.integers(1, 60), max_size=15),
    orphans=st.sets(st.integers(1, 60), max_size=5),
)
def test_no_share_is_lost_or_counted_twice(
    work: dict[int, int], heights: set[int], orphans: set[int]
) -> None:
    blocks = [block(height) for height in heights]
    blocks += [block(height, orphaned=True, fork=1) for height in orphans]
    random.Random(1).shuffle(blocks)
    found = luck(blocks, work, limit=100)
    assert sum(one.work for one in found.rounds) + found.current.work == sum(work.values())
    for one in found.rounds:
        if one.block.orphaned:
            assert one.work == 0
            continue
        before = max((height for height in heights if height < one.block.height), default=0)
        expected = sum(
            weight for height, weight in work.items() if before < height <= one.block.height
        )
        assert one.work == expected
