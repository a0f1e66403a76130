"""Answers for the payouts' gRPC service and for the schedule inside the process.

One engine a coin; a loop a coin takes a cycle each second, so that payouts under
way are followed closely, while new ones are planned at the policy's interval.
`single` takes cycles for a scheduler outside.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.node import RpcNode
from pithead.coins.params import ChainParams
from pithead.coins.registry import UnknownCoin, chain_params
from pithead.coins.wallet import NodeWallet
from pithead.config import CoinSettings, NodeSettings, PayoutPolicy, PayoutsSettings, Unusable
from pithead.contracts import payouts_pb2_grpc
from pithead.payouts.engine import Engine
from pithead.payouts.neighbours import LedgerBook, ShareAccounts
from pithead.payouts.rows import Rows
from pithead.payouts.schema import REVISION
from pithead.payouts.servicer import PayoutsServicer
from pithead.rpc import channel, serve
from pithead.store import (
    StoreTooNew,
    StoreTooOld,
    open_store,
    wait_for_version,
)
from pithead.store.watch import watch_store
from pithead.telemetry.health import Standing, health_server

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""Between cycles of a coin: a handful of calls to its node."""


async def run(settings: PayoutsSettings, stop: asyncio.Event) -> None:
    """Serve and pay until `stop` is set.

    Raises Unusable when the settings do not fit together, or the database belongs
    to another version.
    """
    check_settings(settings)
    standing = Standing()
    database = open_store(settings.database, settings.connections)
    try:
        async with health_server(settings.health, standing.ready):
            if not await wait_for_version(database, REVISION, stop):
                return
            async with open_engines(settings, database) as engines:
                await _serve(settings, engines, database, standing, stop)
    except (StoreTooNew, StoreTooOld) as error:
        raise Unusable(str(error)) from error
    finally:
        await database.dispose()


async def _serve(
    settings: PayoutsSettings,
    engines: Mapping[str, Engine],
    database: AsyncEngine,
    standing: Standing,
    stop: asyncio.Event,
) -> None:
    servicer = PayoutsServicer(engines, Rows(database))
    async with (
        serve(
            settings.serve,
            lambda server: payouts_pb2_grpc.add_PayoutsServicer_to_server(servicer, server),
        ),
        asyncio.TaskGroup() as group,
    ):
        logger.info("serving on %s", settings.serve.address)
        standing.started()
        group.create_task(
            watch_store(database, REVISION, lambda reason: standing.say("database", reason), stop)
        )
        for engine in engines.values():
            group.create_task(_follow(engine, standing, stop))
        await stop.wait()


def check_settings(settings: PayoutsSettings) -> None:
    """Raise Unusable when policies and coins do not fit together."""
    coins = {coin.name: coin for coin in settings.coins}
    wallets: dict[str, str] = {}
    for policy in settings.policies:
        coin = coins.get(policy.coin)
        if coin is None:
            raise Unusable(f"a payout policy names an unknown CoinEndpoint: {policy.coin!r}")
        if coin.wallet.kind != "node":
            raise Unusable(
                f"CoinEndpoint {coin.name}: wallet kind {coin.wallet.kind!r} is not supported; "
                "use 'node'"
            )
        # Balances are kept per chain; two wallets would both pay them.
        other = wallets.setdefault(coin.key, coin.name)
        if other != coin.name:
            raise Unusable(
                f"CoinEndpoints {other} and {coin.name} both have pools on {coin.key}: "
                "one wallet pays a chain; let their pools share one CoinEndpoint"
            )
        params_of(coin)
        wallet_node(coin)
        if policy.threshold < 0 or policy.interval_s < 1 or policy.payments_max < 1:
            raise Unusable(
                f"payout policy of {coin.name}: threshold must be at least 0, intervalSeconds "
                "and paymentsMax at least 1"
            )


@asynccontextmanager
async def open_engines(
    settings: PayoutsSettings, database: AsyncEngine
) -> AsyncIterator[Mapping[str, Engine]]:
    """Open nodes and channels for the engines, by CoinEndpoint name."""
    coins = {coin.name: coin for coin in settings.coins}
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(channel(settings.ledger))
        shares = await stack.enter_async_context(channel(settings.shares))
        engines: dict[str, Engine] = {}
        for policy in settings.policies:
            coin = coins[policy.coin]
            node = await stack.enter_async_context(RpcNode(wallet_node(coin), network=coin.network))
            engines[coin.name] = _engine(coin, policy, node, database, ledger, shares)
        yield engines


def _engine(
    coin: CoinSettings,
    policy: PayoutPolicy,
    node: RpcNode,
    database: AsyncEngine,
    ledger: grpc.aio.Channel,
    shares: grpc.aio.Channel,
) -> Engine:
    params = params_of(coin)
    return Engine(
        coin,
        policy,
        params,
        rows=Rows(database),
        wallet=NodeWallet(node, params, coin.wallet.name),
        book=LedgerBook(ledger),
        accounts=ShareAccounts(shares),
        now_ms=_now_ms,
    )


async def _follow(engine: Engine, standing: Standing, stop: asyncio.Event) -> None:
    """Take a cycle each tick; a database that is away is waited for."""
    said = ""
    while not stop.is_set():
        standing.turned(f"payouts of {engine.coin.name}")
        try:
            await engine.run()
        except DBAPIError as error:
            text = str(error.orig)[:256]
            if text != said:
                logger.error("%s: payouts database: %s; trying again", engine.coin.name, text)
            said = text
        else:
            said = ""
        await _sleep(stop, TICK_S)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def params_of(coin: CoinSettings) -> ChainParams:
    """Return the parameters of the coin's chain; raises Unusable."""
    try:
        return chain_params(coin.coin, coin.network)
    except UnknownCoin as error:
        raise Unusable(f"CoinEndpoint {coin.name}: {error}") from error


def wallet_node(coin: CoinSettings) -> NodeSettings:
    """Return the node that has the wallet, the first that is no standby; raises Unusable."""
    for node in coin.nodes:
        if not node.standby:
            return node
    raise Unusable(f"CoinEndpoint {coin.name} has no main node, which its wallet lives in")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
