"""Answers for the payouts' gRPC service and for the schedule inside the process.

One engine a coin; a loop a coin takes a cycle each second, so that payouts under
way are followed closely, while new ones are planned at the policy's interval.
`run_once` is one cycle by itself, for a scheduler outside.
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
from pithead.payouts.engine import Engine, Outcome
from pithead.payouts.neighbours import LedgerBook, ShareAccounts
from pithead.payouts.rows import Rows
from pithead.payouts.schema import REVISION
from pithead.payouts.servicer import PayoutsServicer
from pithead.rpc import channel, serve
from pithead.store import (
    StoreTooNew,
    StoreTooOld,
    check_version,
    open_store,
    wait_for_version,
)

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""Between cycles of a coin: a handful of calls to its node."""


async def run(settings: PayoutsSettings, stop: asyncio.Event) -> None:
    """Serve and pay until `stop` is set.

    Raises Unusable when the settings do not fit together, or the database belongs
    to another version.
    """
    check_settings(settings)
    database = open_store(settings.database)
    try:
        if not await wait_for_version(database, REVISION, stop):
            return
        async with _engines(settings, database) as engines:
            servicer = PayoutsServicer(engines, Rows(database))
            async with serve(
                settings.socket,
                lambda server: payouts_pb2_grpc.add_PayoutsServicer_to_server(servicer, server),
            ):
                logger.info("serving on %s", settings.socket)
                async with asyncio.TaskGroup() as group:
                    for engine in engines.values():
                        group.create_task(_follow(engine, stop))
                    await stop.wait()
    except (StoreTooNew, StoreTooOld) as error:
        raise Unusable(str(error)) from error
    finally:
        await database.dispose()


async def run_once(settings: PayoutsSettings, coin: str) -> Outcome:
    """Take one cycle of the coin with this CoinEndpoint name, planning now; then let all go.

    Safe beside a running service: of two runs that decide at once, one wins.
    """
    check_settings(settings)
    database = open_store(settings.database)
    try:
        await check_version(database, REVISION)
        async with _engines(settings, database) as engines:
            if coin not in engines:
                raise Unusable(f"there is no payout policy for CoinEndpoint {coin!r}")
            return await engines[coin].run(now=True)
    finally:
        await database.dispose()


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
        _params_of(coin)
        _wallet_node(coin)
        if policy.threshold < 0 or policy.interval_s < 1 or policy.payments_max < 1:
            raise Unusable(
                f"payout policy of {coin.name}: threshold must be at least 0, intervalSeconds "
                "and paymentsMax at least 1"
            )


@asynccontextmanager
async def _engines(
    settings: PayoutsSettings, database: AsyncEngine
) -> AsyncIterator[Mapping[str, Engine]]:
    """Open nodes and channels for the engines, by CoinEndpoint name."""
    coins = {coin.name: coin for coin in settings.coins}
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(channel(settings.ledger_socket))
        shares = await stack.enter_async_context(channel(settings.shares_socket))
        engines: dict[str, Engine] = {}
        for policy in settings.policies:
            coin = coins[policy.coin]
            node = await stack.enter_async_context(
                RpcNode(_wallet_node(coin), network=coin.network)
            )
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
    params = _params_of(coin)
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


async def _follow(engine: Engine, stop: asyncio.Event) -> None:
    """Take a cycle each tick; a database that is away is waited for."""
    said = ""
    while not stop.is_set():
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


def _params_of(coin: CoinSettings) -> ChainParams:
    try:
        return chain_params(coin.coin, coin.network)
    except UnknownCoin as error:
        raise Unusable(f"CoinEndpoint {coin.name}: {error}") from error


def _wallet_node(coin: CoinSettings) -> NodeSettings:
    """Return the node that has the wallet: the first that is no standby."""
    for node in coin.nodes:
        if not node.standby:
            return node
    raise Unusable(f"CoinEndpoint {coin.name} has no main node, which its wallet lives in")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
