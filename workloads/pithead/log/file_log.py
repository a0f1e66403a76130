"""FileLog: a share log in chunk files of one machine.

    <root>/<topic>/<partition>/<20-digit base>.chunk

One process writes a partition, held by a file lock that the kernel drops when
the process dies; any number of processes read it. What is where: bytes in
`chunk`, the durable end in `mark`, locking, recovery and writing in
`partition`, group commit in `writer`, reading in `reader`.

What it survives: a kill of any process at any moment without loss of an
answered record; a crash of the machine likewise, as far as the disk keeps what
it has confirmed. It does not survive the loss of the disk.
"""

import asyncio
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from pithead.log.chunk import HEADER_BYTES, chunk_name
from pithead.log.disk import Disk, SystemDisk, sync_directory
from pithead.log.errors import BadName, LogBusy
from pithead.log.names import check_name
from pithead.log.partition import PartitionFiles, chunk_bases
from pithead.log.positions import PositionFile, position_path, read_positions
from pithead.log.reader import FileReader
from pithead.log.share_log import Held
from pithead.log.writer import FileWriter

CHUNK_BYTES = 64 * 1024 * 1024
"""A chunk is closed at this size: read through in a tenth of a second when a writer opens it."""


class FileLog:
    """The log below one directory; implements `ShareLog`."""

    def __init__(
        self, root: Path, *, chunk_bytes: int = CHUNK_BYTES, disk: Disk | None = None
    ) -> None:
        """Use the log below `root`, made at the first write."""
        self._root = root
        self._chunk_bytes = chunk_bytes
        self._disk = disk or SystemDisk()

    async def partition_for(self, topic: str, producer: bytes) -> str:
        """Refuse with BadName: who starts processes gives each a partition that is locked."""
        raise BadName("partition", "")

    async def writer(self, topic: str, partition: str) -> FileWriter:
        """Open the only writer of a partition, made when missing, and repair a torn end.

        `LogBusy` while another writer lives, in this or another process;
        `LogCorrupt` when durable bytes are wrong: nothing is changed then.
        """
        directory = self._directory(topic, partition)
        files = await asyncio.to_thread(PartitionFiles, directory, self._chunk_bytes, self._disk)
        return FileWriter(files)

    def reader(self, topic: str) -> FileReader:
        """Return a reader of a topic, which need not exist yet."""
        return FileReader(self._root / check_name("topic", topic))

    async def delete_before(self, topic: str, partition: str, position: int) -> int:
        """Delete the chunks that end at or before `position`; return the new start.

        Nothing goes that a reader with a kept position has not read. Safe beside a
        live writer and readers: the last chunk always stays, and a reader that
        stood in a deleted one gets `LogTruncated`.
        """
        directory = self._directory(topic, partition)
        return await asyncio.to_thread(_delete_before, directory, position)

    async def held(self, topic: str) -> dict[str, Held]:
        """Return what each partition of a topic holds, chunk headers included."""
        return await asyncio.to_thread(_held, self._root / check_name("topic", topic))

    async def keep_position(self, topic: str, partition: str, reader: str, position: int) -> None:
        """Tell durably how far a reader is, so that nothing after it is deleted.

        The partition must exist: FileNotFoundError before its first writer.
        """
        directory = self._directory(topic, partition)
        check_name("reader", reader)
        await asyncio.to_thread(self._keep_position, directory, reader, position)

    async def positions(self, topic: str, partition: str) -> dict[str, int]:
        """Return the kept positions of a partition, by reader."""
        return await asyncio.to_thread(read_positions, self._directory(topic, partition))

    async def forget_reader(self, topic: str, partition: str, reader: str) -> None:
        """Let go of what a reader that never comes back has not read."""
        directory = self._directory(topic, partition)
        await asyncio.to_thread(position_path(directory, reader).unlink, missing_ok=True)

    async def repair(self, topic: str) -> list[str]:
        """Repair and show what dead writers left in a topic; return the partitions done.

        A partition is repaired when its next writer opens it. One that gets none
        any more (a region with fewer edges) needs this after a crash of the
        machine, for its durable mark may be older than its last records.
        """
        repaired = []
        reader = self.reader(topic)
        try:
            for partition in await reader.partitions():
                try:
                    writer = await self.writer(topic, partition)
                except LogBusy:
                    continue
                await writer.close()
                repaired.append(partition)
        finally:
            await reader.close()
        return repaired

    def _keep_position(self, directory: Path, reader: str, position: int) -> None:
        file = PositionFile(directory, reader, self._disk)
        try:
            if file.load() != position:
                file.store(position)
        finally:
            file.close()

    def _directory(self, topic: str, partition: str) -> Path:
        return self._root / check_name("topic", topic) / check_name("partition", partition)


def _delete_before(directory: Path, position: int) -> int:
    bases = chunk_bases(directory)
    start = bases[0] if bases else 0
    position = min((position, *read_positions(directory).values()))
    # Oldest first, so that what is left never has a gap.
    for base, end in pairwise(bases):
        if end > position:
            break
        (directory / chunk_name(base)).unlink(missing_ok=True)
        start = end
    if bases and start != bases[0]:
        sync_directory(directory)
    return start


def _held(topic: Path) -> dict[str, Held]:
    found = {}
    for directory in sorted(topic.glob("*")):
        bases = chunk_bases(directory) if directory.is_dir() else []
        if not bases:
            continue
        size = 0
        end = bases[-1]
        for base in bases:
            with suppress(FileNotFoundError):  # Retention has just deleted it.
                chunk_size = (directory / chunk_name(base)).stat().st_size
                size += chunk_size
                end = max(end, base + chunk_size - HEADER_BYTES)
        found[directory.name] = Held(start=bases[0], end=end, bytes=size)
    return found
