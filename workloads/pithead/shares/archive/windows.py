"""A window out of archived heights: the same groups and accounts as out of cells. Pure.

Heights are given newest first, until they hold enough. Only the rows of the newest
ones that can hold the window's oldest group are kept; what is above it for
certain is added up at once.
"""

from dataclasses import dataclass, field

import numpy as np

from pithead.shares.archive.rows import Column, HeightRows, Ids, exact_sum
from pithead.shares.window import GroupKey, late_group

LATE = -1
"""Place of the late group before all parents of a height."""


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """One scheme's groups of one height, and whose weight each row is."""

    groups: list[tuple[GroupKey, int]]
    """Newest first."""
    group: Column
    """Of each row: place in `groups`."""
    account: Column
    """Id of each row's account."""
    weight: Column


@dataclass(slots=True)
class ArchivedWindow:
    """Collects the archived part of a window of one scheme."""

    scheme: str
    end_height: int
    end_parent: bytes
    groups: list[tuple[GroupKey, int]] = field(default_factory=list)
    """Newest first."""
    weight: int = 0
    _sums: dict[int, int] = field(default_factory=dict)
    _kept: _Part | None = None

    def take(self, height: int, rows: HeightRows, ids: Ids) -> None:
        """Add the height below all that were taken before."""
        part = self._part(height, rows, ids)
        if part is None:
            return
        if self._kept is not None:
            _add(self._sums, self._kept.account, self._kept.weight)
        self._kept = part
        self.groups += part.groups
        self.weight += exact_sum(part.weight)

    def accounts(self, oldest: GroupKey) -> tuple[dict[int, int], dict[int, int]]:
        """Weights by account id, before the oldest group taken and in it."""
        full, last = dict(self._sums), dict[int, int]()
        if self._kept is not None:
            keys = [key for key, _ in self._kept.groups]
            newer = sum(key > oldest for key in keys)
            above = self._kept.group < newer
            _add(full, self._kept.account[above], self._kept.weight[above])
            if oldest in keys:
                inside = self._kept.group == newer
                _add(last, self._kept.account[inside], self._kept.weight[inside])
        return full, last

    def _part(self, height: int, rows: HeightRows, ids: Ids) -> _Part | None:
        wanted = np.array([one.scheme == self.scheme for one in rows.revisions], np.bool_)
        parents = sorted({segment.parent for segment in rows.segments})
        place = {parent: number for number, parent in enumerate(parents)}
        ranks = np.array([place[segment.parent] for segment in rows.segments], np.int64)
        rank = np.where(rows.seal > 0, LATE, ranks[rows.segment] if len(rows) else rows.segment)
        chosen = wanted[rows.revision] if len(rows) else np.zeros(0, np.bool_)
        if height == self.end_height:
            inside = sum(parent <= self.end_parent for parent in parents)
            chosen = chosen & (rank < inside)
        if not chosen.any():
            return None
        rank, weight = rank[chosen], rows.weight[chosen]
        minute = np.where(rank == LATE, 0, rows.minute[chosen])
        keys, group = np.unique(np.stack((rank, minute), axis=1), axis=0, return_inverse=True)
        newest_first = len(keys) - 1 - group.reshape(-1)
        groups = [
            (
                late_group(height)
                if one == LATE
                else GroupKey(height, in_time=True, parent=parents[one], minute=at),
                exact_sum(weight[newest_first == number]),
            )
            for number, (one, at) in enumerate(reversed(keys.tolist()))
        ]
        account = np.array(ids.accounts, np.int64)[rows.account[chosen]]
        return _Part(groups, newest_first, account, weight)


def _add(sums: dict[int, int], accounts: Column, weights: Column) -> None:
    """Add weights to accounts exactly: in two halves, as their sum may need more than 63 bits."""
    ids, inverse = np.unique(accounts, return_inverse=True)
    high, low = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
    np.add.at(high, inverse, weights >> 32)
    np.add.at(low, inverse, weights & 0xFFFFFFFF)
    for account, upper, lower in zip(ids.tolist(), high.tolist(), low.tolist(), strict=True):
        sums[account] = sums.get(account, 0) + (upper << 32) + lower
