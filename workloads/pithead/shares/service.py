"""The share processor as a process: its loops, side by side, until it is told to stop.

Each pool has a loop that books its log, one that seals its heights, one that
archives them and one that merges old minutes; each coin one that asks the nodes about
segments. A log, node or database that is away makes its loop wait and try again; the
contract is served all the while.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.node import NodeError, RpcNode
from pithead.coins.registry import BrokenCoin, UnknownCoin, chain_params
from pithead.config import CoinSettings, SharesSettings, Unusable
from pithead.config.share_log import open_log
from pithead.contracts import accounting_pb2_grpc, relay_pb2_grpc
from pithead.log.errors import LogError
from pithead.log.topics import shares_topic
from pithead.rpc import serve
from pithead.shares.archive.archiver import Archiver
from pithead.shares.archive.compactor import Compactor
from pithead.shares.archive.floor import archive_floor
from pithead.shares.chain import HubChain
from pithead.shares.checker import Checker
from pithead.shares.claims import Claims
from pithead.shares.confirm import Confirmer
from pithead.shares.consume import Consumer
from pithead.shares.follow import ChainFollower, Contradicted
from pithead.shares.intake import PositionMoved
from pithead.shares.pace import Trouble, pause, until_stopped
from pithead.shares.pools import Pool, PoolConflict, register
from pithead.shares.regions.servicer import RegionsServicer
from pithead.shares.retention import (
    ANALYTICS_BEHIND_BYTES,
    Retention,
    accounting_floor,
    analytics_floor,
)
from pithead.shares.schema import REVISION
from pithead.shares.sealer import Sealer
from pithead.shares.servicer import AccountingServicer
from pithead.store import StoreTooNew, StoreTooOld, StoreUnreachable, check_version, open_store
from pithead.store.watch import watch_store
from pithead.telemetry.health import Standing, health_server

logger = logging.getLogger(__name__)

IDLE_S = 0.05
"""Between polls of a log that had nothing new: a look costs some microseconds a partition."""

ARCHIVE_IDLE_S = 0.5
"""A split waits for it behind a seal; a look costs one short read."""

TRIM_IDLE_S = 10.0
"""Between looks at what the log may let go."""
COMPACT_IDLE_S = 10.0
"""Nobody waits for it; a look reads the weights of as many heights as a window has."""

CHECK_IDLE_S = 0.5
"""Between looks for samples when there were none: what is found concerns people."""

RELEASE_S_MAX = 2.0
"""For giving claims back at the end; after that they run out by themselves."""

TRANSIENT = (DBAPIError, OSError, LogError, NodeError, PositionMoved, StoreUnreachable)
"""What a neighbour can do to a loop; anything else is a slip of ours and ends the process."""


async def run(settings: SharesSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises Unusable when settings and database do not fit this code or each other.
    """
    engine = open_store(settings.database, settings.connections)
    standing = Standing()
    try:
        async with health_server(settings.health, standing.ready):
            pools = await _ready(engine, settings, stop)
            if pools is not None:
                await _serve(engine, settings, pools, standing, stop)
    finally:
        await engine.dispose()


async def _ready(
    engine: AsyncEngine, settings: SharesSettings, stop: asyncio.Event
) -> list[Pool] | None:
    """Wait for the database and register the pools; None when stopped before."""
    trouble = Trouble("database")
    while not stop.is_set():
        try:
            await check_version(engine, REVISION)
            return await register(engine, settings.pools, settings.coins)
        except (StoreTooNew, StoreTooOld, PoolConflict, UnknownCoin, BrokenCoin) as error:
            raise Unusable(str(error)) from error
        except (StoreUnreachable, DBAPIError) as error:
            await pause(stop, trouble.failed(error))
    return None


