"""The log into cells: each poll is one transaction that also moves the positions.

So a process that is killed anywhere has either booked a poll whole or not at
all, and reads on from where its data end. Positions are fenced: of two processes
that read one partition the slower one fails instead of counting twice. Consumers that
are to share a pool are given claims, and divide its partitions; one without reads all.
What was read before is known by producer and sequence, so a log may be read again from
its beginning without harm.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.errors import LogError
from pithead.log.share_log import LogReader
from pithead.log.topics import shares_topic
from pithead.shares import decisions, metrics
from pithead.shares.booking import Booked, Booking
from pithead.shares.checker import Checker
from pithead.shares.claims import Claims
from pithead.shares.gather import Gathered, Gatherer
from pithead.shares.intake import (
    Place,
    PositionMoved,
    add_position,
    move_position,
    read_places,
    read_positions,
)
from pithead.shares.locks import lock_pool
from pithead.shares.pools import Pool, newest_revision
from pithead.shares.records import Entry
from pithead.shares.slots import SlotsMoved
from pithead.store import reading, transaction

logger = logging.getLogger(__name__)

CLOCK_AHEAD_MS_MAX = 60_000

LAG_INTERVAL_MS = 5_000


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll did."""

    records: int
    batches: int
    shares: int


class Consumer:
    """Reads the partitions of one pool's shares, all or those that it has claimed."""

    def __init__(
        self,
        engine: AsyncEngine,
        reader: LogReader,
        pool: Pool,
        now_ms: Callable[[], int],
        checker: Checker | None = None,
        claims: Claims | None = None,
    ) -> None:
        """`checker` is handed the share that is due of each batch that was booked.

        With `claims` it reads the partitions that it has claimed, else all.
        """
        self._checker = checker
        self._engine = engine
        self._reader = reader
        self._pool = pool
        self._now_ms = now_ms
        self._topic = shares_topic(pool.name)
        self._booking = Booking(pool, exclusive=reader.exclusive)
        self._gatherer = Gatherer(reader, pool, self._booking, checked=checker is not None)
        self._claims = claims
        self._mine: frozenset[str] = frozenset()
        self._log = ""
        self._positions: dict[str, int] | None = None
        self._lag_due_ms = 0
        self._missing = 0

    async def poll(self) -> Polled:
        """Book what is new, as much as one poll may hold.

        Raises PositionMoved, errors of the log and of the database; then nothing
        was booked, and the next poll starts from what the database holds. SlotsMoved:
        this process is of no more use.
        """
        try:
            positions = await self._current_positions()
            gathered = await self._gatherer.gather(positions)
            for partition, reason in gathered.lost.items():
                await self._replay(partition, positions[partition], reason)
            if self._gatherer.waiting:
                async with reading(self._engine) as connection:
                    await self._check_slots(connection)
            booked = await self._book(gathered, positions) if gathered.reads else None
        except BaseException as error:
            # Whatever was cached may not be what was committed.
            self._positions = None
            self._booking.forget()
            if self._claims is not None and isinstance(error, PositionMoved):
                self._claims.doubt()
            raise
        positions.update(gathered.moves)
        polled = Polled(0, 0, 0)
        if booked is not None:
            self._booking.keep()
            self._report(booked)
            taken = booked.admission.taken
            polled = Polled(len(gathered.reads), len(taken), sum(map(len, taken)))
            if self._checker is not None:
                self._checker.offer(entry.due for entry in taken if entry.due is not None)
        await self._report_lag(gathered, positions)
        return polled

    async def release(self) -> None:
        """Let others have the claimed partitions at once: this consumer polls no more."""
        if self._claims is not None:
            await self._claims.release()

    async def _book(self, gathered: Gathered, positions: Mapping[str, int]) -> Booked:
        """Move the positions and book, in one transaction."""
        pool = self._pool.name
        metrics.POLL_BYTES.labels(pool).observe(gathered.size_bytes)
        with metrics.TRANSACTION_SECONDS.labels(pool).time():
            async with transaction(self._engine) as connection:
                await lock_pool(connection, self._pool.id)
                await self._check_slots(connection)
                for partition, new in gathered.moves.items():
                    old = Place(self._log, positions[partition])
                    await move_position(
                        connection, self._topic, partition, old, old._replace(position=new)
                    )
                return await self._booking.book(connection, gathered.reads, self._now_ms())

    async def _check_slots(self, connection: AsyncConnection) -> None:
        newest = await newest_revision(connection, self._pool.id)
        if newest != self._pool.slots.newest:
            raise SlotsMoved(self._pool.name)

    async def _current_positions(self) -> dict[str, int]:
        """Return where to read on, of the log that is there now and the partitions to be read.

        Another log than the one read before is read from its beginning.
        """
        log = await self._reader.log_id()
        if log != self._log:
            self._log, self._positions = log, None
        mine = frozenset(await self._reader.partitions())
        if self._claims is not None:
            mine = await self._claims.mine(mine)
        if mine != self._mine:
            # What others have read meanwhile is in the database only.
            self._forget_lag(self._mine - mine)
            self._mine, self._positions = mine, None
            metrics.PARTITIONS.labels(self._pool.name).set(len(mine))
        if self._positions is None:
            async with reading(self._engine) as connection:
                known = await read_positions(connection, self._topic, log)
            new = [name for name in sorted(mine) if name not in known]
            if new:
                starts = {name: await self._reader.start(name) for name in new}
                async with transaction(self._engine) as connection:
                    await lock_pool(connection, self._pool.id)
                    await self._begin(connection, starts)
                    known = await read_positions(connection, self._topic, log)
            self._positions = {name: known[name] for name in mine}
        return self._positions

    async def _begin(self, connection: AsyncConnection, starts: dict[str, int]) -> None:
        """Begin partitions, and leave a decision when they stand for those of another log."""
        before = await read_places(connection, self._topic)
        for name, start in starts.items():
            if name in before and before[name].log == self._log:
                # Another consumer was quicker, and may have read on already.
                continue
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

    async def _report_lag(self, gathered: Gathered, positions: Mapping[str, int]) -> None:
        """Tell how far the end is, now and then: with Kafka each end is a question to a broker."""
        pool, now_ms = self._pool.name, self._now_ms()
        newest_ms = max(
            (read.moment_ms for read in gathered.reads if isinstance(read, Entry)), default=now_ms
        )
        behind_ms = max(0, now_ms - newest_ms) if gathered.full else 0
        metrics.BEHIND_SECONDS.labels(pool).set(behind_ms / 1000)
        if now_ms < self._lag_due_ms:
            return
        self._lag_due_ms = now_ms + LAG_INTERVAL_MS
        for partition, position in positions.items():
            try:
                end = await self._reader.end(partition)
            except LogError as error:
                logger.debug("%s/%s: no end is told: %s", self._topic, partition, error)
                continue
            metrics.LAG.labels(pool, partition).set(max(0, end - position))

    def _forget_lag(self, partitions: Iterable[str]) -> None:
        """Another process reads these from now on and tells of them."""
        for partition in partitions:
            with suppress(KeyError):
                metrics.LAG.remove(self._pool.name, partition)

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
