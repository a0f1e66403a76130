"""Sums by numpy, against sums by Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pithead.log.columns import columns_of
from pithead.shares import fold as fold_module
from pithead.shares.fold import (
    KEY_MAX,
    WEIGHT_SUM_MAX,
    CellKind,
    Context,
    Fold,
    Ints,
    batch_weight,
    exact_sum,
    joined_key,
    sum_by_key,
)
from tests.support.shares import MINUTE_MS, Share, make_batch, producer_id

pytestmark = pytest.mark.gate

MINUTES_MAX = (1 << 53) // MINUTE_MS
"""Of the largest clock that the codec lets pass."""

SHARES = st.builds(
    Share,
    account=st.integers(1, 4),
    height=st.integers(1, 4),
    weight=st.integers(1, 1 << 54),
    time_ms=st.integers(0, 4 * MINUTE_MS),
    slot=st.integers(0, 1),
    fork=st.integers(0, 1),
)

CONTEXTS = st.builds(
    Context,
    height=st.integers(0, (1 << 33) - 1),
    seal=st.sampled_from([0, 7, 1 << 33]),
    segment=st.integers(1, KEY_MAX),
    revision=st.integers(1, 3),
)

ROWS = st.tuples(
    CONTEXTS,
    st.sampled_from([1, 2, 70_000, KEY_MAX - 1]) | st.integers(1, KEY_MAX - 1),
    st.sampled_from([0, 1, MINUTES_MAX]) | st.integers(0, MINUTES_MAX),
    st.integers(1, 1 << 55),
)
"""Context, account, minute, weight: with the widest ranges that may ever come."""


@given(st.lists(st.lists(SHARES, max_size=20), max_size=6))
def test_sums_by_numpy_are_the_sums_of_the_shares(batches: list[list[Share]]) -> None:
    fold = Fold()
    expected: Counter[tuple[CellKind, int]] = Counter()
    counts: Counter[tuple[CellKind, int]] = Counter()
    for number, shares in enumerate(batches):
        columns = columns_of(make_batch(producer_id(1), number, shares))
        batch = columns.batch

        def kind_of(login: int, segment: int, batch=batch) -> CellKind:  # type: ignore[no-untyped-def]
            height = batch.segments[segment].height
            fork = batch.segments[segment].parent[0]
            account = batch.account[login]
            return CellKind(height, 0, fork, batch.slot[login], len(account) + hash(account) % 97)

        fold.add(columns, kind_of)
        for index, share in enumerate(shares):
            key = (kind_of(batch.login[index], batch.segment[index]), share.time_ms // MINUTE_MS)
            expected[key] += share.weight
            counts[key] += 1
    sums = fold.sums()
    assert {(cell.kind, cell.minute): cell.weight for cell in sums} == expected
    assert {(cell.kind, cell.minute): cell.shares for cell in sums} == counts
    assert len(sums) == len(expected)


@given(st.lists(st.lists(ROWS, max_size=12), max_size=4), st.sampled_from([1, 1 << 18]))
def test_columns_of_any_width_are_summed_like_a_dictionary(
    parts: list[list[tuple[Context, int, int, int]]], dense_span_max: int
) -> None:
    fold = Fold()
    expected: Counter[tuple[CellKind, int]] = Counter()
    counts: Counter[tuple[CellKind, int]] = Counter()
    for rows in parts:
        contexts = [fold.number(context) for context, _, _, _ in rows]
        columns = [contexts, *([row[index] for row in rows] for index in (1, 2, 3))]
        fold.take(*(np.array(column, np.int64) for column in columns))
        for context, account, minute, weight in rows:
            expected[CellKind(*context, account), minute] += weight
            counts[CellKind(*context, account), minute] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold_module, "DENSE_SPAN_MAX", dense_span_max)
        sums = fold.sums()
    assert {(cell.kind, cell.minute): cell.weight for cell in sums} == expected
    assert {(cell.kind, cell.minute): cell.shares for cell in sums} == counts
    assert len(sums) == len(expected)
    assert fold.weight == sum(expected.values())


WIDE = arrays.arrays(np.int64, 9, elements=st.integers(0, KEY_MAX - 1) | st.integers(0, 3))


@given(WIDE, WIDE, WIDE)
def test_keys_are_equal_and_ordered_as_the_rows_are(first: Ints, second: Ints, third: Ints) -> None:
    keys = joined_key((first, second, third)).tolist()
    rows = list(zip(first.tolist(), second.tolist(), third.tolist(), strict=True))
    assert [rows[index] for index in np.argsort(keys, kind="stable")] == sorted(rows)
    assert len(set(keys)) == len(set(rows))
    assert min(keys) >= 0


def test_nothing_sums_to_nothing() -> None:
    assert len(Fold().columns()) == 0
    assert Fold().sums() == []
    none = np.zeros(0, np.int64)
    assert [part.tolist() for part in sum_by_key(none, none)] == [[], [], []]


@given(st.lists(st.integers(1, KEY_MAX), max_size=5))
def test_a_sum_is_exact_beyond_63_bits(weights: list[int]) -> None:
    assert exact_sum(np.array(weights, np.int64)) == sum(weights)


def test_weights_up_to_the_bound_are_summed_and_one_more_is_refused() -> None:
    fold = Fold()
    one = np.array([fold.number(Context(1, 0, 1, 1))], np.int64)
    fold.take(one, one, one, np.array([WEIGHT_SUM_MAX - 1], np.int64))
    fold.take(one, one, one, np.array([1], np.int64))
    assert fold.sums()[0].weight == WEIGHT_SUM_MAX
    with pytest.raises(OverflowError):
        fold.take(one, one, one, np.array([1], np.int64))


def test_weights_that_would_overflow_are_refused_and_still_summed_exactly() -> None:
    heavy = [Share(1, 1, weight=(1 << 63) - 1)] * 3
    columns = columns_of(make_batch(producer_id(1), 0, heavy))
    assert batch_weight(columns) == 3 * ((1 << 63) - 1) > WEIGHT_SUM_MAX
    with pytest.raises(OverflowError):
        Fold().add(columns, lambda _login, _segment: CellKind(1, 0, 1, 1, 1))
