"""The rewards process: reads block logs, follows chains, splits, books, and answers gRPC.

One task a pool reads its block log. One task a coin asks the nodes for their tips,
follows the leader's chain with the watcher and then judges the blocks, in this
order and never at once. One task settles: splits, then entries. One task asks for
finders. Each is kept going beside neighbours that come and go; none holds state
that the database does not have, so a kill at any moment loses nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pithead.coins.job import pool_tag
from pithead.coins.node import NodeError, RpcNode
from pithead.coins.params import ChainParams
from pithead.coins.registry import UnknownCoin, chain_params
from pithead.config import CoinSettings, PoolSettings, RewardsSettings, Unusable
from pithead.config.share_log import open_log
from pithead.contracts.accounting_pb2_grpc import AccountingStub
from pithead.contracts.ledger_pb2_grpc import LedgerStub
from pithead.contracts.rewards_pb2_grpc import add_RewardsServicer_to_server
from pithead.log.topics import blocks_topic
from pithead.rewards.consumer import BlockConsumer
from pithead.rewards.database import Database, pool_scripts, remember_script
from pithead.rewards.finder import Finder
from pithead.rewards.keeper import keep, pause
from pithead.rewards.nodes import Nodes, leader
from pithead.rewards.reach import Reach, ReachedPool
from pithead.rewards.registry import Registry, TipUnknown
from pithead.rewards.retention import BlockRetention
from pithead.rewards.schema import REVISION
from pithead.rewards.servicer import RewardsServicer
from pithead.rewards.settle import SettledPool, Settler
from pithead.rewards.solved import WatchedPool
from pithead.rewards.tracker import ChainRules, Tracker
from pithead.rewards.watcher import Watcher
from pithead.rpc import channel, serve
from pithead.store import StoreTooNew, StoreTooOld, open_store, wait_for_version
from pithead.store.watch import watch_store
from pithead.telemetry.health import Standing, health_server

if TYPE_CHECKING:
    # Generated for type checkers only.
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub
    from pithead.contracts.ledger_pb2_grpc import LedgerAsyncStub

LOG_IDLE_S = 0.1
TRIM_IDLE_S = 10.0
SETTLE_IDLE_S = 0.3
FINDER_IDLE_S = 3.0
REACH_IDLE_S = 10.0
"""It only lets old minutes be merged; health expects a turn of every loop within a minute."""
FIRST_READ_LOOK_S = 0.05
FIRST_READ_LOOKS = 200
"""Ten seconds for reading block logs before the chain is watched."""
LEADERLESS_STEPS = 20
"""Looks without an entitled node before that is worth a line."""
STOP_LIMIT_S = 5.0
"""How long a step may go on after `stop`; then it is cancelled, which rolls it back."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CoinWork:
    """One coin with its nodes and the pools that mine it."""

    settings: CoinSettings
    params: ChainParams
    nodes: Nodes
    pools: tuple[PoolSettings, ...]


@dataclass(frozen=True, slots=True)
class Doors:
    """What the tasks reach: the database, the neighbours, and who tells probes of them."""

    database: Database
    accounting: "AccountingAsyncStub"
    ledger: "LedgerAsyncStub"
    standing: Standing