async def _serve(
    engine: AsyncEngine,
    settings: SharesSettings,
    pools: list[Pool],
    standing: Standing,
    stop: asyncio.Event,
) -> None:
    coins = {coin.name: coin for coin in settings.coins}
    params = {coin.key: chain_params(coin.coin, coin.network) for coin in settings.coins}
    servicer = AccountingServicer(engine, params, _now_ms)
    log = open_log(settings.log)
    async with AsyncExitStack() as stack:
        loops: list[Coroutine[None, None, None]] = []
        chains: dict[str, HubChain] = {}
        for name, coin in coins.items():
            nodes = sorted(coin.nodes, key=lambda node: node.standby)
            rpc_nodes = [
                await stack.enter_async_context(RpcNode(node, network=coin.network))
                for node in nodes
            ]
            chains[name] = HubChain(rpc_nodes)
            confirmer = Confirmer(engine, params[coin.key], chains[name], _now_ms)
            loops.append(_confirm(confirmer, coin, standing, stop))
            follower = ChainFollower(engine, params[coin.key], rpc_nodes, _now_ms)
            loops.append(_follow(follower, coin, standing, stop))
        for pool, pool_settings in zip(pools, settings.pools, strict=True):
            coin = coins[pool_settings.coin]
            reader = log.reader(shares_topic(pool.name))
            stack.push_async_callback(reader.close)
            percent = settings.checks.percent(pool.params.pow)
            checker = Checker(engine, pool, percent, _now_ms)
            loops.append(_check(checker, pool.name, standing, stop))
            consumer = Consumer(
                engine, reader, pool, _now_ms, checker=checker, claims=_claims(engine, pool)
            )
            loops.append(_consume(consumer, pool.name, standing, stop))
            sealer = Sealer(engine, reader, pool, _now_ms, _relayed(settings, pool.name))
            loops.append(_seal(sealer, pool.name, chains[coin.name], coin, standing, stop))
            archiver = Archiver(engine, pool, _now_ms)
            archive = f"archive of {pool.name}"
            loops.append(_step(archiver.step, archive, ARCHIVE_IDLE_S, standing, stop))
            compactor = Compactor(engine, pool)
            merging = f"old minutes of {pool.name}"
            loops.append(_step(compactor.step, merging, COMPACT_IDLE_S, standing, stop))
            if not pool_settings.keep.everything:
                # Half of a bound: analytics that stands still must not close the edges.
                behind = min(ANALYTICS_BEHIND_BYTES, (settings.log.bytes_max or 1 << 62) // 2)
                floors = [
                    accounting_floor(engine),
                    archive_floor(engine, pool.name),
                    analytics_floor(engine, log, behind),
                ]
                topic = shares_topic(pool.name)
                retention = Retention(log, reader, topic, floors, pool_settings.keep, _now_ms)
                name = f"what the log of {pool.name} lets go"
                loops.append(_step(retention.step, name, TRIM_IDLE_S, standing, stop))
        await stack.enter_async_context(
            serve(
                settings.serve,
                lambda server: accounting_pb2_grpc.add_AccountingServicer_to_server(
                    servicer, server
                ),
            )
        )
        if settings.intake is not None:
            regions = RegionsServicer(engine, log, pools, settings.intake, _now_ms)
            await stack.enter_async_context(
                serve(
                    settings.intake.serve,
                    lambda server: relay_pb2_grpc.add_RegionsServicer_to_server(regions, server),
                )
            )
            stack.push_async_callback(regions.close)
            logger.info("relays may push to %s", settings.intake.serve.address)
        logger.info("serving %d pools on %s", len(pools), settings.serve.address)
        standing.started()
        loops.append(
            watch_store(engine, REVISION, lambda reason: standing.say("database", reason), stop)
        )
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop)
            await stop.wait()


def _claims(engine: AsyncEngine, pool: Pool) -> Claims | None:
    """Let processes share a pool on PostgreSQL; a file has one process, which waits for nobody."""
    if engine.dialect.name != "postgresql":
        return None
    return Claims(engine, pool.id, shares_topic(pool.name), str(uuid.uuid4()), _now_ms)


