"""Answers for the ledger's gRPC service: refusals become status codes, nothing else is decided.

INVALID_ARGUMENT: the entry can never be booked. ALREADY_EXISTS: its id holds
another one. FAILED_PRECONDITION: a balance does not allow it. UNAVAILABLE: the
database cannot be asked now; post the same entry again.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.config import LedgerSettings, Unusable
from pithead.contracts import ledger_pb2, ledger_pb2_grpc
from pithead.ledger.book import (
    BookOverdrawn,
    BookOverflow,
    EntryConflict,
    EntryInvalid,
    LedgerError,
)
from pithead.ledger.metrics import ENTRIES_BOOKED, REFUSALS
from pithead.ledger.posting import Ledger
from pithead.ledger.schema import REVISION
from pithead.ledger.wire import entry_of, kind_of, message_of_balance, message_of_entry
from pithead.rpc import serve
from pithead.store import StoreTooNew, StoreTooOld, open_store, wait_for_version
from pithead.store.watch import watch_store
from pithead.telemetry.health import Standing, health_server

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")

logger = logging.getLogger(__name__)

_CODES: dict[type[LedgerError], grpc.StatusCode] = {
    EntryInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    EntryConflict: grpc.StatusCode.ALREADY_EXISTS,
    BookOverdrawn: grpc.StatusCode.FAILED_PRECONDITION,
    BookOverflow: grpc.StatusCode.FAILED_PRECONDITION,
}


class LedgerServicer(ledger_pb2_grpc.LedgerServicer):
    """The contract over one book."""

    def __init__(self, ledger: Ledger, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._now_ms = now_ms

    async def Post(  # noqa: N802 - the contract's name
        self,
        request: ledger_pb2.Entry,
        context: grpc.aio.ServicerContext[ledger_pb2.Entry, ledger_pb2.PostReply],
    ) -> ledger_pb2.PostReply:
        """Book one entry."""
        try:
            posted = await self._ledger.post(entry_of(request), self._now_ms())
        except LedgerError as error:
            REFUSALS.labels(error.rule).inc()
            logger.warning("refused: %s", error)
            await context.abort(_code(error), str(error))
        except DBAPIError as error:
            await _away(context, error)
        if not posted.existed:
            ENTRIES_BOOKED.labels(request.kind).inc()
        return ledger_pb2.PostReply(number=posted.number, existed=posted.existed)

    async def Balances(  # noqa: N802 - the contract's name
        self,
        request: ledger_pb2.BalancesRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.BalancesRequest, ledger_pb2.BalancesReply],
    ) -> ledger_pb2.BalancesReply:
        """Answer balances of one coin. `at_least` 0 means unset, as the contract says."""
        try:
            balances = await self._ledger.balances(
                request.coin,
                kinds=[kind_of(kind) for kind in request.kinds],
                owner=request.owner,
                at_least=request.at_least or None,
                non_zero=request.non_zero,
            )
        except LedgerError as error:
            await context.abort(_code(error), str(error))
        except DBAPIError as error:
            await _away(context, error)
        return ledger_pb2.BalancesReply(balances=map(message_of_balance, balances))

    async def Entries(  # noqa: N802 - the contract's name
        self,
        request: ledger_pb2.EntriesRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.EntriesRequest, ledger_pb2.Entry],
    ) -> AsyncIterator[ledger_pb2.Entry]:
        """Stream entries by number."""
        try:
            async for booked in self._ledger.entries(
                request.coin,
                after_number=request.after_number,
                kind=request.kind,
                entry_id=request.id,
            ):
                yield message_of_entry(booked)
        except DBAPIError as error:
            await _away(context, error)


async def run(settings: LedgerSettings, stop: asyncio.Event) -> None:
    """Serve the book until `stop` is set.

    Raises Unusable when the database belongs to another version.
    """
    standing = Standing()
    engine = open_store(settings.database, settings.connections)
    try:
        async with health_server(settings.health, standing.ready):
            if not await wait_for_version(engine, REVISION, stop):
                return
            await _serve(settings, engine, standing, stop)
    except (StoreTooNew, StoreTooOld) as error:
        raise Unusable(str(error)) from error
    finally:
        await engine.dispose()


async def _serve(
    settings: LedgerSettings, engine: AsyncEngine, standing: Standing, stop: asyncio.Event
) -> None:
    servicer = LedgerServicer(Ledger(engine), _now_ms)
    async with serve(
        settings.serve,
        lambda server: ledger_pb2_grpc.add_LedgerServicer_to_server(servicer, server),
    ):
        logger.info("serving on %s", settings.serve.address)
        standing.started()
        await watch_store(engine, REVISION, lambda reason: standing.say("database", reason), stop)


def _code(error: LedgerError) -> grpc.StatusCode:
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))


async def _away(context: grpc.aio.ServicerContext[RequestT, ReplyT], error: DBAPIError) -> NoReturn:
    reason = str(error.orig)[:256]
    logger.error("database: %s", reason)
    await context.abort(grpc.StatusCode.UNAVAILABLE, f"the ledger's database: {reason}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
