"""Answers for the payouts' contract: what the engines do and the rows say, as messages.

A coin is named by its CoinEndpoint or by its chain (`<coin>/<network>`). Statuses:
NOT_FOUND for a coin without a payout policy, FAILED_PRECONDITION for what cannot be
adopted, UNAVAILABLE while the node, the wallet or the database does not answer.
"""

from collections.abc import Mapping
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from sqlalchemy.exc import DBAPIError

from pithead.coins.node_errors import NodeError
from pithead.coins.wallet import WalletError
from pithead.contracts import payouts_pb2, payouts_pb2_grpc
from pithead.payouts.engine import Engine
from pithead.payouts.errors import AdoptRefused, PayoutError
from pithead.payouts.records import Payout
from pithead.payouts.rows import Rows
from pithead.payouts.states import State

LIMIT_DEFAULT = 50
LIMIT_MAX = 1000
"""Payouts in one answer; with 500 payments each it still is one message."""

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")

STATES: Mapping[State, "payouts_pb2.PayoutState.ValueType"] = {
    State.PLANNED: payouts_pb2.PAYOUT_PLANNED,
    State.HELD: payouts_pb2.PAYOUT_HELD,
    State.SIGNED: payouts_pb2.PAYOUT_SIGNED,
    State.BROADCAST: payouts_pb2.PAYOUT_BROADCAST,
    State.BURIED: payouts_pb2.PAYOUT_BURIED,
    State.RELEASED: payouts_pb2.PAYOUT_RELEASED,
}


class PayoutsServicer(payouts_pb2_grpc.PayoutsServicer):
    """The contract over one engine a coin."""

    def __init__(self, engines: Mapping[str, Engine], rows: Rows) -> None:
        self._engines = engines
        self._rows = rows

    async def Receive(  # noqa: N802 - the contract's name
        self,
        request: payouts_pb2.ReceiveRequest,
        context: grpc.aio.ServicerContext[payouts_pb2.ReceiveRequest, payouts_pb2.ReceiveReply],
    ) -> payouts_pb2.ReceiveReply:
        """Answer the address that coinbases pay."""
        engine = await self._engine(request.coin, context)
        try:
            row = await engine.receive()
        except (NodeError, WalletError, DBAPIError) as error:
            await _away(context, error)
        return payouts_pb2.ReceiveReply(address=row.address or "", script=row.script or b"")

    async def List(  # noqa: N802 - the contract's name
        self,
        request: payouts_pb2.ListRequest,
        context: grpc.aio.ServicerContext[payouts_pb2.ListRequest, payouts_pb2.ListReply],
    ) -> payouts_pb2.ListReply:
        """Answer payouts, newest first, with totals and troubles; no coin means all."""
        key = ""
        if request.coin:
            key = (await self._engine(request.coin, context)).coin.key
        limit = min(request.limit or LIMIT_DEFAULT, LIMIT_MAX)
        try:
            payouts = await self._rows.recent(key, limit)
            totals = await self._rows.totals(key)
            troubles = [
                (await self._rows.wallet(engine.coin.key, engine.coin.wallet.name)).trouble
                for engine in self._engines.values()
                if key in ("", engine.coin.key)
            ]
        except DBAPIError as error:
            await _away(context, error)
        return payouts_pb2.ListReply(
            payouts=[message_of(payout, payments=request.payments) for payout in payouts],
            pending=totals.pending,
            confirmed=totals.confirmed,
            amount=str(totals.amount),
            trouble="; ".join(filter(None, troubles)),
        )

    async def RunNow(  # noqa: N802 - the contract's name
        self,
        request: payouts_pb2.RunNowRequest,
        context: grpc.aio.ServicerContext[payouts_pb2.RunNowRequest, payouts_pb2.RunNowReply],
    ) -> payouts_pb2.RunNowReply:
        """Take one cycle, planning now."""
        engine = await self._engine(request.coin, context)
        try:
            outcome = await engine.run(now=True)
        except DBAPIError as error:
            await _away(context, error)
        return payouts_pb2.RunNowReply(outcome=outcome.text)

    async def Adopt(  # noqa: N802 - the contract's name
        self,
        request: payouts_pb2.AdoptRequest,
        context: grpc.aio.ServicerContext[payouts_pb2.AdoptRequest, payouts_pb2.AdoptReply],
    ) -> payouts_pb2.AdoptReply:
        """Explain a foreign outgoing transaction."""
        engine = await self._engine(request.coin, context)
        try:
            outcome = await engine.adopt(request.txid, request.reason)
        except AdoptRefused as refusal:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refusal))
        except (PayoutError, NodeError, WalletError, DBAPIError) as error:
            await _away(context, error)
        return payouts_pb2.AdoptReply(outcome=outcome)

    async def _engine(
        self, coin: str, context: grpc.aio.ServicerContext[RequestT, ReplyT]
    ) -> Engine:
        found = next(
            (each for name, each in self._engines.items() if coin in (name, each.coin.key)), None
        )
        if found is None:
            known = ", ".join(sorted(self._engines)) or "none"
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"there is no payout policy for CoinEndpoint {coin[:80]!r}; there are: {known}",
            )
        return found


def message_of(payout: Payout, *, payments: bool) -> payouts_pb2.Payout:
    """Write a payout, with its single payments when asked for."""
    attempt = payout.shown_attempt
    message = payouts_pb2.Payout(
        id=payout.id,
        coin=payout.coin,
        state=STATES[payout.state],
        txid=attempt.shown if attempt else "",
        amount=payout.amount,
        network_fee=attempt.fee if attempt else 0,
        confirmations=payout.confirmations,
        planned_ms=payout.planned_ms,
        trouble=payout.trouble,
    )
    if payments:
        message.payments.extend(
            payouts_pb2.Payment(account=payment.account, login=payment.login, amount=payment.amount)
            for payment in payout.paid
        )
    return message


async def _away(context: grpc.aio.ServicerContext[RequestT, ReplyT], error: Exception) -> NoReturn:
    reason = str(error.orig)[:256] if isinstance(error, DBAPIError) else str(error)
    await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
