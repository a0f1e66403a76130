"""The gRPC contract of rewards: applies schemes, lists blocks, shows splits.

Refusals become status codes; nothing else is decided here. INVALID_ARGUMENT:
parameters or method. FAILED_PRECONDITION: something immutable would change.
UNAVAILABLE: a height is needed and no node tells one, or the database is away.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NoReturn, TypeVar

import grpc
import grpc.aio
from sqlalchemy.exc import DBAPIError

from pithead.coins.registry import chain_params
from pithead.coins.weight import WeightError, bits_to_target, expected_hashes
from pithead.contracts import rewards_pb2, rewards_pb2_grpc
from pithead.contracts.accounting_pb2 import AccountsRequest
from pithead.rewards.database import (
    BlockRow,
    Database,
    newest_blocks,
    state_counts,
    watch_position,
)
from pithead.rewards.registry import (
    CoinChanged,
    MethodChanged,
    Registry,
    SchemeSpec,
    SlotsExhausted,
    TipUnknown,
    revisions,
)
from pithead.rewards.scheme import SchemeError, scheme_for
from pithead.rewards.splits import final_among, find_split
from pithead.rewards.states import ON_CHAIN, State

if TYPE_CHECKING:
    # Generated for type checkers only.
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub

BLOCKS_DEFAULT = 50
BLOCKS_MAX = 1000
ACCOUNTS_TIMEOUT_S = 5.0
ACCOUNTS_CHUNK = 5000

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")

logger = logging.getLogger(__name__)

_CODES: dict[type[Exception], grpc.StatusCode] = {
    SchemeError: grpc.StatusCode.INVALID_ARGUMENT,
    MethodChanged: grpc.StatusCode.FAILED_PRECONDITION,
    CoinChanged: grpc.StatusCode.FAILED_PRECONDITION,
    SlotsExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TipUnknown: grpc.StatusCode.UNAVAILABLE,
}

TipOf = Callable[[str, str], Awaitable[int]]
"""(pool, its coin) -> the highest height that any node knows; raises TipUnknown."""


class RewardsServicer(rewards_pb2_grpc.RewardsServicer):
    """The contract over one database. `pools` maps poolId to its `<coin>/<network>`."""

    def __init__(
        self,
        *,
        database: Database,
        registry: Registry,
        pools: Mapping[str, str],
        tip: TipOf,
        accounting: "AccountingAsyncStub",
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._registry = registry
        self._pools = pools
        self._tip = tip
        self._accounting = accounting
        self._now_ms = now_ms

    async def ApplySchemes(  # noqa: N802 - the contract's name
        self,
        request: rewards_pb2.ApplySchemesRequest,
        context: grpc.aio.ServicerContext[rewards_pb2.ApplySchemesRequest, rewards_pb2.SchemeTable],
    ) -> rewards_pb2.SchemeTable:
        """Register a pool's schemes and answer its whole table."""
        await self._check_pool(request.pool, request.coin, context)
        names = [spec.name for spec in request.schemes]
        if len(set(names)) != len(names) or "" in names:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"pool {request.pool}: schemes need names of their own, got {names}",
            )
        try:
            table = await self._registry.apply(
                request.pool,
                request.coin,
                [SchemeSpec(spec.name, spec.method, spec.parameters) for spec in request.schemes],
                lambda: self._tip(request.pool, request.coin),
                self._now_ms(),
            )
        except tuple(_CODES) as error:
            code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
            await context.abort(code, str(error))
        except DBAPIError as error:
            await _away(context, error)
        return rewards_pb2.SchemeTable(
            revisions=[
                rewards_pb2.SchemeRevision(
                    slot=row.slot,
                    scheme=row.scheme,
                    revision=row.revision,
                    effective_height=row.effective_height,
                    method=row.method,
                    parameters=row.parameters,
                )
                for row in table
            ]
        )

    async def Blocks(  # noqa: N802 - the contract's name
        self,
        request: rewards_pb2.BlocksRequest,
        context: grpc.aio.ServicerContext[rewards_pb2.BlocksRequest, rewards_pb2.BlocksReply],
    ) -> rewards_pb2.BlocksReply:
        """Answer a pool's newest blocks and how many stand in each state."""
        coin = await self._check_pool(request.pool, None, context)
        limit = min(request.limit or BLOCKS_DEFAULT, BLOCKS_MAX)
        try:
            async with self._database.read() as connection:
                blocks = await newest_blocks(connection, request.pool, limit)
                final = await final_among(connection, coin, [block.hash for block in blocks])
                counts = await state_counts(connection, request.pool)
                position = await watch_position(connection, coin)
                table = await revisions(connection, request.pool)
        except DBAPIError as error:
            await _away(context, error)
        height = position.height if position is not None else 0
        schemes = {revision.slot: revision.scheme for revision in table}
        return rewards_pb2.BlocksReply(
            blocks=[
                _message(block, schemes, height, final=block.hash in final) for block in blocks
            ],
            candidate=counts.get(State.CANDIDATE, 0),
            confirmed=counts.get(State.CONFIRMED, 0),
            mature=counts.get(State.MATURE, 0),
            orphaned=counts.get(State.ORPHANED, 0),
            tip_height=height,
        )

    async def Split(  # noqa: N802 - the contract's name
        self,
        request: rewards_pb2.SplitRequest,
        context: grpc.aio.ServicerContext[rewards_pb2.SplitRequest, rewards_pb2.SplitReply],
    ) -> rewards_pb2.SplitReply:
        """Answer a block's split, with logins as far as the share processor tells them."""
        if len(request.hash) != 32:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"hash: expected 32 bytes in internal order, got {len(request.hash)}",
            )
        try:
            async with self._database.read() as connection:
                stored = await find_split(connection, request.coin, request.hash)
        except DBAPIError as error:
            await _away(context, error)
        if stored is None:
            return rewards_pb2.SplitReply(found=False)
        split = stored.split
        logins = await self._logins([share.account for share in split.shares])
        return rewards_pb2.SplitReply(
            found=True,
            final=stored.final,
            value=split.value,
            fee=split.fee,
            remainder=split.remainder,
            revision=stored.revision,
            window_hash=stored.window.hash.hex(),
            shares=[
                rewards_pb2.Share(
                    account=share.account,
                    login=logins.get(share.account, ""),
                    amount=share.amount,
                    weight=str(share.weight),
                )
                for share in split.shares
            ],
        )

    async def Windows(  # noqa: N802 - the contract's name
        self,
        request: rewards_pb2.WindowsRequest,
        context: grpc.aio.ServicerContext[rewards_pb2.WindowsRequest, rewards_pb2.WindowsReply],
    ) -> rewards_pb2.WindowsReply:
        """Answer the windows that a block of this height and bits would be split over."""
        coin = await self._check_pool(request.pool, None, context)
        try:
            hashes = expected_hashes(bits_to_target(request.bits))
        except WeightError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        try:
            async with self._database.read() as connection:
                table = await revisions(connection, request.pool)
        except DBAPIError as error:
            await _away(context, error)
        name, _, network = coin.partition("/")
        shift = chain_params(name, network).shift
        # By slot, then by height: of each slot the last one stays.
        standing = {one.slot: one for one in table if one.effective_height <= request.height}
        return rewards_pb2.WindowsReply(
            schemes=[
                rewards_pb2.SchemeWindow(
                    slot=one.slot,
                    scheme=one.scheme,
                    method=one.method,
                    revision=one.revision,
                    weight=str(
                        scheme_for(one.method).bind(one.parameters).window_weight(hashes, shift)
                    ),
                )
                for one in standing.values()
            ]
        )

    async def _logins(self, accounts: list[int]) -> dict[int, str]:
        """Names for people; a split is shown without them while the share processor is away."""
        found: dict[int, str] = {}
        try:
            for start in range(0, len(accounts), ACCOUNTS_CHUNK):
                reply = await self._accounting.Accounts(
                    AccountsRequest(ids=accounts[start : start + ACCOUNTS_CHUNK]),
                    timeout=ACCOUNTS_TIMEOUT_S,
                )
                found.update((account.id, account.login) for account in reply.accounts)
        except grpc.aio.AioRpcError as error:
            logger.warning("a split is shown without logins: %s", error.code().name)
        return found

    async def _check_pool(
        self, pool: str, coin: str | None, context: grpc.aio.ServicerContext[RequestT, ReplyT]
    ) -> str:
        """The coin of a pool that this service was configured with."""
        known = self._pools.get(pool)
        if known is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"pool {pool!r} is not known here; there is: {', '.join(sorted(self._pools))}",
            )
        if coin is not None and coin != known:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"pool {pool}: coin: expected {known!r}, got {coin!r}",
            )
        return known


def _message(
    block: BlockRow, schemes: Mapping[int, str], tip_height: int, *, final: bool
) -> rewards_pb2.Block:
    on_chain = block.state in ON_CHAIN and not block.recheck
    return rewards_pb2.Block(
        pool=block.pool,
        coin=block.coin,
        hash=block.hash,
        height=block.height,
        state=rewards_pb2.BlockState.ValueType(int(block.state)),
        value=block.value,
        scheme=schemes.get(block.slot, ""),
        finder=f"{block.login}.{block.worker}" if block.worker else block.login,
        found_ms=block.found_ms,
        confirmations=max(0, tip_height - block.height + 1) if on_chain else 0,
        split_final=final,
        from_watcher=block.from_watcher,
        bits=block.bits,
    )


async def _away(context: grpc.aio.ServicerContext[RequestT, ReplyT], error: DBAPIError) -> NoReturn:
    reason = str(error.orig)[:256]
    logger.error("database: %s", reason)
    await context.abort(grpc.StatusCode.UNAVAILABLE, f"the database of rewards: {reason}")
