"""Sums by numpy, against sums by Python."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.columns import columns_of
from pithead.shares.fold import WEIGHT_SUM_MAX, CellKind, Fold, batch_weight
from tests.support.shares import MINUTE_MS, Share, make_batch, producer_id

pytestmark = pytest.mark.gate

SHARES = st.builds(
    Share,
    account=st.integers(1, 4),
    height=st.integers(1, 4),
    weight=st.integers(1, 1 << 54),
    time_ms=st.integers(0, 4 * MINUTE_MS),
    slot=st.integers(0, 1),
    fork=st.integers(0, 1),
)


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


def test_weights_that_would_overflow_are_refused_and_still_summed_exactly() -> None:
    heavy = [Share(1, 1, weight=(1 << 63) - 1)] * 3
    columns = columns_of(make_batch(producer_id(1), 0, heavy))
    assert batch_weight(columns) == 3 * ((1 << 63) - 1) > WEIGHT_SUM_MAX
    with pytest.raises(OverflowError):
        Fold().add(columns, lambda _login, _segment: CellKind(1, 0, 1, 1, 1))
