"""Splits blocks over their windows and brings the ledger to what the splits say.

Both work on levels: a block without a final split is looked at in every step
until it has one; an entry that the ledger has not answered is posted in every
step until it has. A crash between two writes is made good by the next step,
because a decision and the entries behind it are one transaction, and the ledger
knows an entry again by its id.
"""

import logging
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from pithead.coins.params import ChainParams
from pithead.contracts.accounting_pb2 import SealsRequest, WindowPart, WindowRequest
from pithead.contracts.ledger_pb2 import Entry
from pithead.rewards.booking import entry
from pithead.rewards.database import BlockRow, Database, find_block
from pithead.rewards.metrics import CONSERVED_MONEY, REPLAYABLE
from pithead.rewards.registry import Revision, revision_at, revisions
from pithead.rewards.scheme import ConservedMoneyViolated, SchemeError
from pithead.rewards.splits import (
    PlannedEntry,
    StoredSplit,
    Unsettled,
    can_be_final,
    find_split,
    has_final_split,
    mark_booked,
    plan_entries,
    store_split,
    unbooked_entries,
    unsettled_blocks,
)
from pithead.rewards.windows import Computed, WindowRefused, compute_split

if TYPE_CHECKING:
    # Generated for type checkers only.
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub
    from pithead.contracts.ledger_pb2_grpc import LedgerAsyncStub

CALL_TIMEOUT_S = 10.0
WINDOW_TIMEOUT_S = 60.0
"""A window of 100,000 accounts over a busy machine; usually milliseconds."""

BLOCKS_MAX = 100
"""Blocks of a pool looked at in one step."""

ENTRIES_MAX = 200
"""Entries posted in one step."""

REFRESH_MS = 15_000
"""How old a provisional split may grow before it is made anew: it is for display only."""

HOLD_MS = 5_000
"""How long a block that could not be split is left alone: the cause rarely goes by itself."""

REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Answers about one entry or window; everything else is about the neighbour being away."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SettledPool:
    """A pool whose blocks are split."""

    pool: str
    params: ChainParams


