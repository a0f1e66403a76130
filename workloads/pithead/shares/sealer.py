"""Seals one pool's heights in order; the rule is in `seals`.

The decision and the cut are read in the transaction that writes the seal, so
the cut says exactly which records were in time. A process that is killed
forgets its note of the log's ends and takes a later one: that seals a moment
later, never too early.
"""

import logging
from collections.abc import Callable

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.share_log import LogReader
from pithead.log.topics import shares_topic
from pithead.shares import decisions, metrics, schema
from pithead.shares.confirm import PENDING
from pithead.shares.intake import read_positions
from pithead.shares.locks import lock_pool
from pithead.shares.pools import Pool
from pithead.shares.seals import Facts, Heard, Note, Silent, passed, sealable, silent
from pithead.shares.states import ProducerState
from pithead.store import reading, transaction

logger = logging.getLogger(__name__)


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
        self._log = ""
        self._pending: Note | None = None
        self._passed: Note | None = None

    async def step(self, node_height: int | None) -> int | None:
        """Take a note when the node has grown, then seal; return the height newly sealed.

        `node_height` is None while no node can tell.
        """
        await self._follow_log()
        grown = self._passed is None or (node_height or 0) > self._passed.node_height
        if node_height is not None and self._pending is None and grown:
            self._pending = await self._note(node_height)
        await self._close_silent()
        if not await self._worth_a_transaction():
            return None
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool.id)
            facts = await self._facts(connection)
            height = self._decide(facts)
            if height is not None and facts is not None:
                await self._write(connection, facts, height)
        if height is not None:
            metrics.SEALED_HEIGHT.labels(self._pool.name).set(height)
            logger.debug("%s: sealed up to height %d", self._pool.name, height)
        return height

    async def _follow_log(self) -> None:
        """Forget what was noted of another log: its ends say nothing of this one's."""
        log = await self._reader.log_id()
        if log != self._log:
            self._log, self._pending, self._passed = log, None, None

    async def _note(self, node_height: int) -> Note | None:
        # The node's height was read before the ends: what was in the log then is in them.
        partitions = await self._reader.partitions()
        ends = {name: await self._reader.end(name) for name in partitions}
        # None when the log was exchanged meanwhile; the next step notes the other.
        same = await self._reader.log_id() == self._log
        return Note(node_height, ends, self._log) if same else None

    async def _worth_a_transaction(self) -> bool:
        async with reading(self._engine) as connection:
            return self._decide(await self._facts(connection)) is not None

    def _decide(self, facts: Facts | None) -> int | None:
        if facts is None:
            return None
        if self._pending is not None and passed(self._pending, facts.positions):
            self._passed, self._pending = self._pending, None
        return sealable(self._passed, facts) if self._passed is not None else None

    async def _facts(self, connection: AsyncConnection) -> Facts | None:
        """What the rule needs; None before the pool's first height is known."""
        pools, producers, cells = schema.pools, schema.producers, schema.cells
        sealed_height = await connection.scalar(
            select(pools.c.sealed_height).where(pools.c.id == self._pool.id)
        )
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
        positions = await read_positions(connection, self._topic, self._log)
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
        """Close open producers that their log has left behind, each with a decision."""
        table = schema.producers.c
        async with reading(self._engine) as connection:
            rows = await connection.execute(
                select(schema.producers).where(
                    table.pool == self._pool.id, table.state == ProducerState.OPEN
                )
            )
            opened = [
                Heard(bytes(row.producer), row.region, row.partition, row.last_ms) for row in rows
            ]
            newest_ms: dict[str, int] = {}
            if not self._reader.exclusive:
                newest = await connection.execute(
                    select(table.partition, func.max(table.last_ms).label("newest_ms"))
                    .where(table.pool == self._pool.id)
                    .group_by(table.partition)
                )
                newest_ms = {row.partition: row.newest_ms for row in newest}
            positions = await read_positions(connection, self._topic, self._log)
        for found in silent(opened, newest_ms):
            if found.certain or await self._all_read(found.heard.partition, positions):
                await self._close(found)

    async def _all_read(self, partition: str, positions: dict[str, int]) -> bool:
        """Tell whether a partition holds nothing beyond positions that were read before.

        Its end is asked for after the others' times were read: nothing newer of
        the silent one was there then. A partition that is gone brings nothing more.
        """
        if partition not in await self._reader.partitions():
            return True
        return await self._reader.end(partition) <= positions.get(partition, 0)

    async def _close(self, found: Silent) -> None:
        table = schema.producers
        producer, last_ms = found.heard.producer, found.heard.last_ms
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool.id)
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
                behind_s = (found.newest_ms - last_ms) // 1000
                where = "partition" if found.certain else "log"
                reason = f"its {where} has moved {behind_s} s past its last batch"
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
