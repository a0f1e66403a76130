"""Marks and missing sequences, against a set of integers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.shares.progress import Gap, Progress
from pithead.shares.states import ProducerState

pytestmark = pytest.mark.gate


def take(progress: Progress, sequence: int, *, promise: int = 0, end: bool = False) -> Progress:
    after = progress.take(sequence, promise=promise, end=end, time_ms=0)
    assert after is not None
    return after


@given(st.lists(st.integers(0, 30), max_size=80))
def test_each_sequence_is_taken_exactly_once_in_any_order(sequences: list[int]) -> None:
    progress = Progress()
    seen: set[int] = set()
    for sequence in sequences:
        after = progress.take(sequence, promise=0, end=False, time_ms=0)
        assert (after is None) == (sequence in seen)
        seen.add(sequence)
        progress = after or progress
        missing = set(range(max(seen))) - seen
        assert {n for gap in progress.gaps for n in range(gap.first, gap.last + 1)} == missing
        assert progress.missing == len(missing)
        assert progress.mark == (min(missing) - 1 if missing else max(seen))
        assert all(a.last + 1 < b.first for a, b in pairwise(progress.gaps))


def test_a_promise_beyond_a_gap_holds_only_when_the_gap_is_filled() -> None:
    progress = take(Progress(), 0, promise=10)
    progress = take(progress, 2, promise=12)
    assert (progress.promise, progress.gaps) == (10, (Gap(1, 1),))
    assert take(progress, 1, promise=11).promise == 12


def test_a_promise_never_falls() -> None:
    progress = take(take(Progress(), 0, promise=10), 1, promise=9)
    assert progress.promise == 10


def test_an_end_holds_only_when_nothing_is_missing() -> None:
    progress = take(take(Progress(), 0), 2, end=True)
    assert progress.state is ProducerState.OPEN
    assert take(progress, 1).state is ProducerState.ENDED


def test_a_closed_producer_stays_closed_but_its_batches_are_taken() -> None:
    progress = take(Progress(), 0).closed()
    after = take(progress, 1, promise=5, end=True)
    assert (after.state, after.top) == (ProducerState.CLOSED, 1)


def test_a_huge_jump_costs_one_range() -> None:
    progress = take(Progress(), 1 << 62)
    assert progress.gaps == (Gap(0, (1 << 62) - 1),)