def _relayed(settings: SharesSettings, pool: str) -> list[str]:
    """Regions of a pool whose records come by a relay."""
    regions = settings.intake.regions if settings.intake is not None else ()
    return [each.region for each in regions if pool in each.pools]


async def _consume(consumer: Consumer, pool: str, standing: Standing, stop: asyncio.Event) -> None:
    name = f"share log of {pool}"
    trouble = Trouble(name)
    while not stop.is_set():
        standing.turned(name)
        try:
            polled = await consumer.poll()
        except TRANSIENT as error:
            await pause(stop, trouble.failed(error))
            continue
        trouble.worked()
        # A log that gives without end must not keep others from the loop.
        await pause(stop, 0 if polled.records else IDLE_S)
    try:
        async with asyncio.timeout(RELEASE_S_MAX):
            await consumer.release()
    except (*TRANSIENT, TimeoutError) as error:
        logger.warning("%s: others wait for the lease to end: %s", name, error)


async def _seal(
    sealer: Sealer,
    pool: str,
    chain: HubChain,
    coin: CoinSettings,
    standing: Standing,
    stop: asyncio.Event,
) -> None:
    node_trouble = Trouble(f"nodes of {coin.name}, asked for the height of {pool}")
    name = f"seals of {pool}"
    trouble = Trouble(name)
    height: int | None = None
    while not stop.is_set():
        standing.turned(name)
        delay_s = coin.poll_interval_ms / 1000
        try:
            height = await until_stopped(stop, chain.height())
            node_trouble.worked()
        except NodeError as error:
            # What was noted before can still be sealed.
            delay_s = node_trouble.failed(error)
        try:
            await sealer.step(height)
            trouble.worked()
        except TRANSIENT as error:
            delay_s = trouble.failed(error)
        await pause(stop, delay_s)


async def _step(
    step: Callable[[], Awaitable[int]],
    name: str,
    idle_s: float,
    standing: Standing,
    stop: asyncio.Event,
) -> None:
    """Run a step for ever, at once again while it says that it did something."""
    trouble = Trouble(name)
    while not stop.is_set():
        standing.turned(name)
        try:
            done = await step()
        except TRANSIENT as error:
            await pause(stop, trouble.failed(error))
            continue
        trouble.worked()
        await pause(stop, 0 if done else idle_s)


async def _confirm(
    confirmer: Confirmer, coin: CoinSettings, standing: Standing, stop: asyncio.Event
) -> None:
    name = f"nodes of {coin.name}, asked about segments"
    trouble = Trouble(name)
    while not stop.is_set():
        standing.turned(name)
        delay_s = coin.poll_interval_ms / 1000
        try:
            await until_stopped(stop, confirmer.step())
            trouble.worked()
        except TRANSIENT as error:
            delay_s = trouble.failed(error)
        await pause(stop, delay_s)


async def _check(checker: Checker, pool: str, standing: Standing, stop: asyncio.Event) -> None:
    name = f"checks of {pool}"
    trouble = Trouble(name)
    while not stop.is_set():
        standing.turned(name)
        delay_s = CHECK_IDLE_S
        try:
            if await checker.step():
                delay_s = 0
            trouble.worked()
        except TRANSIENT as error:
            delay_s = trouble.failed(error)
        await pause(stop, delay_s)


async def _follow(
    follower: ChainFollower, coin: CoinSettings, standing: Standing, stop: asyncio.Event
) -> None:
    name = f"nodes of {coin.name}, asked for blocks"
    trouble = Trouble(name)
    while not stop.is_set():
        standing.turned(name)
        delay_s = coin.poll_interval_ms / 1000
        try:
            changed = await until_stopped(stop, follower.step())
            trouble.worked()
            if changed:
                # Behind the chain, as after a first start: the next blocks at once.
                delay_s = 0
        except (*TRANSIENT, Contradicted) as error:
            delay_s = trouble.failed(error)
        await pause(stop, delay_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
