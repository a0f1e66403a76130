"""Shares of many batches into sums a cell, by numpy on exact 64-bit integers. Pure.

What shares have in common but for account and minute is a context, and gets a
small number. A share's context, minute and account make one 64-bit key, for the shares
of all batches at once, and what has the same key is summed by `add.at` (numpy's
weighted `bincount` would sum in floats). Where keys spread too far to have a place
each they are sorted first, and columns whose ranges are together too wide for 63 bits
are made dense: whatever a lying region writes, no two cells ever share a key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pithead.log.columns import Columns

Ints = NDArray[np.int64]

KEY_MAX = (1 << 63) - 1

DENSE_SPAN_MAX = 1 << 18
"""Keys below it have a place each: 6 MiB of sums, ten times quicker than sorting."""

WEIGHT_SUM_MAX = (1 << 62) - 1
"""Weights folded together: below what a 64-bit sum could overflow by."""

BATCH_WEIGHT_MAX = 1 << 56
"""A batch above it is not believed. With a shift of 0 (test chains) it is 7.2 * 10^16 hashes in
a few milliseconds; with the shifts of main nets, thousands of times the whole network's work."""


class Context(NamedTuple):
    """A cell of one pool but for its account and minute."""

    height: int
    seal: int
    segment: int
    revision: int


class CellKind(NamedTuple):
    """A cell of one pool but for its minute."""

    height: int
    seal: int
    segment: int
    revision: int
    account: int


class CellSum(NamedTuple):
    """What is to be added to one cell."""

    kind: CellKind
    minute: int
    weight: int
    shares: int


@dataclass(frozen=True, eq=False)
class CellColumns:
    """What is to be added to cells, one entry a cell, columns of equal length."""

    height: Ints
    seal: Ints
    segment: Ints
    revision: Ints
    account: Ints
    minute: Ints
    weight: Ints
    shares: Ints

    def __len__(self) -> int:
        return len(self.account)

    def sums(self) -> list[CellSum]:
        """Return the same, a tuple a cell."""
        kinds = zip(self.height, self.seal, self.segment, self.revision, self.account, strict=True)
        rest = zip(self.minute, self.weight, self.shares, strict=True)
        return [
            CellSum(CellKind(*map(int, kind)), *map(int, sums))
            for kind, sums in zip(kinds, rest, strict=True)
        ]


def exact_sum(weights: Ints) -> int:
    """Exact sum of positive weights, whatever its size."""
    if not len(weights):
        return 0
    if int(weights.max()) * len(weights) <= KEY_MAX:
        return int(weights.sum())
    return sum(weights.tolist())


def batch_weight(columns: Columns) -> int:
    """Exact total weight of a batch, whatever its size."""
    return exact_sum(columns.weight)


class Fold:
    """Collects shares of one pool until they are asked for."""

    def __init__(self) -> None:
        self.weight = 0
        """Of all shares so far; keep it at or below WEIGHT_SUM_MAX."""
        self._numbers: dict[Context, int] = {}
        self._parts: list[tuple[Ints, Ints, Ints, Ints]] = []

    def number(self, context: Context) -> int:
        """Return the number of a context; the same as long as this fold lives."""
        return self._numbers.setdefault(context, len(self._numbers))

    def take(self, context: Ints, account: Ints, minute: Ints, weight: Ints) -> None:
        """Take shares as columns of equal length; contexts by their numbers."""
        self.weight += exact_sum(weight)
        if self.weight > WEIGHT_SUM_MAX:
            raise OverflowError(f"weights of {self.weight} cannot be folded together")
        self._parts.append((context, account, minute, weight))

    def add(self, columns: Columns, kind_of: Callable[[int, int], CellKind]) -> None:
        """Take a batch; `kind_of(login index, segment index)` names a pair's cells."""
        segments = len(columns.batch.segments)
        pairs, which = np.unique(columns.login * segments + columns.segment, return_inverse=True)
        kinds = [kind_of(*divmod(pair, segments)) for pair in pairs.tolist()]
        # One more than there are, as an array of none would have no columns.
        contexts = np.array([self.number(Context(*kind[:-1])) for kind in kinds], np.int64)
        accounts = np.array([kind.account for kind in kinds], np.int64)
        self.take(contexts[which], accounts[which], columns.minute, columns.weight)

    def columns(self) -> CellColumns:
        """Return one sum for each cell, in the order of context, minute and account."""
        context, account, minute, weight = (
            np.concatenate(parts) if len(parts) > 1 else parts[0]
            for parts in zip(*(self._parts or [(np.empty(0, np.int64),) * 4]), strict=True)
        )
        first, sums, counts = sum_by_key(joined_key((context, minute, account)), weight)
        # One more than there are, as an array of none would have no columns.
        contexts = np.array([*self._numbers, Context(0, 0, 0, 0)], np.int64)[context[first]]
        return CellColumns(
            height=contexts[:, 0],
            seal=contexts[:, 1],
            segment=contexts[:, 2],
            revision=contexts[:, 3],
            account=account[first],
            minute=minute[first],
            weight=sums,
            shares=counts,
        )

    def sums(self) -> list[CellSum]:
        """Return one sum for each cell, in no stated order."""
        return self.columns().sums()


def sum_by_key(keys: Ints, weight: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (index of a row, weight, rows) of each key, keys in order; none is negative."""
    span = int(keys.max()) + 1 if len(keys) else 0
    if span > DENSE_SPAN_MAX:
        keys, span = _dense(keys)
    rows = np.bincount(keys, minlength=span)
    sums, row = np.zeros(span, np.int64), np.zeros(span, np.int64)
    np.add.at(sums, keys, weight)
    row[keys] = np.arange(len(keys))
    found = np.flatnonzero(rows)
    return row[found], sums[found], rows[found]


def joined_key(columns: Sequence[Ints]) -> Ints:
    """Return one number a row, never negative: equal for equal rows, different for others.

    Rows sort by it as by the columns, the first one counting most. No column is
    negative.
    """
    key = np.zeros(len(columns[0]), np.int64)
    if not len(key):
        return key
    span = 1
    for column in columns:
        low = int(column.min())
        width = int(column.max()) - low + 1
        if width == 1:
            # The same in all rows, as the context mostly is: it tells none apart.
            continue
        if span * width > KEY_MAX:
            key, span = _dense(key)
        if span * width > KEY_MAX:
            column, width = _dense(column)  # noqa: PLW2901 - the same column, in fewer numbers
            low = 0
        # Two dense columns fit: rows would have to be more than 2^31 not to.
        key = key * width + (column - low)
        span *= width
    return key


def _dense(column: Ints) -> tuple[Ints, int]:
    """Return the numbers' places in their order, and how many different ones there are."""
    values, places = np.unique(column, return_inverse=True)
    return places.astype(np.int64), len(values)
