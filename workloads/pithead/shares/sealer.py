"""Seals one pool's heights in order; the rule is in `seals`.

The decision and the cut are read in the transaction that writes the seal, so
the cut says exactly which records were in time. A process that is killed
forgets its note of the log's ends and takes a later one: that seals a moment
later, never too early.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, func, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.share_log import LogReader
from pithead.log.topics import shares_topic
from pithead.shares import decisions, metrics, schema
from pithead.shares.confirm import PENDING
from pithead.shares.intake import read_positions
from pithead.shares.locks import lock_pool
from pithead.shares.pools import Pool
from pithead.shares.regions.ends import GRACE_MS, Far, Inquiry, expired, silent_far
from pithead.shares.regions.rows import ask, read_far
from pithead.shares.seals import BURIED, Facts, Heard, Note, Silent, passed, sealable, silent
from pithead.shares.states import ProducerState
from pithead.store import reading, transaction

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Notes:
    """A note that accounting has not passed yet, and the newest that it has."""

    pending: Note | None = None
    passed: Note | None = None

    def move(self, positions: Mapping[str, int]) -> None:
        if self.pending is not None and passed(self.pending, positions):
            self.passed, self.pending = self.pending, None

    def covers(self, height: int) -> bool:
        """Tell whether a note allows to seal a height."""
        notes = (self.pending, self.passed)
        return any(note is not None and note.node_height >= height + BURIED for note in notes)


@dataclass(frozen=True, slots=True)
class _Seal:
    """What may be sealed."""

    height: int
    note: Note
    without: tuple[str, ...] = ()
    """Regions that were waited for long enough."""


class Sealer:
    """Observes the node and the log's ends, and seals what may be sealed."""

    def __init__(
        self,
        engine: AsyncEngine,
        reader: LogReader,
        pool: Pool,
        now_ms: Callable[[], int],
        relayed: Iterable[str] = (),
    ) -> None:
        """`relayed` are the pool's regions whose records come by a relay."""
        self._engine = engine
        self._reader = reader
        self._pool = pool
        self._now_ms = now_ms
        self._relayed = tuple(sorted(relayed))
        self._topic = shares_topic(pool.name)
        self._log = ""
        self._notes = _Notes()
        self._inquiry: Inquiry | None = None
        self._overdue = _Notes()
        """Of the hub's log alone."""
        self._expired = 0
        self._away_since_ms: dict[str, int] = {}
        self._looked_ms = 0

    async def step(self, node_height: int | None) -> int | None:
        """Take a note when the node has grown, then seal; return the height newly sealed.

        `node_height` is None while no node can tell.
        """
        await self._follow_log()
        far = await self._read_far()
        if node_height is not None:
            await self._take_notes(node_height, far)
        await self._close_silent(far)
        if not await self._worth_a_transaction(far):
            return None
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool.id)
            facts = await self._facts(connection)
            seal = self._decide(facts, far)
            if seal is not None and facts is not None:
                await self._write(connection, facts, seal)
        if seal is None:
            return None
        metrics.SEALED_HEIGHT.labels(self._pool.name).set(seal.height)
        logger.debug("%s: sealed up to height %d", self._pool.name, seal.height)
        return seal.height

    async def _follow_log(self) -> None:
        """Forget what was noted of another log: its ends say nothing of this one's."""
        log = await self._reader.log_id()
        if log != self._log:
            self._log, self._notes, self._overdue = log, _Notes(), _Notes()
            self._inquiry = None

    async def _read_far(self) -> dict[str, Far]:
        if not self._relayed:
            return {}
        async with reading(self._engine) as connection:
            far = await read_far(connection, self._pool.id, self._topic, self._relayed)
        now_ms = self._now_ms()
        if now_ms - self._looked_ms > GRACE_MS:
            # A hub that slept through the grace has not seen anybody away for it.
            self._away_since_ms = {}
        self._looked_ms = now_ms
        self._away_since_ms = {
            region: self._away_since_ms.get(region, now_ms)
            for region in self._relayed
            if far[region].away(now_ms)
        }
        return far

    async def _take_notes(self, node_height: int, far: Mapping[str, Far]) -> None:
        notes = self._notes
        grown = notes.passed is None or node_height > notes.passed.node_height
        if not self._relayed:
            if notes.pending is None and grown:
                notes.pending = await self._note(node_height)
            return
        if notes.pending is None and grown and self._asks_anew(node_height):
            questions = await ask(self._engine, self._pool.id, self._relayed)
            self._inquiry = Inquiry(node_height, questions)
        if self._inquiry is not None:
            self._inquiry = self._inquiry.heard(far)
            if not self._inquiry.waits_for(far, self._log):
                # `far` was read before: what it says to be relayed is in the ends noted now.
                notes.pending = await self._note(self._inquiry.node_height)
                self._inquiry = None
        self._expired = expired(node_height, self._pool.params.coinbase_maturity)
        if self._overdue.pending is None and not self._overdue.covers(self._expired):
            self._overdue.pending = await self._note(node_height)

    def _asks_anew(self, node_height: int) -> bool:
        """Ask when nothing is asked, or when a region that is away will hear a later question."""
        inquiry = self._inquiry
        if inquiry is None:
            return True
        return node_height > inquiry.node_height and bool(
            self._away_since_ms.keys() - inquiry.told.keys()
        )

    async def _note(self, node_height: int) -> Note | None:
        # The node's height was read before the ends: what was in the log then is in them.
        partitions = await self._reader.partitions()
        ends = {name: await self._reader.end(name) for name in partitions}
        # None when the log was exchanged meanwhile; the next step notes the other.
        same = await self._reader.log_id() == self._log
        return Note(node_height, ends, self._log) if same else None

    async def _worth_a_transaction(self, far: Mapping[str, Far]) -> bool:
        async with reading(self._engine) as connection:
            return self._decide(await self._facts(connection), far) is not None

    def _decide(self, facts: Facts | None, far: Mapping[str, Far]) -> _Seal | None:
        if facts is None:
            return None
        self._notes.move(facts.positions)
        self._overdue.move(facts.positions)
        seal = None
        if (note := self._notes.passed) is not None:
            height = sealable(note, facts)
            seal = _Seal(height, note) if height is not None else None
        note, without = self._overdue.passed, self._waited_for(far)
        if note is None or not without:
            return seal
        present = replace(facts, lowest_promise=facts.lowest_present)
        height = min(sealable(note, present) or 0, self._expired)
        if height <= max(facts.sealed_height, seal.height if seal else 0):
            return seal
        return _Seal(height, note, without)

    def _waited_for(self, far: Mapping[str, Far]) -> tuple[str, ...]:
        """Regions that were away for long enough, and () while any other is to be waited for."""
        limit_ms = self._now_ms() - GRACE_MS
        waits = set(self._away_since_ms)
        if self._inquiry is not None:
            waits |= set(self._inquiry.waits_for(far, self._log))
        ripe = all(self._away_since_ms.get(region, limit_ms + 1) <= limit_ms for region in waits)
        return tuple(sorted(waits)) if ripe else ()

    async def _facts(self, connection: AsyncConnection) -> Facts | None:
        """What the rule needs; None before the pool's first height is known."""
        pools, producers, cells = schema.pools, schema.producers, schema.cells
        sealed_height = await connection.scalar(
            select(pools.c.sealed_height).where(pools.c.id == self._pool.id)
        )
        if sealed_height is None:
            return None
        lowest_promise = await self._lowest_promise(connection, true())
        lowest_present = lowest_promise
        if self._away_since_ms:
            present = producers.c.region.not_in(sorted(self._away_since_ms))
            lowest_present = await self._lowest_promise(connection, present)
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
        return Facts(sealed_height, positions, lowest_promise, lowest_pending, lowest_present)

    async def _lowest_promise(
        self, connection: AsyncConnection, which: ColumnElement[bool]
    ) -> int | None:
        table = schema.producers.c
        lowest: int | None = await connection.scalar(
            select(func.min(table.promise)).where(
                table.pool == self._pool.id, table.state == ProducerState.OPEN, which
            )
        )
        return lowest

    async def _write(self, connection: AsyncConnection, facts: Facts, seal: _Seal) -> None:
        await connection.execute(
            insert(schema.seals).values(
                pool=self._pool.id,
                first_height=facts.sealed_height + 1,
                last_height=seal.height,
                sealed_ms=self._now_ms(),
                node_height=seal.note.node_height,
                cut=dict(facts.positions),
            )
        )
        await connection.execute(
            update(schema.pools)
            .where(schema.pools.c.id == self._pool.id)
            .values(sealed_height=seal.height)
        )
        if seal.without:
            reason = (
                f"{', '.join(seal.without)} was waited for until nine tenths of maturity were "
                "over; what still comes of it is late"
            )
            await decisions.record(
                connection,
                who=decisions.ACCOUNTING,
                action=decisions.SEAL_WITHOUT,
                subject=f"{self._pool.name} heights {facts.sealed_height + 1} to {seal.height}",
                reason=reason,
                now_ms=self._now_ms(),
            )
            logger.error("%s: sealed height %d: %s", self._pool.name, seal.height, reason)

    async def _close_silent(self, far: Mapping[str, Far]) -> None:
        """Close open producers that their log has left behind, each with a decision."""
        table, relayed = schema.producers.c, schema.relay_producers.c
        async with reading(self._engine) as connection:
            rows = await connection.execute(
                select(schema.producers, relayed.last_ms.label("far_ms"))
                .outerjoin(schema.relay_producers, relayed.producer == table.producer)
                .where(table.pool == self._pool.id, table.state == ProducerState.OPEN)
            )
            near, distant = [], []
            stored_ms: dict[bytes, int] = {}
            for row in rows:
                heard = Heard(bytes(row.producer), row.region, row.partition, row.last_ms)
                stored_ms[heard.producer] = row.last_ms
                if row.region in far:
                    distant.append(replace(heard, last_ms=row.far_ms or row.last_ms))
                else:
                    near.append(heard)
            newest_ms: dict[str, int] = {}
            if not self._reader.exclusive:
                newest = await connection.execute(
                    select(table.partition, func.max(table.last_ms).label("newest_ms"))
                    .where(table.pool == self._pool.id)
                    .group_by(table.partition)
                )
                newest_ms = {row.partition: row.newest_ms for row in newest}
            positions = await read_positions(connection, self._topic, self._log)
            if distant:
                # In this snapshot, as the positions are.
                far = await read_far(connection, self._pool.id, self._topic, self._relayed)
        for found in silent(near, newest_ms):
            if found.certain or await self._all_read(found.heard.partition, positions):
                await self._close(found, stored_ms[found.heard.producer])
        for found in silent_far(distant, far, positions, hub_log=self._log, now_ms=self._now_ms()):
            await self._close(found, stored_ms[found.heard.producer])

    async def _all_read(self, partition: str, positions: dict[str, int]) -> bool:
        """Tell whether a partition holds nothing beyond positions that were read before.

        Its end is asked for after the others' times were read: nothing newer of
        the silent one was there then. A partition that is gone brings nothing more.
        """
        if partition not in await self._reader.partitions():
            return True
        return await self._reader.end(partition) <= positions.get(partition, 0)

    async def _close(self, found: Silent, stored_ms: int) -> None:
        """Close a producer, unless it was heard again since `stored_ms` was read."""
        table = schema.producers
        producer = found.heard.producer
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool.id)
            result = await connection.execute(
                update(table)
                .where(
                    table.c.producer == producer,
                    table.c.state == ProducerState.OPEN,
                    table.c.last_ms == stored_ms,
                )
                .values(state=ProducerState.CLOSED)
            )
            if result.rowcount:
                behind_s = (found.newest_ms - found.heard.last_ms) // 1000
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
