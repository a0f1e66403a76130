"""The worker table: what the store says of each worker, joined, searched, sorted, paged. Pure.

A table is made once of columns and asked many times. Its rows lie in the order of
names (then of accounts), and every other order keeps that among equals, so that
pages do not overlap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pithead.shares.analytics.queries import rates

Counts = NDArray[np.uint64]
Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class Sort(IntEnum):
    """By what; the numbers of the contract."""

    NAME = 0
    HASHRATE_10M = 1
    HASHRATE_1H = 2
    HASHRATE_24H = 3
    SHARES = 4
    REJECT_RATE = 5
    LAST_SEEN = 6
    BEST = 7


@dataclass(frozen=True, slots=True)
class Recent:
    """Of the last hour: shares and work, and the work of its last ten minutes."""

    shares: Counts
    work: Counts
    newest_work: Counts


@dataclass(frozen=True, slots=True)
class Day:
    """Of the last day."""

    shares: Counts
    work: Counts
    stale: Counts
    duplicate: Counts
    low: Counts
    invalid: Counts


@dataclass(frozen=True, slots=True)
class Seconds:
    """What the parts of a table cover."""

    newest: float
    hour: float
    day: float


@dataclass(frozen=True, slots=True)
class Roster:
    """Names of workers, in their order. It changes when somebody new comes, which is rare."""

    workers: Counts
    accounts: Counts
    names: list[str]
    searched: list[str]
    """Names as searches compare them."""
    _by_id: Rows
    """Row numbers in the order of workers' ids."""
    _ids: Counts
    """The ids in that order."""

    @classmethod
    def of(cls, workers: Counts, accounts: Counts, names: Sequence[str]) -> "Roster":
        """Order what the store answered; (worker, account) are different in each row."""
        searched = [name.casefold() for name in names]
        keys = zip(searched, names, accounts.tolist(), strict=True)
        ranked = sorted((key, row) for row, key in enumerate(keys))
        order = np.array([row for _, row in ranked], dtype=np.intp)
        by_id = np.argsort(workers[order], kind="stable")
        return cls(
            workers=workers[order],
            accounts=accounts[order],
            names=[names[row] for row in order],
            searched=[searched[row] for row in order],
            _by_id=by_id,
            _ids=workers[order][by_id],
        )

    @property
    def size(self) -> int:
        """Workers."""
        return len(self.names)

    def rows(self, workers: Counts, accounts: Counts) -> Rows:
        """Row numbers of workers; -1 for who is not in it.

        An id is a hash of 64 bits over the account too: of two accounts with one id,
        which happens once in ten million pools of a million workers, one is not found.
        """
        if not self.size:
            return np.full(len(workers), -1, dtype=np.intp)
        found = np.minimum(np.searchsorted(self._ids, workers), self.size - 1)
        rows = self._by_id[found]
        same = (self.workers[rows] == workers) & (self.accounts[rows] == accounts)
        return np.where(same, rows, -1)

    def with_unnamed(self, workers: Counts, accounts: Counts) -> "Roster":
        """The same with workers that have no name, shown by their ids."""
        return Roster.of(
            np.concatenate((self.workers, workers)),
            np.concatenate((self.accounts, accounts)),
            [*self.names, *(f"{number:016x}" for number in workers.tolist())],
        )