class Settler:
    """Splits and entries of all pools of the service."""

    def __init__(
        self,
        database: Database,
        pools: Sequence[SettledPool],
        accounting: "AccountingAsyncStub",
        ledger: "LedgerAsyncStub",
    ) -> None:
        self._database = database
        self._pools = tuple(pools)
        self._accounting = accounting
        self._ledger = ledger
        self._complained: dict[bytes, str] = {}
        self._held: dict[bytes, int] = {}

    async def split_step(self, now_ms: int) -> int:
        """Split what can be split; returns how many splits became final.

        Raises grpc.aio.AioRpcError while the share processor is away.
        """
        made = 0
        for pool in self._pools:
            async with self._database.read() as connection:
                unsettled = await unsettled_blocks(connection, pool.pool, BLOCKS_MAX)
                table = await revisions(connection, pool.pool)
            if not unsettled:
                continue
            seals = await self._accounting.Seals(
                SealsRequest(pool=pool.pool), timeout=CALL_TIMEOUT_S
            )
            # A final split names the archive of its block's height, which follows
            # the seal within a moment.
            archived = seals.archived_height if seals.any_archived else -1
            for one in unsettled:
                made += await self._settle(pool, table, one, archived, now_ms)
        return made

    async def _settle(
        self,
        pool: SettledPool,
        table: Sequence[Revision],
        unsettled: Unsettled,
        archived: int,
        now_ms: int,
    ) -> bool:
        """Make one block's split final, or provisional for display; True when it is final now."""
        block = unsettled.block
        if now_ms < self._held.get(block.hash, 0):
            return False
        final = block.height <= archived and can_be_final(block)
        if not final and now_ms - unsettled.made_ms < REFRESH_MS:
            return False
        revision = revision_at(table, block.slot, block.height)
        if revision is None:
            self._hold(block, f"no revision stands behind its slot {block.slot}", now_ms)
            return False
        try:
            computed = await compute_split(self._window, pool.params, block, revision)
            final = final and computed.fetched.sealed and bool(computed.fetched.facts.archive)
            return await self._store(block, revision, computed, now_ms, final=final)
        except ConservedMoneyViolated as error:
            CONSERVED_MONEY.inc()
            self._hold(block, str(error), now_ms)
        except (WindowRefused, SchemeError, ValueError) as error:
            REPLAYABLE.inc()
            self._hold(block, str(error), now_ms)
        except grpc.aio.AioRpcError as error:
            if error.code() not in REFUSALS:
                raise
            trouble = f"the share processor refuses its window: {error.details()}"
            self._hold(block, trouble, now_ms)
        return False

    def _window(self, request: WindowRequest) -> AsyncIterable[WindowPart]:
        return self._accounting.Window(request, timeout=WINDOW_TIMEOUT_S)

    async def _store(
        self,
        block: BlockRow,
        revision: Revision,
        computed: Computed,
        now_ms: int,
        *,
        final: bool,
    ) -> bool:
        stored = StoredSplit(
            coin=block.coin,
            hash=block.hash,
            revision=revision.revision,
            final=final,
            window=computed.fetched.facts,
            split=computed.split,
            made_ms=now_ms,
        )
        async with self._database.write() as connection:
            fresh = await find_block(connection, block.coin, block.hash)
            # The chain may have moved while the window was fetched.
            if fresh is None or fresh.value != block.value or (final and not can_be_final(fresh)):
                return False
            if await has_final_split(connection, block.coin, block.hash):
                return False
            await store_split(connection, stored)
            await plan_entries(connection, fresh)
        self._complained.pop(block.hash, None)
        self._held.pop(block.hash, None)
        if final:
            logger.info(
                "%s: block %s at height %d is split: %d base units to %d accounts, fee %d",
                block.pool,
                block.name,
                block.height,
                block.value,
                len(computed.split.shares),
                computed.split.fee,
            )
        return final

    async def book_step(self) -> int:
        """Post entries that the ledger has not answered; returns how many it holds now.

        An entry that the ledger refuses holds back only the later ones of its block.
        Raises grpc.aio.AioRpcError while the ledger is away.
        """
        async with self._database.read() as connection:
            waiting = await unbooked_entries(connection, ENTRIES_MAX)
        booked, held = 0, set[bytes]()
        for planned in waiting:
            if planned.hash in held:
                continue
            if await self._book(planned):
                booked += 1
            else:
                held.add(planned.hash)
        return booked

    async def _book(self, planned: PlannedEntry) -> bool:
        async with self._database.read() as connection:
            block = await find_block(connection, planned.coin, planned.hash)
        if block is None:
            raise LookupError(f"entry {planned.id} has no block")
        try:
            made = await self._entry(planned, block)
            if made is not None:
                await self._ledger.Post(made, timeout=WINDOW_TIMEOUT_S)
        except ConservedMoneyViolated as error:
            CONSERVED_MONEY.inc()
            self._complain(block, f"entry {planned.id} is not posted: {error}")
            return False
        except grpc.aio.AioRpcError as error:
            if error.code() not in REFUSALS:
                raise
            CONSERVED_MONEY.inc()
            self._complain(block, f"the ledger refuses entry {planned.id}: {error.details()}")
            return False
        async with self._database.write() as connection:
            await mark_booked(connection, planned)
        return True

    async def _entry(self, planned: PlannedEntry, block: BlockRow) -> Entry | None:
        async with self._database.read() as connection:
            stored = await find_split(connection, planned.coin, planned.hash)
        if stored is None or not stored.final:
            raise LookupError(f"entry {planned.id} has no final split")
        return entry(
            planned.movement,
            stored.split,
            name=planned.id,
            coin=planned.coin,
            pool=block.pool,
            height=block.height,
        )

    def _hold(self, block: BlockRow, trouble: str, now_ms: int) -> None:
        """Leave a block that cannot be split alone for a while, and say why."""
        self._held[block.hash] = now_ms + HOLD_MS
        self._complain(block, trouble)

    def _complain(self, block: BlockRow, trouble: str) -> None:
        """Log a trouble of a block once, until it is another one."""
        if self._complained.get(block.hash) != trouble:
            self._complained[block.hash] = trouble
            logger.error("%s: block %s: %s", block.pool, block.name, trouble)
