"""Readers of FileLog partitions, in the writer's or any other process.

A reader keeps nothing but open files; positions come and go with each call. It
shows bytes up to the durable mark and no further (see `mark` for the reason).
Small reads are served on the event loop: they come from the page cache, where
the writer has just put them, and cost less than a change of threads. Large ones
(a replay) go to a thread.
"""

import asyncio
import os
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

from pithead.log.chunk import FRAME_BYTES, HEADER_BYTES, chunk_name, record_size, whole_frames
from pithead.log.errors import LogClosed, LogCorrupt, LogPositionInvalid, LogTruncated
from pithead.log.mark import DurableMark
from pithead.log.names import is_name
from pithead.log.partition import chunk_bases, open_chunk, read_fully
from pithead.log.share_log import LogRecord
from pithead.log.threads import to_its_end

FILE_LOG_ID = "file"

POLL_MS = 20
"""How often `wait` looks at the mark: one read of 12 bytes from memory."""

INLINE_BYTES_MAX = 256 * 1024
"""What the loop reads itself: about 0.2 ms from the page cache."""


class _PartitionView:
    """One partition as a reader sees it; synchronous, for one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = asyncio.Lock()
        self._mark: DurableMark | None = None
        self._end = 0
        self._bases: list[int] = []
        self._descriptor = -1
        self._open_base = -1

    def end(self) -> int:
        """Position after the last durable record, as far as a writer has shown it."""
        if self._mark is None:
            try:
                self._mark = DurableMark(self.directory, writable=False)
            except FileNotFoundError:
                return 0
        # A damaged mark keeps the last good one: less is shown, never more.
        self._end = max(self._end, self._mark.load() or 0)
        return self._end

    def start(self) -> int:
        """Earliest position that is still there."""
        self._bases = chunk_bases(self.directory)
        return self._bases[0] if self._bases else 0

    def read(self, position: int, bytes_max: int) -> list[LogRecord]:
        """Records from `position` on, to the end of its chunk at most."""
        end = self.end()
        if position < 0:
            raise LogPositionInvalid(str(self.directory), position, end)
        if position >= end:
            self._check_not_beyond(position, end)
            return []
        base, stop = self._locate(position, end)
        size = min(bytes_max, stop - position)
        data = self._bytes(base, position, max(size, FRAME_BYTES))
        claimed = record_size(data)
        if claimed is not None and len(data) < claimed <= stop - position:
            data = self._bytes(base, position, claimed)
        records = [
            LogRecord(found.position, found.next_position, bytes(data[found.start : found.stop]))
            for found in whole_frames(data[: stop - position], position)
        ]
        if not records:
            self._refuse(base, position, stop)
        return records

    def close(self) -> None:
        """Close the files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._mark is not None:
            self._mark.close()
            self._mark = None

    def _locate(self, position: int, end: int) -> tuple[int, int]:
        """Open the chunk that holds `position`; return its base and where its bytes stop."""
        if not self._bases or position < self._bases[0]:
            self._bases = chunk_bases(self.directory)
        for _ in range(2):
            index = bisect_right(self._bases, position) - 1
            if index < 0:
                break
            base = self._bases[index]
            if not self._open(base):
                self._bases = chunk_bases(self.directory)
                continue
            if index + 1 < len(self._bases):
                return base, min(end, self._bases[index + 1])
            stop = min(end, base + os.fstat(self._descriptor).st_size - HEADER_BYTES)
            if position < stop:
                return base, stop
            # The writer may have begun another chunk since the last look.
            self._bases = chunk_bases(self.directory)
        if self._bases and position < self._bases[0]:
            raise LogTruncated(str(self.directory), position, self._bases[0])
        raise LogCorrupt(str(self.directory), position, "durable bytes are missing")

    def _open(self, base: int) -> bool:
        if base == self._open_base and self._descriptor >= 0:
            return True
        try:
            descriptor = open_chunk(self.directory, base, os.O_RDONLY)
        except FileNotFoundError:  # Retention was quicker.
            return False
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._open_base = base
        return True

    def _bytes(self, base: int, position: int, size: int) -> bytes:
        return read_fully(self._descriptor, size, HEADER_BYTES + position - base)

    def _check_not_beyond(self, position: int, end: int) -> None:
        """Accept a position past the mark only while the files reach so far.

        After a crash of the machine the mark may be older than what a reader
        had read, until the next writer sets it; a log that really ends before
        the position is another one.
        """
        if position == end:
            return
        bases = chunk_bases(self.directory)
        written = 0
        if bases:
            with suppress(FileNotFoundError):
                size = (self.directory / chunk_name(bases[-1])).stat().st_size
                written = bases[-1] + size - HEADER_BYTES
        if position > written:
            raise LogPositionInvalid(str(self.directory), position, end)

    def _refuse(self, base: int, position: int, stop: int) -> None:
        """Say why there is no whole record at `position`: no boundary, or a damaged file."""
        data = self._bytes(base, base, stop - base)
        good = base
        for found in whole_frames(data, base):
            if found.position >= position:
                break
            good = found.next_position
        if good > position:
            raise LogPositionInvalid(str(self.directory), position, self._end)
        path = str(self.directory / chunk_name(base))
        raise LogCorrupt(path, good, "a durable record fails its checksum")


