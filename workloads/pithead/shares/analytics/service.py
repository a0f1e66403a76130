"""Analytics as a process: one writer a pool, retention, and the contracts, side by side.

No money depends on it, so nothing here is in a hurry and nothing ends the process but
settings that do not fit: a log or database that is away is tried again, and charts lag.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import grpc.aio
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.registry import BrokenCoin, UnknownCoin
from pithead.config import AnalyticsSettings, Unusable
from pithead.config.columnar import open_columnar
from pithead.config.share_log import open_log
from pithead.contracts import (
    accounting_pb2_grpc,
    analytics_pb2_grpc,
    charts_pb2_grpc,
    rewards_pb2_grpc,
)
from pithead.log.errors import LogError
from pithead.log.topics import shares_topic
from pithead.process import TaskFailed
from pithead.rpc import channel, serve
from pithead.shares.analytics.metrics import FAILURES, LAG
from pithead.shares.analytics.plans import PlanMoved
from pithead.shares.analytics.queries.names import Names
from pithead.shares.analytics.queries.neighbours import Neighbours
from pithead.shares.analytics.queries.servicer import AnalyticsServicer
from pithead.shares.analytics.retention import drop_old_days, keep_days
from pithead.shares.analytics.servicer import ChartsServicer, PoolStanding
from pithead.shares.analytics.standing import StoreConflict, prepare, rebuild
from pithead.shares.analytics.writer import Writer
from pithead.shares.pace import Trouble, pause
from pithead.shares.pools import Pool, PoolConflict, register
from pithead.shares.schema import REVISION
from pithead.store import StoreTooNew, StoreTooOld, StoreUnreachable, check_version, open_store
from pithead.store.columnar import Columnar, ColumnarError, ColumnarMissing
from pithead.store.columnar.migrate import ColumnarTooNew
from pithead.store.watch import watch_store
from pithead.telemetry.health import Standing, health_server

logger = logging.getLogger(__name__)

TRANSIENT = (DBAPIError, OSError, LogError, PlanMoved, StoreUnreachable, ColumnarError)
"""What a neighbour can do to a loop; anything else is a slip of ours and ends the process."""

UNFIT = (
    BrokenCoin,
    ColumnarMissing,
    ColumnarTooNew,
    PoolConflict,
    StoreConflict,
    StoreTooNew,
    StoreTooOld,
    UnknownCoin,
)
"""What no other try helps against."""

AWAY_S_MAX = 10.0
"""Longest wait before a columnar database that is away is tried again."""

ResultT = TypeVar("ResultT")

RETENTION_S = 600.0
"""Between looks for days that are too old."""


async def run(settings: AnalyticsSettings, stop: asyncio.Event) -> None:
    """Write and serve until `stop` is set.

    Raises Unusable when settings and databases do not fit this code or each other.
    """
    os.nice(settings.nice)
    engine = open_store(settings.database, settings.connections)
    standing = Standing()
    try:
        async with health_server(settings.health, standing.ready), AsyncExitStack() as stack:
            pools = await _until(stop, "database", lambda: _pools(engine, settings))
            if pools is None:
                return
            door = await _until(stop, "columnar database", lambda: _door(engine, settings))
            if door is None:
                return
            stack.push_async_callback(door.close)
            await _serve(engine, door, settings, pools, standing, stop)
    finally:
        await engine.dispose()


async def refill(settings: AnalyticsSettings) -> dict[str, object]:
    """Drop the columnar tables and forget what was written; the process fills them anew.

    A task: raises TaskFailed when it can not be done now, Unusable when never.
    """
    engine = open_store(settings.database, settings.connections)
    try:
        await _pools(engine, settings)
        door = await open_columnar(settings.store)
        try:
            await rebuild(engine, door)
        finally:
            await door.close()
    except UNFIT as error:
        raise Unusable(str(error)) from error
    except TRANSIENT as error:
        raise TaskFailed(str(error)) from error
    finally:
        await engine.dispose()
    return {"rebuilt": [pool.pool for pool in settings.pools]}


async def _pools(engine: AsyncEngine, settings: AnalyticsSettings) -> list[Pool]:
    await check_version(engine, REVISION)
    return await register(engine, settings.pools, settings.coins)


async def _door(engine: AsyncEngine, settings: AnalyticsSettings) -> Columnar:
    door = await open_columnar(settings.store)
    try:
        await prepare(engine, door)
        await keep_days(door, settings.retention_days)
    except BaseException:
        await door.close()
        raise
    return door


async def _until(
    stop: asyncio.Event, what: str, work: Callable[[], Coroutine[None, None, ResultT]]
) -> ResultT | None:
    """Result of work that is tried until it can be done; None when stopped before."""
    trouble = Trouble(what)
    while not stop.is_set():
        try:
            return await work()
        except UNFIT as error:
            raise Unusable(str(error)) from error
        except TRANSIENT as error:
            await pause(stop, trouble.failed(error))
    return None


async def _serve(
    engine: AsyncEngine,
    door: Columnar,
    settings: AnalyticsSettings,
    pools: Sequence[Pool],
    standing: Standing,
    stop: asyncio.Event,
) -> None:
    servicer = ChartsServicer()
    log = open_log(settings.log)
    loops: list[Coroutine[None, None, None]] = []
    async with AsyncExitStack() as stack:
        for pool in pools:
            reader = log.reader(shares_topic(pool.name))
            stack.push_async_callback(reader.close)
            writer = Writer(engine, reader, door, pool, _now_ms)
            told = servicer.pools[pool.name] = PoolStanding(writer.lag_ms)
            loops.append(_write(pool.name, writer, told, settings.interval_ms, standing, stop))
        queries = await _queries(engine, door, settings, pools, stack)

        def add(server: grpc.aio.Server) -> None:
            charts_pb2_grpc.add_ChartsServicer_to_server(servicer, server)
            analytics_pb2_grpc.add_AnalyticsServicer_to_server(queries, server)

        await stack.enter_async_context(serve(settings.serve, add))
        logger.info("writing charts of %d pools", len(pools))
        standing.started()
        lags = [told.lag_ms for told in servicer.pools.values()]
        loops.append(_retain(engine, door, settings.retention_days, lags, stop))
        loops.append(
            watch_store(engine, REVISION, lambda reason: standing.say("database", reason), stop)
        )
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop)
            await stop.wait()


async def _queries(
    engine: AsyncEngine,
    door: Columnar,
    settings: AnalyticsSettings,
    pools: Sequence[Pool],
    stack: AsyncExitStack,
) -> AnalyticsServicer:
    accounting = await stack.enter_async_context(channel(settings.shares))
    rewards = await stack.enter_async_context(channel(settings.rewards))
    servicer = AnalyticsServicer(
        store=door,
        names=Names(engine, pools),
        neighbours=Neighbours(
            accounting=accounting_pb2_grpc.AccountingStub(accounting),
            rewards=rewards_pb2_grpc.RewardsStub(rewards),
        ),
        now_ms=_now_ms,
    )
    stack.push_async_callback(servicer.close)
    return servicer


async def _write(
    pool: str,
    writer: Writer,
    told: PoolStanding,
    interval_ms: int,
    standing: Standing,
    stop: asyncio.Event,
) -> None:
    name = f"charts of {pool}"
    trouble = Trouble(name, AWAY_S_MAX)
    while not stop.is_set():
        standing.turned(name)
        try:
            written = await writer.step()
        except TRANSIENT as error:
            FAILURES.labels(pool).inc()
            told.trouble = str(error)
            # Without the log charts can still be drawn; without their database they can not.
            standing.say(name, str(error) if isinstance(error, ColumnarError) else "")
            delay_s = trouble.failed(error)
        else:
            trouble.worked()
            told.trouble = ""
            standing.say(name, "")
            told.shares += written.shares
            delay_s = 0 if written.more else interval_ms / 1000
        LAG.labels(pool).set(writer.lag_ms() / 1000)
        await pause(stop, delay_s)


async def _retain(
    engine: AsyncEngine,
    door: Columnar,
    days: int,
    lags: Sequence[Callable[[], int]],
    stop: asyncio.Event,
) -> None:
    trouble = Trouble("old days of charts", AWAY_S_MAX)
    while not stop.is_set():
        delay_s = RETENTION_S
        try:
            # A log that is read anew is counted whole before days of it go.
            if not any(lag_ms() for lag_ms in lags):
                await drop_old_days(engine, door, days, _now_ms() // 1000)
            trouble.worked()
        except TRANSIENT as error:
            delay_s = trouble.failed(error)
        await pause(stop, delay_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
