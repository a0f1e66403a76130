"""The Accounting contract over the tables.

NOT_FOUND: a pool, scheme or coin that accounting was not told of.
INVALID_ARGUMENT: no window, or no address. FAILED_PRECONDITION: there is nothing of
the kind to decide, or no archive yet. DATA_LOSS: the archive is damaged.
UNAVAILABLE: the database cannot be asked now; ask again.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping

import grpc
import grpc.aio
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.address import AddressError, script_of_address
from pithead.coins.params import ChainParams
from pithead.contracts import accounting_pb2, share_log_pb2
from pithead.shares import schema
from pithead.shares.answering import away
from pithead.shares.archive.compactor import write_bounds
from pithead.shares.archive.rows import ArchiveDamaged
from pithead.shares.booking import CREDITED
from pithead.shares.books import CHUNK, AccountBook
from pithead.shares.decisions import (
    DecisionRefused,
    close_producer,
    decide_segment,
    see_checks,
)
from pithead.shares.query import (
    NotArchived,
    UnknownName,
    WindowAnswer,
    WindowQuestion,
    read_counters,
    read_newest,
    read_seals,
    read_session,
    read_waiting,
    read_window,
)
from pithead.shares.reports import ReportAnswers
from pithead.shares.states import INT63_MAX
from pithead.store import reading, transaction

logger = logging.getLogger(__name__)

PART_ACCOUNTS = 8192
"""Accounts in one part of a window: some 300 KB."""

WEIGHT_DIGITS_MAX = 90
"""A window above 2^256 hashes is a slip; Python would refuse above 4,300 digits anyhow."""

LINE_CHARS_MAX = 300


class AccountingServicer(ReportAnswers):
    """Answers from one database; `coins` are the chains by key (`litecoin/regtest`)."""

    def __init__(
        self,
        engine: AsyncEngine,
        coins: Mapping[str, ChainParams],
        now_ms: Callable[[], int],
    ) -> None:
        super().__init__(engine, coins)
        self._now_ms = now_ms

    async def Window(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.WindowRequest,
        context: grpc.aio.ServicerContext[accounting_pb2.WindowRequest, accounting_pb2.WindowPart],
    ) -> AsyncIterator[accounting_pb2.WindowPart]:
        """Cut a window and stream it, the header first."""
        try:
            question = _question(request)
            async with reading(self._engine) as connection:
                answer = await read_window(connection, question)
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except NotArchived as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except ArchiveDamaged as error:
            logger.error("archive of %s: %s", request.pool, error)
            await context.abort(grpc.StatusCode.DATA_LOSS, str(error))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except DBAPIError as error:
            await away(context, error)
        for part in window_parts(answer):
            yield part

    async def Seals(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.SealsRequest,
        context: grpc.aio.ServicerContext[accounting_pb2.SealsRequest, accounting_pb2.SealsReply],
    ) -> accounting_pb2.SealsReply:
        """Say how far a pool is sealed."""
        try:
            async with reading(self._engine) as connection:
                state = await read_seals(connection, request.pool)
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except DBAPIError as error:
            await away(context, error)
        return accounting_pb2.SealsReply(
            any=state.sealed_height is not None,
            sealed_height=max(state.sealed_height or 0, 0),
            open_producers=state.open_producers,
            any_archived=state.archived_height is not None,
            archived_height=max(state.archived_height or 0, 0),
        )

    async def Newest(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.NewestRequest,
        context: grpc.aio.ServicerContext[accounting_pb2.NewestRequest, accounting_pb2.NewestReply],
    ) -> accounting_pb2.NewestReply:
        """Say what the newest jobs build on."""
        try:
            async with reading(self._engine) as connection:
                row = await read_newest(connection, request.pool)
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except DBAPIError as error:
            await away(context, error)
        if row is None:
            return accounting_pb2.NewestReply(any=False)
        return accounting_pb2.NewestReply(
            any=True, height=row.height, parent=bytes(row.parent), bits=row.bits
        )

    async def FindSession(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.FindSessionRequest,
        context: grpc.aio.ServicerContext[
            accounting_pb2.FindSessionRequest, accounting_pb2.FindSessionReply
        ],
    ) -> accounting_pb2.FindSessionReply:
        """Say who mined on a connection; empty when nobody is known."""
        try:
            async with reading(self._engine) as connection:
                row = await read_session(connection, request.producer, request.extranonce1)
        except DBAPIError as error:
            await away(context, error)
        if row is None:
            return accounting_pb2.FindSessionReply(found=False)
        return accounting_pb2.FindSessionReply(
            found=True, account=row.login, worker=row.worker, account_id=row.account
        )

    async def Accounts(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.AccountsRequest,
        context: grpc.aio.ServicerContext[
            accounting_pb2.AccountsRequest, accounting_pb2.AccountsReply
        ],
    ) -> accounting_pb2.AccountsReply:
        """Accounts by id, in order of id."""
        table = schema.accounts
        # Ids beyond 63 bits exist nowhere, and no database would take them.
        ids = sorted({number for number in request.ids if number <= INT63_MAX})
        reply = accounting_pb2.AccountsReply()
        try:
            async with reading(self._engine) as connection:
                for start in range(0, len(ids), CHUNK):
                    rows = await connection.execute(
                        select(table)
                        .where(table.c.id.in_(ids[start : start + CHUNK]))
                        .order_by(table.c.id)
                    )
                    for row in rows:
                        reply.accounts.add(
                            id=row.id, coin=row.coin, login=row.login, script=row.script
                        )
        except DBAPIError as error:
            await away(context, error)
        return reply

    async def EnsureAccount(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.EnsureAccountRequest,
        context: grpc.aio.ServicerContext[
            accounting_pb2.EnsureAccountRequest, accounting_pb2.Account
        ],
    ) -> accounting_pb2.Account:
        """Return the account of an address, made when it is new."""
        params = self._coins.get(request.coin)
        if params is None:
            known = ", ".join(sorted(self._coins)) or "none"
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"no coin {request.coin} here; there are: {known}"
            )
        try:
            script_of_address(params, request.login)
        except AddressError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        table = schema.accounts
        try:
            async with transaction(self._engine) as connection:
                book = AccountBook(request.coin, params)
                ids = await book.resolve(connection, [request.login], create=True)
                query = select(table).where(table.c.id == ids[request.login])
                row = (await connection.execute(query)).one()
        except DBAPIError as error:
            await away(context, error)
        return accounting_pb2.Account(id=row.id, coin=row.coin, login=row.login, script=row.script)

    async def Counters(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.CountersRequest,
        context: grpc.aio.ServicerContext[
            accounting_pb2.CountersRequest, accounting_pb2.CountersReply
        ],
    ) -> accounting_pb2.CountersReply:
        """Counts of a pool since its beginning. Unauthorized submits count as invalid."""
        try:
            async with reading(self._engine) as connection:
                counts, accounts = await read_counters(connection, request.pool)
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except DBAPIError as error:
            await away(context, error)
        known = (
            share_log_pb2.REJECT_STALE,
            share_log_pb2.REJECT_DUPLICATE,
            share_log_pb2.REJECT_LOW,
        )
        return accounting_pb2.CountersReply(
            accepted=counts.get(CREDITED, 0),
            stale=counts.get(share_log_pb2.REJECT_STALE, 0),
            duplicate=counts.get(share_log_pb2.REJECT_DUPLICATE, 0),
            low=counts.get(share_log_pb2.REJECT_LOW, 0),
            invalid=sum(
                count for reason, count in counts.items() if reason not in (CREDITED, *known)
            ),
            weight=str(sum(account.weight for account in accounts)),
            accounts=[
                accounting_pb2.AccountCounters(
                    account=account.account,
                    login=account.login,
                    shares=account.shares,
                    weight=str(account.weight),
                )
                for account in accounts
            ],
        )

    async def Waiting(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.WaitingRequest,
        context: grpc.aio.ServicerContext[
            accounting_pb2.WaitingRequest, accounting_pb2.WaitingReply
        ],
    ) -> accounting_pb2.WaitingReply:
        """List open producers, disputed segments and records set aside."""
        try:
            async with reading(self._engine) as connection:
                waiting = await read_waiting(connection, request.pool)
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except DBAPIError as error:
            await away(context, error)
        return accounting_pb2.WaitingReply(
            producers=[
                accounting_pb2.OpenProducer(
                    producer=row.producer,
                    region=row.region,
                    partition=row.partition,
                    missing=int(row.missing),
                    promise=row.promise,
                    last_ms=row.last_ms,
                )
                for row in waiting.producers
            ],
            segments=[
                accounting_pb2.DisputedSegment(
                    id=number, parent=parent, height=height, weight=str(weight)
                )
                for number, parent, height, weight in waiting.segments
            ],
            set_aside=[
                accounting_pb2.SetAside(
                    partition=row.partition,
                    position=row.position,
                    reason=row.reason,
                    at_ms=row.at_ms,
                )
                for row in waiting.set_aside
            ],
        )

    async def Reach(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.ReachRequest,
        context: grpc.aio.ServicerContext[accounting_pb2.ReachRequest, accounting_pb2.ReachReply],
    ) -> accounting_pb2.ReachReply:
        """Keep how far back windows of a pool's schemes can still reach."""
        try:
            bounds = {one.scheme: _weight(one.weight) for one in request.schemes}
            async with transaction(self._engine) as connection:
                await write_bounds(connection, request.pool, bounds)
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except DBAPIError as error:
            await away(context, error)
        return accounting_pb2.ReachReply()

    async def Decide(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.DecideRequest,
        context: grpc.aio.ServicerContext[accounting_pb2.DecideRequest, accounting_pb2.DecideReply],
    ) -> accounting_pb2.DecideReply:
        """Carry out a decision, with who and why."""
        try:
            who = _line("who", request.who)
            reason = _line("reason", request.reason)
            outcome = await self._decide(request, who, reason)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except DecisionRefused as refusal:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refusal))
        except DBAPIError as error:
            await away(context, error)
        logger.warning("%s decided: %s (%s)", who, outcome, reason)
        return accounting_pb2.DecideReply(outcome=outcome)

    async def _decide(self, request: accounting_pb2.DecideRequest, who: str, reason: str) -> str:
        if request.decision == accounting_pb2.DECISION_CLOSE_PRODUCER:
            await close_producer(
                self._engine, request.producer, who=who, reason=reason, now_ms=self._now_ms()
            )
            return f"seals no longer wait for producer {request.producer.hex()}"
        if request.decision == accounting_pb2.DECISION_CHECKS_SEEN:
            count = await see_checks(
                self._engine, request.producer, who=who, reason=reason, now_ms=self._now_ms()
            )
            return f"{count} failed checks of producer {request.producer.hex()} are seen"
        if request.decision not in _RIGHT:
            raise ValueError(f"there is no decision {request.decision}")
        right = _RIGHT[request.decision]
        number = min(request.segment, INT63_MAX)
        await decide_segment(
            self._engine, number, right=right, who=who, reason=reason, now_ms=self._now_ms()
        )
        return f"segment {number} is {'right and earns' if right else 'wrong and earns nothing'}"


