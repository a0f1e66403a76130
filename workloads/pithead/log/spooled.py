"""SpooledLog: a log that goes on, on this machine's disk, while the real one is away.

Each topic has a channel. It is *direct* while records go to the log; when the log
does not confirm one within SPOOL_AFTER_S, that record and all later ones go to
the spool, and nothing is sent past it. A drain then sends what waits, in order
and each record as it is, and when nothing does any more the channel is direct
again. The record that was given up on may arrive twice: it has the same producer
and sequence, and readers drop it.

A spool that an earlier process left is *adopted*: its records go first, each
under its own producer and sequence and to its producer's partition, then the
`end` that this producer owes, and only then anything of the process that is here.

What the log refuses for the record's own sake, or because it is full, is not
spooled: it would never be taken, or get round the bound.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pithead.log.disk import Disk
from pithead.log.errors import (
    WRITER_STAYS,
    BadName,
    LogBroken,
    LogClosed,
    LogError,
    LogFull,
    RecordTooLarge,
)
from pithead.log.share_log import Held, LogReader, LogRecord, LogWriter, ShareLog
from pithead.log.spool import Spool
from pithead.log.spool_records import producer_of
from pithead.log.threads import to_its_end
from pithead.log.topics import is_blocks

SPOOL_AFTER_S = 1.0
"""With the time of a sync less than what miners wait for an answer."""

OPEN_S = 1.0
"""A writer that is opened waits so long for the log, lest every start begins in the spool."""

GROUP_BYTES = 256 * 1024
"""What is under way in a drain; its progress is stored once a group. Fewer records than a writer
of Kafka remembers when they were given up, so that a slow log gets each once."""

DRAIN_S = 5.0
"""For one group. Opening a writer has limits of its own in the log, and is not cut off half way."""

CLOSE_S_MAX = 5.0
"""For writers that are of no more use, when the channel is closed."""

SWITCH_BYTES = 256 * 1024
"""What is sent while appends wait, so that a drain ends under load, too."""

SWITCH_S = 0.7

RETRY_S_MIN = 0.1
RETRY_S_MAX = 1.0

RESERVE = 16
"""The last part of the bound, one in so many, takes promises and ends but no shares."""

REFUSED = (LogFull, RecordTooLarge, BadName, LogClosed)
"""What another place for the record would not mend."""

_log = logging.getLogger(__name__)


class SpoolState(NamedTuple):
    """What waits on this machine, over all topics."""

    spooling: bool
    """Whether records go to the spool, or wait in it."""
    bytes: int
    records: int
    oldest_ms: int
    """Time of the oldest record, by its producer's clock; 0 when none waits."""
    full: bool
    """Whether no more shares should be taken in."""
    trouble: str
    """Why the log does not take what waits; empty when it does."""


