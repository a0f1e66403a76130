"""The log into cells: each poll is one transaction that also moves the positions.

So a process that is killed anywhere has either booked a poll whole or not at
all, and reads on from where its data end. Positions are fenced: a second
process on the same database fails instead of counting twice. What was read
before is known by producer and sequence, so a log may be read again from its
beginning without harm.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.share_log import LogReader
from pithead.log.topics import shares_topic
from pithead.shares import decisions, metrics
from pithead.shares.booking import Booked, Booking
from pithead.shares.checker import Checker
from pithead.shares.gather import Gatherer
from pithead.shares.intake import (
    Place,
    add_position,
    move_position,
    read_places,
    read_positions,
)
from pithead.shares.locks import lock_pool
from pithead.shares.pools import Pool
from pithead.store import reading, transaction

logger = logging.getLogger(__name__)

CLOCK_AHEAD_MS_MAX = 60_000


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll did."""

    records: int
    batches: int
    shares: int


class Consumer:
    """Reads all partitions of one pool's shares."""

    def __init__(
        self,
        engine: AsyncEngine,
        reader: LogReader,
        pool: Pool,
        now_ms: Callable[[], int],
        checker: Checker | None = None,
    ) -> None:
        """`checker` is handed the share that is due of each batch that was booked."""
        self._checker = checker
        self._engine = engine
        self._reader = reader
        self._pool = pool
        self._now_ms = now_ms
        self._topic = shares_topic(pool.name)
        self._booking = Booking(pool, exclusive=reader.exclusive)
        self._gatherer = Gatherer(reader, pool, self._booking)
        self._log = ""
        self._positions: dict[str, int] | None = None
        self._missing = 0

    async def poll(self) -> Polled:
        """Book what is new, as much as one poll may hold.

        Raises PositionMoved, errors of the log and of the database; then nothing
        was booked, and the next poll starts from what the database holds.
        """
        try:
            positions = await self._current_positions()
            present = set(await self._reader.partitions())
            gathered = await self._gatherer.gather(
                {name: place for name, place in positions.items() if name in present}
            )
            for partition, reason in gathered.lost.items():
                await self._replay(partition, positions[partition], reason)
            reads, moves = gathered.reads, gathered.moves
            if not reads:
                return Polled(0, 0, 0)
            async with transaction(self._engine) as connection:
                await lock_pool(connection, self._pool.id)
                for partition, new in moves.items():
                    old = Place(self._log, positions[partition])
                    await move_position(
                        connection, self._topic, partition, old, old._replace(position=new)
                    )
                booked = await self._booking.book(connection, reads, self._now_ms())
        except BaseException:
            # Whatever was cached may not be what was committed.
            self._positions = None
            self._booking.forget()
            raise
        positions.update(moves)
        self._booking.keep()
        self._report(booked)
        taken = booked.admission.taken
        if self._checker is not None:
            self._checker.offer(entry.due for entry in taken if entry.due is not None)
        return Polled(len(reads), len(taken), sum(map(len, taken)))

    async def _current_positions(self) -> dict[str, int]:
        """Return where to read on in the log that is there now.

        Another log than the one read before is read from its beginning.
        """
        log = await self._reader.log_id()
        if log != self._log:
            self._log, self._positions = log, None
        if self._positions is None:
            async with reading(self._engine) as connection:
                self._positions = await read_positions(connection, self._topic, log)
        new = [name for name in await self._reader.partitions() if name not in self._positions]
        if new:
            starts = {name: await self._reader.start(name) for name in new}
            async with transaction(self._engine) as connection:
                await lock_pool(connection, self._pool.id)
                await self._begin(connection, starts)
                self._positions = await read_positions(connection, self._topic, log)
        return self._positions

    async def _begin(self, connection: AsyncConnection, starts: dict[str, int]) -> None:
        """Begin partitions, and leave a decision when they stand for those of another log."""
        before = await read_places(connection, self._topic)
        for name, start in starts.items():
            place = Place(self._log, start)
            if name in before:
                await move_position(connection, self._topic, name, before[name], place)
            else:
                await add_position(connection, self._topic, name, place)
        others = {place.log for place in before.values()} - {self._log}
        if others:
            reason = f"{self._log} stands where {', '.join(sorted(others))} stood"
            await decisions.record(
                connection,
                who=decisions.ACCOUNTING,
                action=decisions.EXCHANGE,
                subject=f"{self._topic}/{','.join(sorted(starts))}",
                reason=reason,
                now_ms=self._now_ms(),
            )
            logger.error("%s is read from its beginning: %s", self._topic, reason)

    async def _replay(self, partition: str, position: int, reason: str) -> None:
        """Go back to the earliest that there is: what was read is known, so nothing counts twice.

        Never forward to the newest: that would lose what lies between.
        """
        start = await self._reader.start(partition)
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool.id)
            old = Place(self._log, position)
            await move_position(
                connection, self._topic, partition, old, old._replace(position=start)
            )
            await decisions.record(
                connection,
                who=decisions.ACCOUNTING,
                action=decisions.REPLAY,
                subject=f"{self._topic}/{partition} from {position} to {start}",
                reason=reason,
                now_ms=self._now_ms(),
            )
        self._positions = None
        logger.error("%s/%s is read again from %d: %s", self._topic, partition, start, reason)

    def _report(self, booked: Booked) -> None:
        """Count and tell what happened, after the commit."""
        pool = self._pool.name
        admission = booked.admission
        for closing in admission.closings:
            logger.info(
                "%s: producer %s closed, its partition %s has a new writer",
                pool,
                closing.producer.hex(),
                closing.partition,
            )
        for aside in admission.aside:
            logger.error(
                "%s/%s: record at %d is set aside: %s",
                self._topic,
                aside.partition,
                aside.position,
                aside.fault,
            )
        latest_ms = self._now_ms() + CLOCK_AHEAD_MS_MAX
        ahead = sum(entry.time_base_ms > latest_ms for entry in admission.taken)
        metrics.CLOCK_AHEAD.labels(pool).inc(ahead)
        missing = sum(row.progress.missing for row in admission.producers.values())
        if missing != self._missing:
            logger.error("%s: %d batches are missing below later ones", pool, missing)
            self._missing = missing
        metrics.MISSING.labels(pool).set(missing)
        metrics.SET_ASIDE.labels(pool).inc(len(admission.aside))
        metrics.DUPLICATES.labels(pool).inc(admission.duplicates)
        metrics.BATCHES.labels(pool).inc(len(admission.taken))
        sums = booked.sums
        metrics.SHARES.labels(pool).inc(int(sums.shares.sum()))
        metrics.LATE_SHARES.labels(pool).inc(int(sums.shares[sums.seal > 0].sum()))
