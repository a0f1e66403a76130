"""Shares of many batches into sums a cell, by numpy on exact 64-bit integers. Pure.

What is the same for all shares of a (login, segment) pair of a batch, the cell
but for its minute, is looked up once a pair, and gets a small number; a share's
number and minute make one 64-bit key, and equal keys are summed. numpy's
weighted `bincount` would sum in floats, so runs of the sorted keys are summed
by `add.reduceat`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pithead.log.columns import Columns

MINUTE_BITS = 38
"""A clock of 2^53 ms, the largest that the codec lets pass, is below 2^38 minutes."""

KINDS_MAX = 1 << (63 - MINUTE_BITS)

WEIGHT_SUM_MAX = (1 << 62) - 1
"""Weights folded together: below what a 64-bit sum could overflow by."""

BATCH_WEIGHT_MAX = 1 << 56
"""A batch above it is not believed. With a shift of 0 (test chains) it is 7.2 * 10^16 hashes in
a few milliseconds; with the shifts of main nets, thousands of times the whole network's work."""


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


def batch_weight(columns: Columns) -> int:
    """Exact total weight of a batch, whatever its size."""
    if not len(columns):
        return 0
    if int(columns.weight.max()) * len(columns) <= WEIGHT_SUM_MAX:
        return int(columns.weight.sum())
    return sum(columns.weight.tolist())


class Fold:
    """Collects batches of one pool until `sums` is asked for."""

    def __init__(self) -> None:
        self.weight = 0
        """Of all batches so far; keep it at or below WEIGHT_SUM_MAX."""
        self._numbers: dict[CellKind, int] = {}
        self._keys: list[NDArray[np.int64]] = []
        self._weights: list[NDArray[np.int64]] = []

    def add(self, columns: Columns, kind_of: Callable[[int, int], CellKind]) -> None:
        """Take a batch; `kind_of(login index, segment index)` names a pair's cells."""
        if not len(columns):
            return
        self.weight += batch_weight(columns)
        if self.weight > WEIGHT_SUM_MAX:
            raise OverflowError(f"weights of {self.weight} cannot be folded together")
        segments = len(columns.batch.segments)
        pairs, which = np.unique(columns.login * segments + columns.segment, return_inverse=True)
        numbers = np.array(
            [self._number(kind_of(*divmod(pair, segments))) for pair in pairs.tolist()], np.int64
        )
        self._keys.append((numbers[which] << MINUTE_BITS) | columns.minute)
        self._weights.append(columns.weight)

    def sums(self) -> list[CellSum]:
        """Return one sum for each cell, in no stated order."""
        if not self._keys:
            return []
        keys = np.concatenate(self._keys)
        weights = np.concatenate(self._weights)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        totals = np.add.reduceat(weights[order], starts)
        counts = np.diff(np.append(starts, len(keys)))
        kinds = list(self._numbers)
        return [
            CellSum(kinds[key >> MINUTE_BITS], key & ((1 << MINUTE_BITS) - 1), weight, count)
            for key, weight, count in zip(
                keys[starts].tolist(), totals.tolist(), counts.tolist(), strict=True
            )
        ]

    def _number(self, kind: CellKind) -> int:
        number = self._numbers.setdefault(kind, len(self._numbers))
        if number >= KINDS_MAX:
            raise OverflowError(f"more than {KINDS_MAX} kinds of cells in one fold")
        return number