class FileReader:
    """Reads the partitions of one topic; implements `LogReader`."""

    exclusive = True

    def __init__(self, directory: Path) -> None:
        """Read the topic in `directory`, which need not exist yet."""
        self._directory = directory
        self._views: dict[str, _PartitionView] = {}
        self._closed = False

    async def log_id(self) -> str:
        """Return FILE_LOG_ID: a directory is one log for ever."""
        return FILE_LOG_ID

    async def partitions(self) -> list[str]:
        """Return the partitions that exist now, sorted."""
        self._check_open()
        try:
            with os.scandir(self._directory) as entries:
                return sorted(
                    entry.name for entry in entries if entry.is_dir() and is_name(entry.name)
                )
        except FileNotFoundError:
            return []

    async def read(self, partition: str, position: int, bytes_max: int) -> list[LogRecord]:
        """Return the records from `position` on, about `bytes_max` of them, [] at the end.

        `LogTruncated`: retention has deleted it. `LogPositionInvalid`: no record
        begins there. `LogCorrupt`: durable bytes are wrong.
        """
        view = self._view(partition)
        async with view.lock:
            waiting = view.end() - position
            if min(waiting, bytes_max) <= INLINE_BYTES_MAX:
                return view.read(position, bytes_max)
            return await to_its_end(view.read, position, bytes_max)

    async def start(self, partition: str) -> int:
        """Return the earliest position that retention has left; 0 for an unknown partition."""
        view = self._view(partition)
        async with view.lock:
            return view.start()

    async def end(self, partition: str) -> int:
        """Return the position after the last durable record; 0 for an unknown partition."""
        view = self._view(partition)
        async with view.lock:
            return view.end()

    async def since(self, partition: str, time_ms: int) -> int:
        """Return where the first chunk begins that was written to at or after `time_ms`."""
        view = self._view(partition)
        async with view.lock:
            for base in chunk_bases(view.directory):
                with suppress(FileNotFoundError):  # Retention has just deleted it.
                    written = (view.directory / chunk_name(base)).stat().st_mtime_ns // 1_000_000
                    if written >= time_ms:
                        return base
            return view.end()

    async def wait(self, partition: str, position: int, timeout_ms: int) -> bool:
        """Wait until there is a record at `position` (True) or the time is over (False)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while await self.end(partition) <= position:
            left = deadline - loop.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(left, POLL_MS / 1000))
        return True

    async def close(self) -> None:
        """Close all files; a second call does nothing."""
        self._closed = True
        views, self._views = self._views, {}
        for view in views.values():
            async with view.lock:
                view.close()

    def _view(self, partition: str) -> _PartitionView:
        self._check_open()
        view = self._views.get(partition)
        if view is None:
            view = self._views[partition] = _PartitionView(self._directory / partition)
        return view

    def _check_open(self) -> None:
        if self._closed:
            raise LogClosed(str(self._directory))