@dataclass(frozen=True, slots=True)
class WorkerTable:
    """Columns of all workers, in the order of names."""

    workers: Counts
    accounts: Counts
    names: list[str]
    searched: list[str]
    """Names as searches compare them."""
    state: NDArray[np.uint8]
    hashrate_10m: Floats
    hashrate_1h: Floats
    hashrate_24h: Floats
    error_1h: Floats
    day: Day
    reject_rate: Floats
    last_seen_s: Counts
    best: Counts
    as_of_ms: int
    _orders: dict[tuple[Sort, bool], Rows] = field(default_factory=dict)
    """At most two of each Sort: made when first asked for."""

    @property
    def size(self) -> int:
        """Workers."""
        return len(self.names)

    def order(self, sort: Sort, *, descending: bool) -> Rows:
        """Row numbers of the whole table in an order; equals stay in the order of names."""
        known = self._orders.get((sort, descending))
        if known is None:
            known = self._orders[sort, descending] = self._ordered(sort, descending=descending)
        return known

    def _ordered(self, sort: Sort, *, descending: bool) -> Rows:
        if sort is Sort.NAME:
            rows = np.arange(self.size)
            return rows[::-1] if descending else rows
        columns: dict[Sort, NDArray[Any]] = {
            Sort.HASHRATE_10M: self.hashrate_10m,
            Sort.HASHRATE_1H: self.hashrate_1h,
            Sort.HASHRATE_24H: self.hashrate_24h,
            Sort.SHARES: self.day.shares,
            Sort.REJECT_RATE: self.reject_rate,
            Sort.LAST_SEEN: self.last_seen_s,
            Sort.BEST: self.best,
        }
        column = columns[sort]
        if not descending:
            return np.argsort(column, kind="stable")
        # Sorted from behind and turned round: equals keep their order.
        return (self.size - 1 - np.argsort(column[::-1], kind="stable"))[::-1]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a table, and how many there are on all pages."""

    rows: Rows
    total: int
    states: Mapping[int, int]
    """How many match the search in each state, whatever state was asked for."""


def joined(
    *,
    roster: Roster,
    ends: tuple[Counts, Counts, Sequence[Counts]],
    recent: tuple[Counts, Counts, Sequence[Counts]],
    day: tuple[Counts, Counts, Sequence[Counts]],
    covered: Seconds,
    shift: int,
    now_ms: int,
) -> WorkerTable:
    """Join answers of the store, each (workers, accounts, columns), over a roster that has them.

    The columns of `ends` are (last seen, best), those of the others as Recent and Day
    have them. The table holds who is in `ends`; who is only in another answer is left
    out: it came while they were asked.
    """
    rows = np.sort(roster.rows(ends[0], ends[1]))
    places = np.full(roster.size, -1, dtype=np.intp)
    places[rows] = np.arange(len(rows))
    last_seen_s, best = _placed(roster, places, len(rows), ends)
    hour = Recent(*_placed(roster, places, len(rows), recent))
    whole = Day(*_placed(roster, places, len(rows), day))
    hour_rate = rates.hashrates(hour.work, covered.hour, shift)
    day_rate = rates.hashrates(whole.work, covered.day, shift)
    everybody = len(rows) == roster.size
    return WorkerTable(
        workers=roster.workers[rows],
        accounts=roster.accounts[rows],
        names=roster.names if everybody else [roster.names[row] for row in rows],
        searched=roster.searched if everybody else [roster.searched[row] for row in rows],
        state=rates.worker_states(
            last_seen_s=last_seen_s,
            hour_rate=hour_rate,
            day_rate=day_rate,
            day_shares=whole.shares,
            day_s=covered.day,
            now_s=now_ms // 1000,
        ),
        hashrate_10m=rates.hashrates(hour.newest_work, covered.newest, shift),
        hashrate_1h=hour_rate,
        hashrate_24h=day_rate,
        error_1h=rates.relative_errors(hour.shares),
        day=whole,
        reject_rate=rates.reject_rates(
            whole.shares, whole.stale + whole.duplicate + whole.low + whole.invalid
        ),
        last_seen_s=last_seen_s,
        best=best,
        as_of_ms=now_ms,
    )


def page(
    table: WorkerTable,
    *,
    search: str,
    state: int,
    sort: Sort,
    descending: bool,
    offset: int,
    limit: int,
) -> Page:
    """Rows whose name has `search` in it, in any case; `state` 0 is any."""
    rows = table.order(sort, descending=descending)
    if search:
        part = search.casefold()
        matching = np.fromiter((part in name for name in table.searched), bool, table.size)
        rows = rows[matching[rows]]
    counts = np.bincount(table.state[rows], minlength=rates.OFFLINE + 1)
    if state:
        rows = rows[table.state[rows] == state]
    return Page(
        rows=rows[offset : offset + limit],
        total=len(rows),
        states={one: int(counts[one]) for one in (rates.OK, rates.LOW, rates.OFFLINE)},
    )


def _placed(
    roster: Roster, places: Rows, size: int, answer: tuple[Counts, Counts, Sequence[Counts]]
) -> list[Counts]:
    """Columns of an answer, each value at the place of its worker; zero where there is none."""
    workers, accounts, columns = answer
    if not len(workers):
        return [np.zeros(size, dtype=np.uint64) for _ in columns]
    at = roster.rows(workers, accounts)
    at = np.where(at < 0, -1, places[at])
    known = at >= 0
    placed = []
    for column in columns:
        values = np.zeros(size, dtype=np.uint64)
        values[at[known]] = column[known]
        placed.append(values)
    return placed
