"""The spool of one topic: a queue on this machine's disk for records that wait for the log.

    <root>/<topic>/spool/       a FileLog partition, drained up to `drain.position`
    <root>/<topic>/spool/partitions.json    see `assignments`

Records go out in the order in which they came in, whoever their producers are.
What was drained is told durably before anybody may write past the spool, so that
a later process never takes an emptied spool for a waiting one.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pithead.log.assignments import Assignments
from pithead.log.disk import Disk, SystemDisk
from pithead.log.errors import LogPositionInvalid
from pithead.log.file_log import FileLog
from pithead.log.positions import PositionFile
from pithead.log.reader import FileReader
from pithead.log.share_log import LogRecord
from pithead.log.spool_records import ending, look, producer_of
from pithead.log.threads import to_its_end
from pithead.log.writer import FileWriter

PARTITION = "spool"
READER = "drain"

CHUNK_BYTES = 8 * 1024 * 1024
"""A chunk is freed when all of it is drained: the disk holds one more than what waits."""

SCAN_BYTES = 4 * 1024 * 1024


class Spool:
    """The queue; one process has it at a time, which the lock of the partition sees to."""

    def __init__(
        self,
        topic: str,
        files: FileLog,
        writer: FileWriter,
        reader: FileReader,
        drained: PositionFile,
        assignments: Assignments,
    ) -> None:
        """Use `opened`, which does what a constructor cannot."""
        self.topic = topic
        self.assignments = assignments
        self.records = 0
        """Records that wait."""
        self.producers: list[bytes] = []
        """Whose they were when it was opened, in order."""
        self.owed: bytes | None = None
        """End of the last producer found, to be appended before anything of another one."""
        self._files = files
        self._writer = writer
        self._reader = reader
        self._drained = drained
        self._position = 0
        self._appending: set[asyncio.Task[None]] = set()
        self._first: LogRecord | None = None
        """The oldest record that waits, where it was looked at."""

    @classmethod
    async def opened(
        cls, root: Path, topic: str, producer: bytes, disk: Disk | None = None
    ) -> "Spool":
        """Open and lock the spool of a topic and look at what an earlier process left in it.

        `producer` is the one that is here: others have ended, whatever they left.
        LogBusy while another process has it; LogFull and LogCorrupt as a FileLog.
        """
        disk = disk or SystemDisk()
        files = FileLog(root, chunk_bytes=CHUNK_BYTES, disk=disk)
        writer = await files.writer(topic, PARTITION)
        reader = files.reader(topic)
        directory = root / topic / PARTITION
        try:
            drained = await asyncio.to_thread(PositionFile, directory, READER, disk)
            try:
                assignments = await asyncio.to_thread(Assignments, directory)
                spool = cls(topic, files, writer, reader, drained, assignments)
                await spool._look(producer)
            except BaseException:
                drained.close()
                raise
        except BaseException:
            await reader.close()
            await writer.close()
            raise
        return spool

    @property
    def size(self) -> int:
        """What waits."""
        return self._writer.statistics().end - self._position

    @property
    def oldest_ms(self) -> int:
        """Time of the oldest record that waits, by its producer's clock; 0 without one."""
        return look(self.topic, self._first.payload).time_ms if self._first is not None else 0

    async def append(self, payload: bytes) -> None:
        """Make a record durable behind all others; raises as a FileLog's writer.

        A cancelled call still appends, and `quiet` waits for it.
        """
        appending = asyncio.create_task(self._append(payload))
        self._appending.add(appending)
        appending.add_done_callback(self._appended)
        await asyncio.shield(appending)

    async def quiet(self) -> None:
        """Wait until nothing is being appended."""
        if self._appending:
            await asyncio.wait(self._appending)

    async def end_found_producer(self) -> None:
        """Append the end that the last producer found has not written, once."""
        if self.owed is not None:
            await self.append(self.owed)
            self.owed = None

    async def peek(self, bytes_max: int) -> Sequence[LogRecord]:
        """Return the oldest records that wait, all of one producer, [] when none do."""
        if not self.size:
            return []
        records = await self._reader.read(PARTITION, self._position, bytes_max)
        self._first = records[0]
        first = producer_of(self.topic, records[0].payload)
        for number, record in enumerate(records):
            if producer_of(self.topic, record.payload) != first:
                return records[:number]
        return records

    async def drained(self, records: Sequence[LogRecord]) -> None:
        """Tell durably that the oldest `records` are in the log, and free their space."""
        position = records[-1].next_position
        await to_its_end(self._drained.store, position)
        self._position = position
        self.records -= len(records)
        self._first = None
        await self._files.delete_before(self.topic, PARTITION, position)

    async def close(self) -> None:
        """Give the spool free; what waits, waits for the next process."""
        await self.quiet()
        await self._reader.close()
        self._drained.close()
        await self._writer.close()

    async def _append(self, payload: bytes) -> None:
        end = await self._writer.append(payload)
        self.records += 1
        if self._first is None:
            self._first = LogRecord(end - len(payload), end, payload)

    def _appended(self, appending: asyncio.Task[None]) -> None:
        self._appending.discard(appending)
        if not appending.cancelled():
            appending.exception()  # Looked at, also when its caller was cancelled.

    async def _look(self, own: bytes) -> None:
        """Count what waits, find whose it is and whether its last producer has ended."""
        start = await self._reader.start(PARTITION)
        end = self._writer.statistics().end
        position = await asyncio.to_thread(self._drained.load)
        if position is None or not start <= position <= end:
            # Sent again is harmless, left out is not.
            position = start
        self._position = position
        last: LogRecord | None = None
        while position < end:
            try:
                records = await self._reader.read(PARTITION, position, SCAN_BYTES)
            except LogPositionInvalid:
                if position == start:
                    raise
                position = self._position = start
                continue
            for record in records:
                producer = producer_of(self.topic, record.payload)
                if not self.producers or self.producers[-1] != producer:
                    self.producers.append(producer)
            self._first = self._first or records[0]
            self.records += len(records)
            last = records[-1]
            position = last.next_position
        if last is not None and self.producers[-1] != own:
            self.owed = ending(self.topic, last.payload)