class SpooledLog:
    """The log of one producer, with a spool; implements `ShareLog`."""

    def __init__(
        self,
        log: ShareLog,
        root: Path,
        producer: bytes,
        topics: Sequence[str],
        *,
        partition: str = "",
        bytes_max: int,
        disk: Disk | None = None,
    ) -> None:
        """Spool `topics` below `root`, at most about `bytes_max` of shares; blocks are always kept.

        `partition` is the producer's; empty: the log chooses when it is there.
        """
        self._log = log
        self._root = root
        self._producer = producer
        self._topics = tuple(topics)
        self._partition = partition
        self._bytes_max = bytes_max
        self._disk = disk
        self._channels: dict[str, _Channel] = {}
        self._opening = asyncio.Lock()

    async def partition_for(self, topic: str, producer: bytes) -> str:
        """Return the partition given, "" when the log will choose: nobody waits for it here."""
        return self._partition

    async def writer(self, topic: str, partition: str) -> "SpooledWriter":
        """Open the writer of the producer; raises as `Spool.opened`.

        The spools of the other topics are opened with it: what an earlier process
        left in them goes out although nothing is written there.
        """
        async with self._opening:
            for each in self._topics:
                await self._open(each)
            channel = self._channels[topic]
        await channel.settled(OPEN_S)
        return SpooledWriter(channel)

    def reader(self, topic: str) -> LogReader:
        """Return a reader of the log itself."""
        return self._log.reader(topic)

    async def delete_before(self, topic: str, partition: str, position: int) -> int:
        """Delete in the log itself."""
        return await self._log.delete_before(topic, partition, position)

    async def held(self, topic: str) -> dict[str, Held]:
        """Return what the log itself holds."""
        return await self._log.held(topic)

    def state(self) -> SpoolState:
        """Return what waits at this moment."""
        channels = list(self._channels.values())
        oldest = [each.spool.oldest_ms for each in channels if each.spool.records]
        return SpoolState(
            spooling=any(each.spool.records or each.trouble for each in channels),
            bytes=sum(each.spool.size for each in channels),
            records=sum(each.spool.records for each in channels),
            oldest_ms=min(oldest, default=0),
            full=any(each.full for each in channels),
            trouble="; ".join(each.trouble for each in channels if each.trouble),
        )

    async def emptied(self) -> None:
        """Wait until nothing waits in the spool."""
        for channel in list(self._channels.values()):
            if channel.spool.records:
                await channel.settled(None)

    async def close(self) -> None:
        """Stop; what waits, waits for the next process."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    async def _open(self, topic: str) -> None:
        channel = self._channels.get(topic)
        if channel is not None and not channel.broken:
            return
        if channel is not None:
            del self._channels[topic]
            await channel.close()
        spool = await Spool.opened(self._root, topic, self._producer, self._disk)
        limit = None if is_blocks(topic) else self._bytes_max
        self._channels[topic] = _Channel(self._log, spool, self._producer, self._partition, limit)


class SpooledWriter:
    """Writes as the producer of a SpooledLog; implements `LogWriter`."""

    def __init__(self, channel: "_Channel") -> None:
        self._channel = channel
        self._closed = False

    async def append(self, payload: bytes) -> int:
        """Make `payload` durable in the log or in the spool; 0 when it is in the spool.

        LogFull: neither takes it. LogBroken: the spool's disk failed.
        """
        if self._closed:
            raise LogClosed(self._channel.place)
        return await self._channel.append(payload)

    async def close(self) -> None:
        """Write no more; the spool goes on being drained."""
        self._closed = True


class _Channel:
    """The way of one topic's records: straight into the log, or through the spool."""

    def __init__(
        self, log: ShareLog, spool: Spool, producer: bytes, partition: str, bytes_max: int | None
    ) -> None:
        self.spool = spool
        self.place = f"spool of {spool.topic}"
        self.direct = False
        """Whether nothing waits and records go to the log."""
        self.broken = False
        """Whether the spool must be opened anew."""
        self.trouble = ""
        self._log = log
        self._producer = producer
        self._partition = partition
        self._bytes_max = bytes_max
        self._own: LogWriter | None = None
        self._writers: dict[str, LogWriter] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._order = asyncio.Lock()
        self._changed = asyncio.Condition()
        if spool.records:
            _log.warning("%s: %d records wait from before", self.place, spool.records)
        self._draining = asyncio.create_task(self._drain())

    @property
    def full(self) -> bool:
        """Whether only what must be written should come."""
        if self._bytes_max is None:
            return False
        return self.spool.size >= self._bytes_max - self._bytes_max // RESERVE

    async def append(self, payload: bytes) -> int:
        """See `SpooledWriter.append`; calls follow one another."""
        if self._draining.done() and not self.broken:
            # It ends by a slip of ours only; then records would wait here for ever.
            self._draining.result()
        async with self._order:
            if self.direct:
                position = await self._straight(payload)
                if position is not None:
                    return position
            await self._to_spool(payload)
            return 0

    async def settled(self, timeout_s: float | None) -> None:
        """Wait until the channel is direct, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.direct or self.broken)
        except TimeoutError:
            return

    async def close(self) -> None:
        """Stop draining and give everything back."""
        self._draining.cancel()
        await asyncio.wait((self._draining,))
        async with self._order:
            self._drop_writers()
            if self._closing:
                await asyncio.wait(self._closing, timeout=CLOSE_S_MAX)
            try:
                await self.spool.close()
            except (LogError, OSError) as error:
                _log.warning("closing the %s: %s", self.place, error)

    async def _straight(self, payload: bytes) -> int | None:
        """Write to the log; None when it is away, and the channel is direct no more."""
        assert self._own is not None
        try:
            async with asyncio.timeout(SPOOL_AFTER_S):
                return await self._own.append(payload)
        except REFUSED:
            raise
        except TimeoutError:
            await self._leave(f"no confirmation within {SPOOL_AFTER_S:g} s")
        except (LogError, OSError) as error:
            await self._leave(str(error))
            if not isinstance(error, WRITER_STAYS):
                self._drop_writers()
        return None

    async def _to_spool(self, payload: bytes) -> None:
        waiting = self.spool.size
        if self._bytes_max is not None and waiting + len(payload) > self._bytes_max:
            reason = f"{waiting} bytes wait in it, the bound is {self._bytes_max}"
            raise LogFull(self.place, reason)
        try:
            await self.spool.end_found_producer()
            await self.spool.append(payload)
        except LogBroken:
            self.broken = True
            await self._tell()
            raise

    async def _leave(self, reason: str) -> None:
        self.direct = False
        self.trouble = reason
        _log.error("%s: the log is away, records are kept here: %s", self.place, reason)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _drain(self) -> None:
        """Send what waits, for ever; wait while the channel is direct."""
        delay_s = RETRY_S_MIN
        while not self.broken:
            async with self._changed:
                await self._changed.wait_for(lambda: not self.direct)
            try:
                await self._step()
            except (LogError, OSError, TimeoutError) as error:
                reason = str(error) or f"no answer within {DRAIN_S:g} s"
                if reason != self.trouble:
                    _log.warning("%s: %s", self.place, reason)
                self.trouble = reason
                if not isinstance(error, (*WRITER_STAYS, TimeoutError)):
                    self._drop_writers()
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_S_MAX)
            else:
                delay_s = RETRY_S_MIN

    async def _step(self) -> None:
        """Send one group, or the last ones and become direct."""
        if self.spool.size > SWITCH_BYTES:
            await self._send_group()
            return
        # A writer may take seconds to open; nobody waits for that.
        own = await self._writer_of(self._producer)
        await self._send_group()
        async with self._order:
            # Shielded by its own limit from a log that has gone away again.
            async with asyncio.timeout(SWITCH_S):
                await self.spool.quiet()
                await self.spool.end_found_producer()
                while self.spool.size:
                    await self._send_group()
            self._own = own
            self.direct = True
            self.trouble = ""
        _log.info("%s: records go straight to the log", self.place)
        await self._tell()

    async def _send_group(self) -> None:
        records = await self.spool.peek(GROUP_BYTES)
        if not records:
            return
        producer = producer_of(self.spool.topic, records[0].payload)
        writer = await self._writer_of(producer)
        async with asyncio.timeout(DRAIN_S):
            sent, failure = await self._sent(writer, records)
        if sent:
            await self.spool.drained(records[:sent])
        if failure is not None:
            raise failure

    async def _sent(
        self, writer: LogWriter, records: Sequence[LogRecord]
    ) -> tuple[int, BaseException | None]:
        """Send in order; return how many are in the log, and what kept the next one out."""
        results = await asyncio.gather(
            *(writer.append(record.payload) for record in records), return_exceptions=True
        )
        for number, result in enumerate(results):
            if isinstance(result, asyncio.CancelledError):
                return number, LogBroken(self.place, "the writer was closed before it had sent all")
            if isinstance(result, BaseException):
                return number, result
        return len(records), None

    async def _writer_of(self, producer: bytes) -> LogWriter:
        """Return the writer of a producer's partition, chosen durably before its first use."""
        partition = self.spool.assignments.get(producer)
        if partition is None:
            own = producer == self._producer
            partition = (self._partition if own else "") or await self._log.partition_for(
                self.spool.topic, producer
            )
            needed = [*self.spool.producers, self._producer]
            await to_its_end(self.spool.assignments.put, producer, partition, needed)
        writer = self._writers.get(partition)
        if writer is None:
            writer = await self._log.writer(self.spool.topic, partition)
            self._writers[partition] = writer
        return writer

    def _drop_writers(self) -> None:
        """Let go of all writers. A dead one may take long to close: the next is not held up."""
        writers, self._writers = list(self._writers.values()), {}
        self._own = None
        for writer in writers:
            closing = asyncio.create_task(self._closed(writer))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _closed(self, writer: LogWriter) -> None:
        try:
            await writer.close()
        except (LogError, OSError) as error:
            _log.warning("%s: closing a writer: %s", self.place, error)
