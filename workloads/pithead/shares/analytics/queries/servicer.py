"""The contract of the queries: checks, looks names up, asks, and answers within bounds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from sqlalchemy.exc import DBAPIError

from pithead.contracts import analytics_pb2 as contract
from pithead.contracts import analytics_pb2_grpc
from pithead.shares.analytics.queries import asked, shaping
from pithead.shares.analytics.queries.asked import Asked, AskedWrong
from pithead.shares.analytics.queries.kept import Keeping, Kept
from pithead.shares.analytics.queries.luck import Luck, Round, rounds_of
from pithead.shares.analytics.queries.metrics import FAILED, SECONDS, TABLE_ROWS
from pithead.shares.analytics.queries.names import Names, NoSuch
from pithead.shares.analytics.queries.neighbours import NeighbourAway, Neighbours, WindowNow
from pithead.shares.analytics.queries.reader import Reader, TooManyWorkers
from pithead.shares.analytics.queries.shaping import Titles
from pithead.shares.analytics.queries.spans import chart_buckets, sums_period
from pithead.shares.analytics.queries.sql import Filter, Target
from pithead.shares.analytics.queries.tables import WorkerTable, page
from pithead.shares.analytics.queries.turns import TooBusy, Turns
from pithead.shares.analytics.reading import worker_id
from pithead.shares.pools import Pool
from pithead.store.columnar import Columnar, ColumnarAway, ColumnarError

logger = logging.getLogger(__name__)

CALL_S = 15.0
"""After this long a call is given up, whatever its caller's deadline."""

ANSWERS = Keeping(fresh_ms=5_000, stale_ms=15_000, size_max=1_000)
"""Charts and sums: one of 240 points is some 20 KB, and minutes change slowly."""
TABLES = Keeping(fresh_ms=5_000, stale_ms=60_000, size_max=500_000)
"""Worker tables, by rows: about 100 MB. Their rates are of ten minutes and more."""
WINDOWS = Keeping(fresh_ms=10_000, stale_ms=60_000, size_max=1_000_000)
"""Windows, by accounts: cutting one is work for the database that holds the money."""
NAMES = Keeping(fresh_ms=30_000, stale_ms=600_000, size_max=1_000)
RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject that exists."""

    pool: Pool
    target: Target
    worker: str = ""
    """Name of the target's worker."""

    @property
    def shift(self) -> int:
        """Of the coin's weights."""
        return self.pool.params.shift


