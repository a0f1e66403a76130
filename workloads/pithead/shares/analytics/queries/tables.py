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
    ids: Counts,
    accounts: Counts,
    names: Mapping[tuple[int, int], str],
    last_seen_s: Counts,
    best: Counts,
    recent: tuple[Counts, Counts, Sequence[Counts]],
    day: tuple[Counts, Counts, Sequence[Counts]],
    covered: Seconds,
    shift: int,
    now_ms: int,
) -> WorkerTable:
    """Join answers of the store by (worker, account).

    `recent` and `day` are (workers, accounts, columns of Recent or Day). Whoever is
    only in one of these and not in `ids` is left out: it came while they were asked.
    """
    titles = [
        names.get(key, f"{key[0]:016x}")
        for key in zip(ids.tolist(), accounts.tolist(), strict=True)
    ]
    searched = [title.casefold() for title in titles]
    order = np.array(
        sorted(range(len(titles)), key=lambda row: (searched[row], titles[row], accounts[row])),
        dtype=np.intp,
    )
    ids, accounts = ids[order], accounts[order]
    hour = Recent(*_placed(ids, accounts, recent))
    whole = Day(*_placed(ids, accounts, day))
    hour_rate = rates.hashrates(hour.work, covered.hour, shift)
    day_rate = rates.hashrates(whole.work, covered.day, shift)
    seen = last_seen_s[order]
    return WorkerTable(
        workers=ids,
        accounts=accounts,
        names=[titles[row] for row in order],
        searched=[searched[row] for row in order],
        state=rates.worker_states(
            last_seen_s=seen,
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
        last_seen_s=seen,
        best=best[order],
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
    ids: Counts, accounts: Counts, answer: tuple[Counts, Counts, Sequence[Counts]]
) -> list[Counts]:
    """Columns of an answer, each value at the row of its worker; zero where there is none."""
    workers, owners, columns = answer
    rows = {key: row for row, key in enumerate(zip(ids.tolist(), accounts.tolist(), strict=True))}
    found = [rows.get(key, -1) for key in zip(workers.tolist(), owners.tolist(), strict=True)]
    places = np.array(found, dtype=np.intp)
    known = places >= 0
    placed = []
    for column in columns:
        values = np.zeros(len(ids), dtype=np.uint64)
        values[places[known]] = column[known]
        placed.append(values)
    return placed
