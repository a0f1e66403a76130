"""Answers for the two services that payouts ask: the ledger's book and the accounts' scripts.

Status codes become the errors that the engine decides by, in one place. Every
call has a time limit; one that was cut off may have been booked, so the engine
posts the same entry again.
"""

from collections.abc import Awaitable, Iterable, Mapping
from typing import Protocol, TypeVar

import grpc
import grpc.aio

from pithead.contracts import (
    accounting_pb2,
    accounting_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
)
from pithead.payouts.errors import BookConflict, BookRefused, NeighbourAway
from pithead.payouts.plan import Account

CALL_TIMEOUT_S = 15.0
"""Longer than the ledger's database lets a writer wait; a healthy call takes milliseconds."""

ACCOUNTS_AT_ONCE = 5000

ReplyT = TypeVar("ReplyT")


class Book(Protocol):
    """The ledger as payouts need it."""

    async def post(self, entry: ledger_pb2.Entry) -> None:
        """Book an entry, or find it booked. BookRefused, BookConflict, NeighbourAway."""

    async def balances(
        self, coin: str, kind: "ledger_pb2.BookKind.ValueType", at_least: int
    ) -> Mapping[int, int]:
        """Balances of accounts of at least so much, by account. NeighbourAway."""

    async def has(self, coin: str, *, kind: str = "", entry_id: str = "") -> bool:
        """Whether the book of a coin holds an entry of a kind, or with an id. NeighbourAway."""


class Accounts(Protocol):
    """The share processor as payouts need it."""

    async def accounts(self, ids: Iterable[int]) -> Mapping[int, Account]:
        """Accounts by id; unknown ones are left out. NeighbourAway."""


class LedgerBook:
    """The ledger service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ledger_pb2_grpc.LedgerStub(channel)

    async def post(self, entry: ledger_pb2.Entry) -> None:
        """Book an entry, or find it booked."""
        try:
            await _ask("ledger", self._stub.Post(entry, timeout=CALL_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            words = error.details() or error.code().name
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise BookRefused(words) from error
            raise BookConflict(f"the ledger refuses entry {entry.id}: {words}") from error

    async def balances(
        self, coin: str, kind: "ledger_pb2.BookKind.ValueType", at_least: int
    ) -> Mapping[int, int]:
        """Balances of accounts of at least so much, by account."""
        request = ledger_pb2.BalancesRequest(coin=coin, kinds=[kind], at_least=at_least)
        try:
            call = self._stub.Balances(request, timeout=CALL_TIMEOUT_S)
            reply: ledger_pb2.BalancesReply = await _ask("ledger", call)
        except grpc.aio.AioRpcError as error:
            raise NeighbourAway("ledger", error.details() or error.code().name) from error
        return {int(item.book.owner): item.amount for item in reply.balances}

    async def has(self, coin: str, *, kind: str = "", entry_id: str = "") -> bool:
        """Whether the book of a coin holds an entry of a kind, or with an id."""
        request = ledger_pb2.EntriesRequest(coin=coin, kind=kind, id=entry_id)
        call = self._stub.Entries(request, timeout=CALL_TIMEOUT_S)
        try:
            async for _ in call:
                call.cancel()
                return True
        except grpc.aio.AioRpcError as error:
            raise NeighbourAway("ledger", error.details() or error.code().name) from error
        return False


class ShareAccounts:
    """The share processor's accounts."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = accounting_pb2_grpc.AccountingStub(channel)

    async def accounts(self, ids: Iterable[int]) -> Mapping[int, Account]:
        """Accounts by id; unknown ones are left out."""
        asked = sorted(ids)
        found: dict[int, Account] = {}
        for start in range(0, len(asked), ACCOUNTS_AT_ONCE):
            request = accounting_pb2.AccountsRequest(ids=asked[start : start + ACCOUNTS_AT_ONCE])
            try:
                call = self._stub.Accounts(request, timeout=CALL_TIMEOUT_S)
                reply: accounting_pb2.AccountsReply = await _ask("shares", call)
            except grpc.aio.AioRpcError as error:
                raise NeighbourAway("shares", error.details() or error.code().name) from error
            for item in reply.accounts:
                found[item.id] = Account(item.id, item.login, item.script)
        return found


_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)
"""Codes after which the same call may succeed, or may have succeeded already."""


async def _ask(service: str, call: Awaitable[ReplyT]) -> ReplyT:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() in _AWAY:
            raise NeighbourAway(service, error.details() or error.code().name) from error
        raise
