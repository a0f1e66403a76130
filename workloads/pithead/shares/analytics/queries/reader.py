"""Asks the columnar store: text from `sql`, one turn a question, values out."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from pithead.shares.analytics.queries import sql
from pithead.shares.analytics.queries.kept import Keeping, Kept
from pithead.shares.analytics.queries.luck import HeightWork
from pithead.shares.analytics.queries.shaping import Counts, numbers, texts
from pithead.shares.analytics.queries.spans import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MONTH,
    Buckets,
    Period,
    Rollup,
    sums_period,
)
from pithead.shares.analytics.queries.sql import Filter, Target
from pithead.shares.analytics.queries.tables import Roster, Seconds, WorkerTable, joined
from pithead.shares.analytics.queries.turns import Turns
from pithead.store.columnar import Answer, Columnar, Server

QUESTION_S = 10
"""After this long the store gives a question up: a page that takes longer is not looked at."""

WORKERS_MAX = 250_000
"""Workers in one table: about 50 MB while it is kept. A larger pool is looked at by account."""

SETTLE_S = 10
"""A minute is complete this long after its end: batches, log and writer take some seconds."""

NEWEST_S = 10 * MINUTE_S
DAY_BUCKETS = 24


ROSTERS = Keeping(fresh_ms=DAY_S * 1000, stale_ms=DAY_S * 1000, size_max=500_000)
"""Names of workers, by rows: about 100 MB. Made anew as soon as a worker is not in it."""


class TooManyWorkers(Exception):
    """Raised when a worker table would be larger than its bound."""

    def __init__(self) -> None:
        super().__init__(f"more than {WORKERS_MAX} workers; ask for those of one account")


class Reader:
    """The questions, over one store."""

    def __init__(self, store: Columnar, turns: Turns, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._turns = turns
        self._rosters: Kept[Target, Roster] = Kept(ROSTERS, now_ms, lambda roster: roster.size)

    @property
    def _server(self) -> Server:
        return self._store.server

    async def chart(
        self, target: Target, buckets: Buckets, only: Filter, group: str | None
    ) -> Answer:
        """(bucket, [group,] sums)."""
        # A worker's or an account's chart reads so little that a second thread only costs.
        threads = 0 if target.account is None else 1
        return await self._ask(sql.chart(self._server, target, buckets, only, group), threads)

    async def sums(self, target: Target, period: Period, group: str | None) -> Answer:
        """([group,] sums)."""
        return await self._ask(sql.sums(self._server, target, period, group))

    async def top(self, pool: int, period: Period, *, workers: bool, limit: int) -> Answer:
        """(account, [worker,] sums)."""
        return await self._ask(sql.top(self._server, pool, period, workers=workers, limit=limit))

    async def knows(self, target: Target) -> bool:
        """Whether a worker was ever seen."""
        return bool(numbers(await self._ask(sql.worker_known(target)), 0).any())

    async def names(self, pool: int, workers: Sequence[int]) -> dict[tuple[int, int], str]:
        """Names by (worker, account)."""
        if not workers:
            return {}
        return _named(await self._ask(sql.names_of(pool, list(workers))))

    async def regions(self) -> dict[int, str]:
        """Names of all regions by id."""
        answer = await self._ask(sql.regions())
        return dict(zip(numbers(answer, 0).tolist(), texts(answer, 1), strict=True))

    async def height_work(self, pool: int, above: int) -> HeightWork:
        """Work of a pool by height."""
        answer = await self._ask(sql.height_work(self._server, pool, above))
        return HeightWork(*(numbers(answer, column).tolist() for column in range(3)))

    async def worker_table(
        self, target: Target, shift: int, now_ms: int, *, hurry: bool
    ) -> WorkerTable:
        """All workers of a pool or account that were seen in 30 days. TooManyWorkers.

        `hurry`: somebody waits for it.
        """
        now_s = now_ms // 1000
        until_s = _whole_minutes(now_s)
        # Complete minutes, less the last second, which is the next minute's first.
        hour = Period(Rollup.MINUTE, until_s - HOUR_S, until_s - 1)
        day = Period(Rollup.HOUR, now_s - now_s % HOUR_S - (DAY_BUCKETS - 1) * HOUR_S, now_s)
        month = sums_period(MONTH, now_s)
        server = self._server
        texts_of = (
            sql.worker_ends(server, target, month, WORKERS_MAX + 1),
            sql.recent_work(server, target, hour, until_s - NEWEST_S),
            sql.worker_sums(server, target, day),
        )
        if hurry:
            ends, recent, sums = await asyncio.gather(*map(self._ask, texts_of))
        else:
            # One after the other by one thread: the charts of those who wait go before.
            ends, recent, sums = [await self._ask(text, threads=1) for text in texts_of]
        if len(ends) > WORKERS_MAX:
            raise TooManyWorkers
        seen = _parts(ends, 2)
        roster = await self._roster(target, seen[0], seen[1])
        # Beside the loop: ten thousand rows take some milliseconds, others much more.
        return await asyncio.to_thread(
            joined,
            roster=roster,
            ends=seen,
            recent=_parts(recent, 3),
            day=_parts(sums, sql.SUM_COLUMNS),
            covered=Seconds(NEWEST_S, HOUR_S, day.seconds),
            shift=shift,
            now_ms=now_ms,
        )

    async def _roster(self, target: Target, workers: Counts, accounts: Counts) -> Roster:
        """Names that cover these workers, asked for only when somebody is new."""

        async def make() -> Roster:
            answer = await self._ask(sql.worker_names(target))
            return await asyncio.to_thread(
                Roster.of, numbers(answer, 0), numbers(answer, 1), texts(answer, 2)
            )

        roster = await self._rosters.get(target, make)
        if (roster.rows(workers, accounts) >= 0).all():
            return roster
        self._rosters.forget(target)
        roster = await self._rosters.get(target, make)
        unnamed = roster.rows(workers, accounts) < 0
        if not unnamed.any():
            return roster
        return roster.with_unnamed(workers[unnamed], accounts[unnamed])

    async def close(self) -> None:
        """End what is under way."""
        await self._rosters.close()

    async def _ask(self, text: str, threads: int = 0) -> Answer:
        return await self._turns.run(
            lambda: self._store.query(text, limit_s=QUESTION_S, threads=threads)
        )


def _whole_minutes(now_s: int) -> int:
    settled_s = now_s - SETTLE_S
    return settled_s - settled_s % MINUTE_S


def _parts(answer: Answer, columns: int) -> tuple[Counts, Counts, list[Counts]]:
    if not len(answer):
        empty = np.zeros(0, np.uint64)
        return empty, empty, [empty] * columns
    return (
        numbers(answer, 0),
        numbers(answer, 1),
        [numbers(answer, 2 + column) for column in range(columns)],
    )


def _named(answer: Answer) -> dict[tuple[int, int], str]:
    keys = zip(numbers(answer, 0).tolist(), numbers(answer, 1).tolist(), strict=True)
    return dict(zip(keys, texts(answer, 2), strict=True))
