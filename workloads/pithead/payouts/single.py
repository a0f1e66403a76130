"""Answers for payouts without a running service: one pass for a scheduler, and what people ask.

A pass takes cycles until nothing changes any more or its time is over. What a
cycle cannot end (a payment that waits for confirmations) the next pass goes on
with: all of it is in the database, so a pass may be killed at any moment, and
two at once do no harm, for of two that decide at once one wins.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import DBAPIError

from pithead.coins.node import RpcNode
from pithead.coins.node_errors import NodeError
from pithead.coins.wallet import NodeWallet, WalletError
from pithead.config import CoinSettings, PayoutsSettings, Unusable
from pithead.contracts import payouts_pb2
from pithead.payouts.engine import Engine, Outcome, receive
from pithead.payouts.errors import PayoutError
from pithead.payouts.records import Totals, WalletRow
from pithead.payouts.rows import Rows
from pithead.payouts.schema import REVISION
from pithead.payouts.service import check_settings, open_engines, params_of, wallet_node
from pithead.payouts.servicer import message_of
from pithead.process import Result, TaskFailed, until_there
from pithead.store import (
    StoreTooNew,
    StoreTooOld,
    StoreUnreachable,
    check_version,
    open_store,
)

PASS_S = 30.0
"""Time of a pass in which it may wait for neighbours and go on with what changes."""
PAUSE_S = 1.0
"""Between cycles of a pass: a handful of calls to the node."""


async def run_pass(settings: PayoutsSettings, coin: str, *, within_s: float = PASS_S) -> Result:
    """Take cycles of the coin with this CoinEndpoint name, planning now; return what came of it.

    A first cycle is taken whatever the time. Raises TaskFailed when the last cycle
    was troubled, with its sentence, and Unusable.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    async with _opened(settings, coin, within_s) as (engine, rows):
        before = ""
        while True:
            outcome = await _cycle(engine)
            last = loop.time() + PAUSE_S >= until_s
            if last or (outcome.text == before and not outcome.troubled):
                break
            before = outcome.text
            await asyncio.sleep(PAUSE_S)
        if outcome.troubled:
            raise TaskFailed(outcome.text)
        totals = await rows.totals(engine.coin.key)
    return {"coin": coin, "outcome": outcome.text, **_told(totals)}


async def adopt(settings: PayoutsSettings, coin: str, txid: str, reason: str) -> str:
    """Explain a foreign outgoing transaction; raises TaskFailed when it is not taken."""
    async with _opened(settings, coin, PASS_S) as (engine, _):
        try:
            return await engine.adopt(txid, reason)
        except (PayoutError, NodeError, WalletError, DBAPIError) as error:
            raise TaskFailed(_sentence(error)) from error


async def list_payouts(settings: PayoutsSettings, limit: int) -> list[payouts_pb2.Payout]:
    """Return the newest payouts of all coins of the settings, with their payments."""
    keys = {coin.key for coin in settings.coins}
    database = open_store(settings.database, settings.connections)
    try:
        await until_there(lambda: check_version(database, REVISION), away, PASS_S)
        found = [
            payout for key in sorted(keys) for payout in await Rows(database).recent(key, limit)
        ]
    finally:
        await database.dispose()
    found.sort(key=lambda payout: payout.planned_ms, reverse=True)
    return [message_of(payout, payments=True) for payout in found[:limit]]


async def receive_address(url: str, coin: CoinSettings) -> WalletRow:
    """Return the wallet with its receive address, made once and then kept in the database.

    Raises StoreError, DBAPIError, NodeError, WalletError, Unusable.
    """
    params = params_of(coin)
    database = open_store(url)
    try:
        await check_version(database, REVISION)
        async with RpcNode(wallet_node(coin), network=coin.network) as node:
            wallet = NodeWallet(node, params, coin.wallet.name)
            return await receive(Rows(database), wallet, coin, params)
    finally:
        await database.dispose()


def away(error: Exception) -> str:
    """Say why a database can not be used now; empty for errors that no repeat helps."""
    match error:
        case DBAPIError():
            return _sentence(error)
        case StoreUnreachable() | StoreTooOld():
            return str(error)
        case _:
            return ""


@asynccontextmanager
async def _opened(
    settings: PayoutsSettings, coin: str, within_s: float
) -> AsyncIterator[tuple[Engine, Rows]]:
    """Open the coin's engine over a database of the right revision."""
    check_settings(settings)
    database = open_store(settings.database, settings.connections)
    try:
        await until_there(lambda: check_version(database, REVISION), away, within_s)
        async with open_engines(settings, database) as engines:
            if coin not in engines:
                raise Unusable(f"there is no payout policy for CoinEndpoint {coin!r}")
            yield engines[coin], Rows(database)
    except StoreTooNew as error:
        raise Unusable(str(error)) from error
    finally:
        await database.dispose()


async def _cycle(engine: Engine) -> Outcome:
    try:
        return await engine.run(now=True)
    except DBAPIError as error:
        return Outcome(_sentence(error), troubled=True)


def _told(totals: Totals) -> Result:
    return {
        "pending": totals.pending,
        "confirmed": totals.confirmed,
        "amount": str(totals.amount),
    }


def _sentence(error: Exception) -> str:
    if isinstance(error, DBAPIError):
        return f"payouts' database: {str(error.orig)[:256]}"
    return str(error)
