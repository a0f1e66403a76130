"""Moves blocks of one coin through their states as the nodes' votes demand.

Each transition and the ledger entries that follow from it are one transaction.
The tracker also compares a block's value with the chain once, and hands a
recorded block that no node knows to every node again: the edge may have died
between storing and submitting it. It takes turns with the coin's watcher, which
sets `recheck`; they never run at the same time.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.coins.params import ChainParams
from pithead.rewards.database import (
    BlockRow,
    Database,
    Scanned,
    block_bytes,
    blocks_to_judge,
    candidates_above,
    change_block,
    find_block,
    pool_scripts,
)
from pithead.rewards.metrics import (
    BLOCKS_RESUBMITTED,
    CONSERVED_MONEY,
    DISPUTED,
    ORPHAN_REVERSIBLE,
    TRANSITIONS,
)
from pithead.rewards.nodes import NodeLost, Nodes, Standing
from pithead.rewards.scheme import ConservedMoneyViolated
from pithead.rewards.solved import WatchedPool, read_solved
from pithead.rewards.splits import has_final_split, plan_entries
from pithead.rewards.states import Event, State, TransitionRefused, after
from pithead.rewards.verdict import Finding, Verdict, events, judge

JUDGED_MAX = 500
"""Blocks judged in one step; the rest has its turn in the next one."""

RESUBMIT_DELAY_MS_MIN = 500
RESUBMIT_DELAY_MS_MAX = 60_000
RESUBMITTED_MAX = 50
"""Blocks sent again in one step."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What of a coin decides states: depth of belief and maturity, in blocks."""

    params: ChainParams
    confirmations: int