async def run(settings: RewardsSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises Unusable when it can not start as configured."""
    clients, coins = _coins(settings)
    engine = open_store(settings.database, settings.connections)
    standing = Standing()
    accounting_channel = channel(settings.shares)
    ledger_channel = channel(settings.ledger)
    try:
        async with health_server(settings.health, standing.ready):
            if not await wait_for_version(engine, REVISION, stop):
                return
            doors = Doors(
                Database(engine),
                AccountingStub(accounting_channel),
                LedgerStub(ledger_channel),
                standing,
            )
            await _remember_scripts(doors.database, settings.pools)
            servicer = _servicer(settings, coins, doors)
            async with (
                serve(
                    settings.serve, lambda server: add_RewardsServicer_to_server(servicer, server)
                ),
                asyncio.TaskGroup() as group,
            ):
                logger.info("serving on %s", settings.serve.address)
                standing.started()
                group.create_task(
                    watch_store(
                        engine, REVISION, lambda reason: standing.say("database", reason), stop
                    )
                )
                await _work(settings, coins, doors, stop)
    except (StoreTooNew, StoreTooOld) as error:
        raise Unusable(str(error)) from error
    finally:
        await accounting_channel.close()
        await ledger_channel.close()
        for client in clients:
            await client.close()
        await engine.dispose()


def _servicer(
    settings: RewardsSettings, coins: Sequence[CoinWork], doors: Doors
) -> RewardsServicer:
    by_key = {coin.params.key: coin for coin in coins}

    async def tip(pool: str, key: str) -> int:
        return await highest_tip(by_key[key].nodes, pool)

    return RewardsServicer(
        database=doors.database,
        registry=Registry(doors.database, settings.notice_blocks),
        pools={pool.pool: coin.params.key for coin in coins for pool in coin.pools},
        tip=tip,
        accounting=doors.accounting,
        now_ms=now_ms,
    )


async def highest_tip(nodes: Nodes, pool: str) -> int:
    """The highest height that any node knows, by block or header; raises TipUnknown."""
    try:
        standings = await nodes.standings()
    except NodeError as error:
        raise TipUnknown(pool, str(error)) from error
    if not standings:
        raise TipUnknown(pool, "none is configured")
    return max(max(one.tip.height, one.tip.headers) for one in standings)


async def _work(
    settings: RewardsSettings, coins: Sequence[CoinWork], doors: Doors, stop: asyncio.Event
) -> None:
    """Run all tasks until `stop` is set; a step under way may finish within a limit."""
    log = open_log(settings.log)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(keep(name, doors.standing.turning(name, step), stop, idle_s))
            for name, step, idle_s in _settling(coins, doors)
        ]
        for coin in coins:
            pools = await _watched(doors.database, coin)
            first_read = []
            for pool in pools:
                reader = log.reader(blocks_topic(pool.pool))
                stack.push_async_callback(reader.close)
                consumer = BlockConsumer(doors.database, reader, coin.params, pool)
                caught_up = asyncio.Event()
                first_read.append(caught_up)
                name = f"block log of {pool.pool}"
                step = doors.standing.turning(name, _noting(consumer.step, caught_up))
                tasks.append(group.create_task(keep(name, step, stop, LOG_IDLE_S)))
                kept = next(each.keep for each in coin.pools if each.pool == pool.pool)
                if not kept.everything:
                    retention = BlockRetention(doors.database, log, reader, pool.pool, kept, now_ms)
                    name = f"what the block log of {pool.pool} lets go"
                    step = doors.standing.turning(name, retention.step)
                    tasks.append(group.create_task(keep(name, step, stop, TRIM_IDLE_S)))
            tasks.append(group.create_task(_follow(doors, coin, pools, first_read, stop)))
        await stop.wait()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_LIMIT_S)
            for task in late:
                task.cancel()


def _settling(
    coins: Sequence[CoinWork], doors: Doors
) -> list[tuple[str, Callable[[], Awaitable[int]], float]]:
    """The steps that belong to no single coin, with their names and pauses."""
    settled = [SettledPool(pool.pool, coin.params) for coin in coins for pool in coin.pools]
    settler = Settler(doors.database, settled, doors.accounting, doors.ledger)
    finder = Finder(doors.database, doors.accounting)
    reached = [ReachedPool(pool.pool, coin.nodes) for coin in coins for pool in coin.pools]
    reach = Reach(doors.database, reached, doors.accounting)

    async def split() -> int:
        return await settler.split_step(now_ms())

    return [
        ("splits", split, SETTLE_IDLE_S),
        # Apart, so that entries are booked while the share processor is away.
        ("ledger entries", settler.book_step, SETTLE_IDLE_S),
        ("finders", finder.step, FINDER_IDLE_S),
        ("reach of windows", reach.step, REACH_IDLE_S),
    ]


def _noting(
    step: Callable[[], Awaitable[int]], caught_up: asyncio.Event
) -> Callable[[], Awaitable[int]]:
    """The same step; `caught_up` is set once it finds nothing more to do."""

    async def noting() -> int:
        done = await step()
        if not done:
            caught_up.set()
        return done

    return noting


async def _follow(
    doors: Doors,
    coin: CoinWork,
    pools: Sequence[WatchedPool],
    first_read: Sequence[asyncio.Event],
    stop: asyncio.Event,
) -> None:
    """Watch and judge one coin's chain."""
    unpaid = [pool.pool for pool in pools if not pool.scripts]
    if unpaid:
        logger.warning(
            "%s is not watched: no payout script is configured for %s",
            coin.params.key,
            ", ".join(unpaid),
        )
        return
    database = doors.database
    watcher = Watcher(database, coin.params.key, coin.nodes, pools)
    tracker = Tracker(
        database, ChainRules(coin.params, coin.settings.confirmations), coin.nodes, pools
    )

    leaderless = 0

    async def step() -> int:
        nonlocal leaderless
        standings = await coin.nodes.standings()
        leading = leader(standings)
        leaderless = leaderless + 1 if leading is None else 0
        if leading is None:
            # A node that has just heard of a block lacks it for a moment; that is no trouble.
            if leaderless == LEADERLESS_STEPS:
                logger.warning(
                    "%s: no node has all blocks that it knows of; blocks wait until one has",
                    coin.params.key,
                )
            return 0
        scanned = await watcher.scan(leading)
        changed = await tracker.step(standings, scanned, now_ms())
        return changed or scanned.height < leading.tip.height

    # The first start of a watcher begins below the first block that any record
    # knows; a log that cannot be read must not keep it from watching for ever.
    for _ in range(FIRST_READ_LOOKS):
        if stop.is_set() or all(caught_up.is_set() for caught_up in first_read):
            break
        await pause(stop, FIRST_READ_LOOK_S)
    else:
        logger.warning("%s: watching without having read all block logs", coin.params.key)
    name = f"chain of {coin.params.key}"
    turning = doors.standing.turning(name, step)
    await keep(name, turning, stop, coin.settings.poll_interval_ms / 1000)


def _coins(settings: RewardsSettings) -> tuple[list[RpcNode], list[CoinWork]]:
    """Clients of all nodes, and the coins that pools mine; raises Unusable."""
    clients: list[RpcNode] = []
    coins = []
    names = {coin.name for coin in settings.coins}
    for pool in settings.pools:
        if pool.coin not in names:
            raise Unusable(
                f"pool {pool.pool}: coin endpoint {pool.coin!r} is not configured; "
                f"there is: {', '.join(sorted(names)) or 'none'}"
            )
    for coin in settings.coins:
        try:
            params = chain_params(coin.coin, coin.network)
        except UnknownCoin as error:
            raise Unusable(f"coin endpoint {coin.name}: {error}") from error
        nodes = [RpcNode(node, network=coin.network) for node in coin.nodes]
        clients += nodes
        pools = tuple(pool for pool in settings.pools if pool.coin == coin.name)
        coins.append(CoinWork(coin, params, Nodes(params, nodes), pools))
    return clients, coins


async def _remember_scripts(database: Database, pools: Sequence[PoolSettings]) -> None:
    async with database.write() as connection:
        for pool in pools:
            try:
                script = bytes.fromhex(pool.payout_script)
            except ValueError as error:
                raise Unusable(f"pool {pool.pool}: payout_script is not hex: {error}") from error
            if script:
                await remember_script(connection, pool.pool, script)


async def _watched(database: Database, coin: CoinWork) -> list[WatchedPool]:
    async with database.read() as connection:
        return [
            WatchedPool(
                pool.pool,
                pool_tag(pool.pool),
                frozenset(await pool_scripts(connection, pool.pool)),
            )
            for pool in coin.pools
        ]


def now_ms() -> int:
    """Wall clock in Unix milliseconds; the one place of this service that reads it."""
    return time.time_ns() // 1_000_000
