"""Seals one pool's heights in order; the rule is in `seals`.

The decision and the cut are read in the transaction that writes the seal, so
the cut says exactly which records were in time. A process that is killed
forgets its note of the log's ends and takes a later one: that seals a moment
later, never too early.
"""

import logging
from collections.abc import Callable
from itertools import groupby

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.share_log import LogReader
from pithead.log.topics import shares_topic
from pithead.shares import decisions, metrics, schema
from pithead.shares.confirm import PENDING
from pithead.shares.intake import read_positions
from pithead.shares.pools import Pool
from pithead.shares.seals import Facts, Note, passed, sealable
from pithead.shares.states import ProducerState
from pithead.store import reading, transaction

logger = logging.getLogger(__name__)

SILENT_MS = 60_000
"""A producer writes at least once a second; one whose region's log has moved this much past its
last batch is taken for dead. If it lives, its shares are late, not lost."""


class Sealer:
    """Observes the node and the log's ends, and seals what may be sealed."""

    def __init__(
        self, engine: AsyncEngine, reader: LogReader, pool: Pool, now_ms: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._pool = pool
        self._now_ms = now_ms
        self._topic = shares_topic(pool.name)
        self._pending: Note | None = None
        self._passed: Note | None = None

    async def step(self, node_height: int | None) -> int | None:
        """Take a note when the node has grown, then seal; return the height newly sealed.

        `node_height` is None while no node can tell.
        """
        grown = self._passed is None or (node_height or 0) > self._passed.node_height
        if node_height is not None and self._pending is None and grown:
            self._pending = await self._note(node_height)
        await self._close_silent()
        if not await self._worth_a_transaction():
            return None
        async with transaction(self._engine) as connection:
            facts = await self._facts(connection, locked=True)
            height = self._decide(facts)
            if height is not None and facts is not None:
                await self._write(connection, facts, height)
        if height is not None:
            metrics.SEALED_HEIGHT.labels(self._pool.name).set(height)
            logger.debug("%s: sealed up to height %d", self._pool.name, height)
        return height

    async def _note(self, node_height: int) -> Note:
        # The node's height was read before the ends: what was in the log then is in them.
        partitions = await self._reader.partitions()
        return Note(node_height, {name: await self._reader.end(name) for name in partitions})

    async def _worth_a_transaction(self) -> bool:
        async with reading(self._engine) as connection:
            return self._decide(await self._facts(connection, locked=False)) is not None

    def _decide(self, facts: Facts | None) -> int | None:
        if facts is None:
            return None
        if self._pending is not None and passed(self._pending, facts.positions):
            self._passed, self._pending = self._pending, None
        return sealable(self._passed, facts) if self._passed is not None else None

    async def _facts(self, connection: AsyncConnection, *, locked: bool) -> Facts | None:
        """What the rule needs; None before the pool's first height is known."""
        pools, producers, cells = schema.pools, schema.producers, schema.cells
        query = select(pools.c.sealed_height).where(pools.c.id == self._pool.id)
        sealed_height = await connection.scalar(query.with_for_update() if locked else query)
        if sealed_height is None:
            return None
        lowest_promise = await connection.scalar(
            select(func.min(producers.c.promise)).where(
                producers.c.pool == self._pool.id, producers.c.state == ProducerState.OPEN
            )
        )
        undecided = select(schema.segments.c.id).where(
            schema.segments.c.coin == self._pool.coin, schema.segments.c.state.in_(PENDING)
        )
        lowest_pending = await connection.scalar(
            select(func.min(cells.c.height)).where(
                cells.c.pool == self._pool.id,
                cells.c.segment.in_(undecided),
                cells.c.height > sealed_height,
            )
        )
        positions = await read_positions(connection, self._topic)
        return Facts(sealed_height, positions, lowest_promise, lowest_pending)

    async def _write(self, connection: AsyncConnection, facts: Facts, height: int) -> None:
        await connection.execute(
            insert(schema.seals).values(
                pool=self._pool.id,
                first_height=facts.sealed_height + 1,
                last_height=height,
                sealed_ms=self._now_ms(),
                node_height=self._passed.node_height if self._passed else 0,
                cut=dict(facts.positions),
            )
        )
        await connection.execute(
            update(schema.pools)
            .where(schema.pools.c.id == self._pool.id)
            .values(sealed_height=height)
        )

    async def _close_silent(self) -> None:
        """Close open producers that their region's log has left behind, each with a decision."""
        table = schema.producers
        query = (
            select(table)
            .where(table.c.pool == self._pool.id, table.c.state == ProducerState.OPEN)
            .order_by(table.c.region)
        )
        async with reading(self._engine) as connection:
            rows = (await connection.execute(query)).all()
            positions = await read_positions(connection, self._topic)
        for _, group in groupby(rows, key=lambda row: row.region):
            members = list(group)
            newest_ms = max(row.last_ms for row in members)
            for row in members:
                # Its end is read after the others' clocks: nothing newer of it was there then.
                if newest_ms - row.last_ms > SILENT_MS and await self._reader.end(
                    row.partition
                ) <= positions.get(row.partition, 0):
                    await self._close(row.producer, row.last_ms, newest_ms)

    async def _close(self, producer: bytes, last_ms: int, newest_ms: int) -> None:
        table = schema.producers
        async with transaction(self._engine) as connection:
            result = await connection.execute(
                update(table)
                .where(
                    table.c.producer == producer,
                    table.c.state == ProducerState.OPEN,
                    table.c.last_ms == last_ms,
                )
                .values(state=ProducerState.CLOSED)
            )
            if result.rowcount:
                behind_s = (newest_ms - last_ms) // 1000
                reason = f"its region's log has moved {behind_s} s past its last batch"
                await decisions.record(
                    connection,
                    who=decisions.ACCOUNTING,
                    action="close producer",
                    subject=producer.hex(),
                    reason=reason,
                    now_ms=self._now_ms(),
                )
                logger.warning(
                    "%s: producer %s closed: %s", self._pool.name, producer.hex(), reason
                )