class Tracker:
    """The judge of one coin's blocks."""

    def __init__(
        self,
        database: Database,
        rules: ChainRules,
        nodes: Nodes,
        pools: Sequence[WatchedPool],
    ) -> None:
        self._database = database
        self._rules = rules
        self._nodes = nodes
        self._scripts = {pool.pool: pool.scripts for pool in pools}
        self._resubmits: dict[bytes, tuple[int, int]] = {}
        self._disputed: set[bytes] = set()
        self._best_chainwork = 0

    async def step(self, standings: Sequence[Standing], scanned: Scanned, now_ms: int) -> int:
        """Judge the blocks that are due; returns how many changed their state. NodeError."""
        coin = self._rules.params.key
        self._best_chainwork = max(
            [self._best_chainwork, *(standing.tip.chainwork for standing in standings)]
        )
        ripe = scanned.height - self._rules.params.coinbase_maturity
        async with self._database.read() as connection:
            due = await blocks_to_judge(
                connection, coin, scanned=scanned.height, ripe=ripe, limit=JUDGED_MAX
            )
            above = await candidates_above(connection, coin, scanned.height, RESUBMITTED_MAX)
        changed = 0
        for block in due:
            votes = await self._nodes.votes(standings, block.hash)
            verdict = judge(votes, block.height, self._rules.confirmations, self._best_chainwork)
            self._note_dispute(block, verdict)
            try:
                changed += await self._apply(block, verdict)
            except (ConservedMoneyViolated, TransitionRefused) as error:
                # Counted where it was raised; other blocks must not wait for this one.
                logger.error("%s: block %s stays as it is: %s", block.pool, block.name, error)
            if block.state is State.CANDIDATE and verdict.finding is Finding.OFF_CHAIN:
                await self._resubmit(block, verdict, now_ms)
        for block in above:
            votes = await self._nodes.votes(standings, block.hash)
            await self._resubmit(block, judge(votes, block.height, 1), now_ms)
        return changed

    def _note_dispute(self, block: BlockRow, verdict: Verdict) -> None:
        if verdict.finding is not Finding.DISPUTED:
            self._disputed.discard(block.hash)
        elif block.hash not in self._disputed:
            self._disputed.add(block.hash)
            DISPUTED.labels(block.coin).inc()
            logger.warning(
                "%s: nodes of equal chainwork disagree on block %s; it waits",
                block.pool,
                block.name,
            )

    async def _apply(self, block: BlockRow, verdict: Verdict) -> bool:
        """Write what a verdict means for a block; True when its state changed."""
        if verdict.finding in {Finding.UNKNOWN, Finding.DISPUTED}:
            return False
        value = None
        if verdict.finding is Finding.ON_CHAIN and not block.checked:
            value = await self._value_on_chain(block)
        async with self._database.write() as connection:
            fresh = await find_block(connection, block.coin, block.hash)
            if fresh is None or fresh.state is not block.state:
                return False
            if value is not None:
                fresh = await self._check_value(connection, fresh, value)
            before = fresh.state
            for event in events(fresh.state, verdict, self._rules.params.coinbase_maturity):
                fresh = await change_block(connection, fresh, state=self._after(fresh, event))
            settled = verdict.finding is not Finding.OFF_CHAIN or before is State.ORPHANED
            if fresh.recheck and settled:
                fresh = await change_block(connection, fresh, recheck=False)
            await plan_entries(connection, fresh)
        if fresh.state is before:
            return False
        self._resubmits.pop(block.hash, None)
        TRANSITIONS.labels(block.coin, fresh.state.name.lower()).inc()
        logger.info(
            "%s: block %s at height %d is %s, was %s",
            block.pool,
            block.name,
            block.height,
            fresh.state.name.lower(),
            before.name.lower(),
        )
        return True

    def _after(self, block: BlockRow, event: Event) -> State:
        try:
            return after(block.state, event)
        except TransitionRefused:
            ORPHAN_REVERSIBLE.inc()
            raise

    async def _value_on_chain(self, block: BlockRow) -> int:
        """Base units that the block on the chain pays the pool."""
        raw = await self._nodes.block_bytes(block.hash)
        if raw is None:
            raise NodeLost(f"no node has block {block.name} any more")
        solved = read_solved(self._rules.params, raw, await self._scripts_of(block.pool))
        return solved.value if solved is not None else 0

    async def _scripts_of(self, pool: str) -> Collection[bytes]:
        """All that a pool's coinbases ever paid; also of one that is not configured any more."""
        if pool in self._scripts:
            return self._scripts[pool]
        async with self._database.read() as connection:
            return await pool_scripts(connection, pool)

    async def _check_value(
        self, connection: AsyncConnection, block: BlockRow, value: int
    ) -> BlockRow:
        """Note that a block's value is the chain's; a final split stays as it is."""
        if block.value != value:
            CONSERVED_MONEY.inc()
            logger.error(
                "%s: block %s is recorded with %d base units, the chain pays the pool %d",
                block.pool,
                block.name,
                block.value,
                value,
            )
            if await has_final_split(connection, block.coin, block.hash):
                raise ConservedMoneyViolated(f"block {block.name}", block.value, value)
        return await change_block(connection, block, value=value, checked=True)

    async def _resubmit(self, block: BlockRow, verdict: Verdict, now_ms: int) -> None:
        """Send a block that no node knows to all of them, at growing intervals."""
        if verdict.known:
            self._resubmits.pop(block.hash, None)
            return
        # The first sight only starts the clock: the edge is most likely just submitting it.
        due_ms, delay_ms = self._resubmits.setdefault(
            block.hash, (now_ms + RESUBMIT_DELAY_MS_MIN, RESUBMIT_DELAY_MS_MIN)
        )
        if now_ms < due_ms:
            return
        self._resubmits[block.hash] = (
            now_ms + delay_ms,
            min(delay_ms * 2, RESUBMIT_DELAY_MS_MAX),
        )
        async with self._database.read() as connection:
            raw = await block_bytes(connection, block)
        if raw is None:
            return
        BLOCKS_RESUBMITTED.labels(block.coin).inc()
        for answer in await self._nodes.submit(raw):
            logger.warning(
                "%s: block %s at height %d was not known to any node; submitted again to %s: %s",
                block.pool,
                block.name,
                block.height,
                answer.node,
                "on the main chain" if answer.on_chain else answer.word or "no objection",
            )