_RIGHT = {
    accounting_pb2.DECISION_SEGMENT_RIGHT: True,
    accounting_pb2.DECISION_SEGMENT_WRONG: False,
}


def _line(name: str, text: str) -> str:
    """One line for the audit; ValueError."""
    text = text.strip()
    if not 1 <= len(text) <= LINE_CHARS_MAX or not text.isprintable():
        raise ValueError(
            f"{name}: one line of 1 to {LINE_CHARS_MAX} characters is kept for the audit"
        )
    return text


def window_parts(answer: WindowAnswer) -> list[accounting_pb2.WindowPart]:
    """Return a window as the contract streams it; the header is in the first part."""
    taken = answer.taken
    header = accounting_pb2.WindowHeader(
        group_weight=_wide(taken.group_weight),
        needed=_wide(taken.needed),
        filled=taken.filled,
        groups=taken.groups,
        first_group=taken.oldest.name if taken.oldest else "",
        last_group=taken.newest.name if taken.newest else "",
        sealed=answer.sealed,
        hash=answer.hash,
        archive_hash=answer.archive_hash,
    )
    parts = [accounting_pb2.WindowPart(header=header)]
    for start in range(0, len(answer.accounts), PART_ACCOUNTS):
        accounts = answer.accounts[start : start + PART_ACCOUNTS]
        parts.append(
            accounting_pb2.WindowPart(
                account=[entry.account for entry in accounts],
                full=[_wide(entry.full) for entry in accounts],
                last=[_wide(entry.last) for entry in accounts],
            )
        )
    return parts


def _wide(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _weight(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > WEIGHT_DIGITS_MAX:
        raise ValueError(f"weight: expected a decimal number, got {text[:100]!r}")
    return int(text)


def _question(request: accounting_pb2.WindowRequest) -> WindowQuestion:
    weight = _weight(request.weight)
    if len(request.parent) != 32:
        raise ValueError(f"parent: expected 32 bytes, got {len(request.parent)}")
    return WindowQuestion(
        pool=request.pool,
        scheme=request.scheme,
        height=request.height,
        parent=request.parent,
        weight=weight,
        archived=request.archived,
    )
