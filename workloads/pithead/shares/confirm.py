"""Asks the hub's nodes about the segments of one coin and writes their verdict.

Every segment that is not settled or disputed is asked about again each time; a
node that cannot be asked leaves its state as it is.
"""

import logging
from collections.abc import Callable

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.coins.node import NodeError
from pithead.coins.params import ChainParams
from pithead.shares import decisions, metrics, schema
from pithead.shares.chain import HubChain
from pithead.shares.fees import INDEX_BLOCKS, doubt
from pithead.shares.states import SegmentState
from pithead.shares.verdict import judge
from pithead.store import reading, transaction

logger = logging.getLogger(__name__)

PENDING = (SegmentState.UNKNOWN, SegmentState.CONFIRMED)

ASKED_MAX = 64
"""Segments asked about in one round, of each state: a chain has one or two alive at a time."""


class Confirmer:
    """Keeps the states of one coin's segments."""

    def __init__(
        self,
        engine: AsyncEngine,
        params: ChainParams,
        chain: HubChain,
        now_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._params = params
        self._coin = params.key
        self._chain = chain
        self._now_ms = now_ms
        self._unknown_since: dict[int, int] = {}

    async def step(self) -> int:
        """Judge pending segments once; return how many changed. Raises NodeError, DBAPIError.

        A NodeError about one segment is raised after the others were judged: one
        that no node knows must not hold up the rest while a standby is away.

        Both ends of the queue are asked about, so that neither a crowd of bad
        old ones hides the newest, nor new ones an old one for which a seal waits.
        """
        changed = 0
        failure: NodeError | None = None
        pending = await self._pending()
        for segment in pending:
            try:
                state, reason = await self._judge(segment)
            except NodeError as error:
                self._unknown_since.pop(segment.id, None)
                failure = failure or error
                continue
            if state != segment.state:
                await self._write(segment, state, reason)
                changed += 1
        alive = {segment.id for segment in pending}
        self._unknown_since = {
            number: since for number, since in self._unknown_since.items() if number in alive
        }
        if failure is not None:
            raise failure
        return changed

    async def _pending(self) -> list[Row[tuple[object, ...]]]:
        table = schema.segments
        rows: dict[int, Row[tuple[object, ...]]] = {}
        async with reading(self._engine) as connection:
            for state in PENDING:
                for order in (table.c.id.asc(), table.c.id.desc()):
                    found = await connection.execute(
                        select(table)
                        .where(table.c.coin == self._coin, table.c.state == state)
                        .order_by(order)
                        .limit(ASKED_MAX)
                    )
                    rows |= {row.id: row for row in found}
        return [rows[number] for number in sorted(rows)]

    async def _judge(self, segment: Row[tuple[object, ...]]) -> tuple[SegmentState, str]:
        parent = await self._chain.header(segment.parent)
        now_ms = self._now_ms()
        # Counted from the first time that the nodes said so, not from when the shares came:
        # a node that was away, or is still catching up, has not said that it knows none.
        if parent is None:
            since_ms = self._unknown_since.setdefault(segment.id, now_ms)
        else:
            since_ms = now_ms
            self._unknown_since.pop(segment.id, None)
        child = None
        if parent is not None and parent.confirmations > 0 and parent.next is not None:
            child = await self._chain.header(parent.next)
        return judge(
            height=segment.height,
            bits=segment.bits,
            parent=parent,
            child=child,
            unknown_for_ms=now_ms - since_ms,
        )

    async def _write(
        self, segment: Row[tuple[object, ...]], state: SegmentState, reason: str
    ) -> None:
        table = schema.segments
        name = f"{self._coin} {segment.parent[::-1].hex()} height {segment.height}"
        subsidy = None if state is SegmentState.DISPUTED else self._params.subsidy(segment.height)
        async with transaction(self._engine) as connection:
            note = ""
            if state is SegmentState.SETTLED:
                seen = await _fees_seen_max(connection, self._coin, segment.height)
                note = doubt(self._params, segment.height, segment.value, seen)
            result = await connection.execute(
                update(table)
                .where(table.c.id == segment.id, table.c.state == segment.state)
                .values(state=state, subsidy=subsidy, doubt=note or None)
            )
            if state is SegmentState.DISPUTED and result.rowcount:
                await decisions.record(
                    connection,
                    who=decisions.ACCOUNTING,
                    action="dispute segment",
                    subject=name,
                    reason=reason,
                    now_ms=self._now_ms(),
                )
        if note:
            metrics.DOUBTED.labels(self._coin).inc()
            logger.warning("segment %s: its block value is not believed: %s", name, note)
        if state is SegmentState.DISPUTED:
            metrics.DISPUTED.labels(self._coin).inc()
            logger.error("segment %s is disputed and earns nothing: %s", name, reason)


async def _fees_seen_max(connection: AsyncConnection, coin: str, height: int) -> int | None:
    """Most fees of any block at `height` or of the day before; None while not all are known."""
    blocks = schema.chain_blocks.c
    first = height - INDEX_BLOCKS
    count, most = (
        await connection.execute(
            select(func.count(blocks.fees), func.max(blocks.fees)).where(
                blocks.coin == coin, blocks.height >= first, blocks.height <= height
            )
        )
    ).one()
    return None if count < height - first else int(most)