class AnalyticsServicer(analytics_pb2_grpc.AnalyticsServicer):
    """Answers from one columnar store, accounting's names and two neighbours."""

    def __init__(
        self,
        *,
        store: Columnar,
        names: Names,
        neighbours: Neighbours,
        now_ms: Callable[[], int],
    ) -> None:
        self._turns = Turns()
        self._reader = Reader(store, self._turns, now_ms)
        self._names = names
        self._neighbours = neighbours
        self._now_ms = now_ms
        self._answers: Kept[tuple[str, bytes], Message] = Kept(ANSWERS, now_ms)
        self._tables: Kept[Target, WorkerTable] = Kept(TABLES, now_ms, lambda table: table.size)
        self._windows: Kept[tuple[str, str], WindowNow] = Kept(
            WINDOWS, now_ms, lambda window: len(window.weights)
        )
        self._titles: Kept[str, Titles] = Kept(NAMES, now_ms)

    async def close(self) -> None:
        """End what is under way; the store is the caller's."""
        for kept in (self._answers, self._tables, self._windows, self._titles):
            await kept.close()
        await self._reader.close()
        await self._turns.close()

    async def Hashrate(  # noqa: N802 - the contract's name
        self,
        request: contract.HashrateRequest,
        context: grpc.aio.ServicerContext[contract.HashrateRequest, contract.HashrateReply],
    ) -> contract.HashrateReply:
        """Answer a chart."""
        return await self._answer("Hashrate", request, context, self._hashrate)

    async def Workers(  # noqa: N802 - the contract's name
        self,
        request: contract.WorkersRequest,
        context: grpc.aio.ServicerContext[contract.WorkersRequest, contract.WorkersReply],
    ) -> contract.WorkersReply:
        """Answer a page of workers; the table is kept, not the page."""
        return await self._bounded("Workers", context, lambda: self._page(request))

    async def Totals(  # noqa: N802 - the contract's name
        self,
        request: contract.TotalsRequest,
        context: grpc.aio.ServicerContext[contract.TotalsRequest, contract.TotalsReply],
    ) -> contract.TotalsReply:
        """Answer sums over a span."""
        return await self._answer("Totals", request, context, self._totals)

    async def Top(  # noqa: N802 - the contract's name
        self,
        request: contract.TopRequest,
        context: grpc.aio.ServicerContext[contract.TopRequest, contract.TopReply],
    ) -> contract.TopReply:
        """Answer the accounts or workers with the most work."""
        return await self._answer("Top", request, context, self._top)

    async def Breakdown(  # noqa: N802 - the contract's name
        self,
        request: contract.BreakdownRequest,
        context: grpc.aio.ServicerContext[contract.BreakdownRequest, contract.BreakdownReply],
    ) -> contract.BreakdownReply:
        """Answer sums by region or scheme."""
        return await self._answer("Breakdown", request, context, self._breakdown)

    async def Rounds(  # noqa: N802 - the contract's name
        self,
        request: contract.RoundsRequest,
        context: grpc.aio.ServicerContext[contract.RoundsRequest, contract.RoundsReply],
    ) -> contract.RoundsReply:
        """Answer rounds and luck."""
        return await self._answer("Rounds", request, context, self._rounds)

    async def WindowShare(  # noqa: N802 - the contract's name
        self,
        request: contract.WindowShareRequest,
        context: grpc.aio.ServicerContext[contract.WindowShareRequest, contract.WindowShareReply],
    ) -> contract.WindowShareReply:
        """Answer an account's part of the current window; the window is kept, not the answer."""
        return await self._bounded("WindowShare", context, lambda: self._window_share(request))

    async def _hashrate(self, request: contract.HashrateRequest) -> contract.HashrateReply:
        span = asked.span(request.span)
        group = asked.group(request.by)
        slot = asked.slot(request.slot if request.HasField("slot") else None)
        region = asked.region(request.region if request.HasField("region") else None)
        subject = await self._subject(asked.subject(request.subject))
        titles = await self._titles_of(subject.pool)
        only = Filter(region=None if region is None else _region_id(titles, region), slot=slot)
        buckets = chart_buckets(span, self._now_ms() // 1000)
        answer = await self._reader.chart(subject.target, buckets, only, group)
        await self._check(subject, shaping.numbers(answer, 0))
        return shaping.hashrate_reply(answer, buckets, subject.shift, group, titles)

    async def _page(self, request: contract.WorkersRequest) -> contract.WorkersReply:
        wanted = asked.page(request)
        subject = await self._subject(asked.without_worker(request.subject))
        hurry = not self._tables.gives(subject.target)
        table = await self._tables.get(
            subject.target,
            lambda: self._reader.worker_table(
                subject.target, subject.shift, self._now_ms(), hurry=hurry
            ),
        )
        TABLE_ROWS.set(self._tables.held)
        found = page(
            table,
            search=wanted.search,
            state=wanted.state,
            sort=wanted.sort,
            descending=wanted.descending,
            offset=wanted.offset,
            limit=wanted.limit,
        )
        accounts = set(table.accounts[found.rows].tolist())
        return shaping.workers_reply(table, found, await self._names.logins(subject.pool, accounts))

    async def _totals(self, request: contract.TotalsRequest) -> contract.TotalsReply:
        period = sums_period(asked.span(request.span), self._now_ms() // 1000)
        subject = await self._subject(asked.subject(request.subject))
        answer = await self._reader.sums(subject.target, period, None)
        await self._check(subject, *(shaping.numbers(answer, column) for column in range(6)))
        return shaping.totals_reply(answer, period, subject.shift)

    async def _top(self, request: contract.TopRequest) -> contract.TopReply:
        period = sums_period(asked.span(request.span), self._now_ms() // 1000)
        limit = asked.limit("limit", request.limit, asked.TOP_DEFAULT, asked.TOP_MAX)
        pool = self._names.pool(asked.pool(request.pool))
        answer = await self._reader.top(pool.id, period, workers=request.workers, limit=limit)
        whole = await self._reader.sums(Target(pool.id), period, None)
        rows = shaping.top_rows(answer, workers=request.workers)
        return shaping.top_reply(
            rows,
            sum(shaping.numbers(whole, 1).tolist()),
            period,
            pool.params.shift,
            await self._names.logins(pool, {row.account for row in rows}),
            await self._reader.names(
                pool.id, [row.worker for row in rows if row.worker is not None]
            ),
        )

    async def _breakdown(self, request: contract.BreakdownRequest) -> contract.BreakdownReply:
        period = sums_period(asked.span(request.span), self._now_ms() // 1000)
        group = asked.group(request.by, needed=True)
        assert group is not None
        subject = await self._subject(asked.subject(request.subject))
        titles = await self._titles_of(subject.pool)
        answer = await self._reader.sums(subject.target, period, group)
        await self._check(subject, shaping.numbers(answer, 2))
        return shaping.breakdown_reply(answer, period, subject.shift, group, titles)

    async def _rounds(self, request: contract.RoundsRequest) -> contract.RoundsReply:
        limit = asked.limit("blocks", request.blocks, asked.ROUNDS_DEFAULT, asked.ROUNDS_MAX)
        now_ms = self._now_ms()
        since_ms = 0
        if request.span != contract.SPAN_UNSPECIFIED:
            since_ms = now_ms - asked.span(request.span).seconds * 1000
        pool = self._names.pool(asked.pool(request.pool))
        newest = await self._neighbours.newest(pool.name)
        # Orphans take places too, and the oldest round needs the block before it.
        blocks, whole = await self._neighbours.blocks(pool.name, 2 * limit + 2)
        lowest = min((block.height for block in blocks), default=0)
        work = await self._reader.height_work(pool.id, -1 if whole else lowest - 1)
        luck = rounds_of(
            blocks,
            work,
            bits_now=newest.bits,
            shift=pool.params.shift,
            limit=limit,
            since_ms=since_ms,
            whole=whole,
        )
        return _rounds_reply(luck)

    async def _window_share(
        self, request: contract.WindowShareRequest
    ) -> contract.WindowShareReply:
        subject = await self._subject(asked.only_account(request.subject))
        pool = subject.pool.name
        window = await self._windows.get(
            (pool, request.scheme),
            lambda: self._neighbours.window(pool, request.scheme, self._now_ms()),
        )
        weight = window.weights.get(subject.target.account or 0, 0)
        return contract.WindowShareReply(
            scheme=window.scheme,
            revision=window.revision,
            height=window.height,
            window=str(window.window),
            filled=window.filled,
            weight=str(weight),
            of=str(window.of),
            part=weight / window.of if window.of else 0.0,
            as_of_ms=window.made_ms,
        )

    async def _subject(self, given: Asked) -> Subject:
        """Look a subject's names up; NoSuch."""
        pool = self._names.pool(given.pool)
        account = given.account
        if account is not None:
            await self._names.check_account(pool, account)
        elif given.login is not None:
            account = await self._names.account(pool, given.login)
        if given.worker is None or account is None:
            return Subject(pool, Target(pool.id, account))
        worker = worker_id(pool.name, account, given.worker)
        return Subject(pool, Target(pool.id, account, worker), given.worker)

    async def _check(self, subject: Subject, *sums: shaping.Counts) -> None:
        """NoSuch for a worker of which nothing was found and that nobody has ever seen.

        Asked after the figures: nearly every worker that is asked for has some.
        """
        if subject.target.worker is None or any(column.any() for column in sums):
            return
        if not await self._reader.knows(subject.target):
            raise NoSuch(f"account {subject.target.account} has no worker {subject.worker!r}")

    async def _titles_of(self, pool: Pool) -> Titles:
        async def make() -> Titles:
            return Titles(await self._reader.regions(), await self._names.schemes(pool))

        return await self._titles.get(pool.name, make)

    async def _answer(
        self,
        call: str,
        request: RequestT,
        context: grpc.aio.ServicerContext[RequestT, ReplyT],
        make: Callable[[RequestT], Awaitable[ReplyT]],
    ) -> ReplyT:
        """Give the kept answer to the very same request, or make it."""
        key = (call, request.SerializeToString(deterministic=True))

        async def kept() -> ReplyT:
            # The key names the call, so the reply is of its type.
            return await self._answers.get(key, lambda: make(request))  # type: ignore[return-value]

        return await self._bounded(call, context, kept)

    async def _bounded(
        self,
        call: str,
        context: grpc.aio.ServicerContext[RequestT, ReplyT],
        work: Callable[[], Awaitable[ReplyT]],
    ) -> ReplyT:
        """Answer within CALL_S; every refusal gets its status and sentence."""
        with SECONDS.labels(call).time():
            try:
                async with asyncio.timeout(CALL_S):
                    return await work()
            except tuple(_STATUS) as error:
                status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
                sentence = _sentence(error)
        FAILED.labels(call, status.name).inc()
        if status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
            logger.warning("%s: %s", call, sentence)
        return await context.abort(status, sentence)


_STATUS: dict[type[Exception], grpc.StatusCode] = {
    AskedWrong: grpc.StatusCode.INVALID_ARGUMENT,
    NoSuch: grpc.StatusCode.NOT_FOUND,
    TooBusy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyWorkers: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ColumnarAway: grpc.StatusCode.UNAVAILABLE,
    ColumnarError: grpc.StatusCode.INTERNAL,
    DBAPIError: grpc.StatusCode.UNAVAILABLE,
    NeighbourAway: grpc.StatusCode.UNAVAILABLE,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""In order: a narrower kind before its wider one."""


def _sentence(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"not answered within {CALL_S:g} s"
    if isinstance(error, DBAPIError):
        return f"accounting's database: {str(error.orig)[:256]}"
    return str(error)


def _region_id(titles: Titles, name: str) -> int:
    for number, known in titles.regions.items():
        if known == name:
            return number
    known_names = ", ".join(sorted(titles.regions.values())) or "none"
    raise NoSuch(f"no share came through region {name!r}; there is: {known_names}")


def _rounds_reply(luck: Luck) -> contract.RoundsReply:
    return contract.RoundsReply(
        rounds=[_round(one) for one in luck.rounds],
        current=_round(luck.current),
        blocks=luck.blocks,
        expected=luck.expected,
        luck=luck.luck,
        error=luck.error,
    )


def _round(one: Round) -> contract.Round:
    return contract.Round(
        hash=one.block.hash,
        height=one.block.height,
        found_ms=one.block.found_ms,
        bits=one.block.bits,
        shares=one.shares,
        work=str(one.work),
        effort=one.effort,
        orphaned=one.block.orphaned,
        counted=one.counted,
    )
