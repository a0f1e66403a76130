"""The files of one partition as its writer sees them: lock, recovery, writing, rolling.

Synchronous; `writer` runs it in a thread. A partition is a directory:

    lock                        flock of the one writer
    durable                     the durable mark, see `mark`
    <20-digit base>.chunk       chunk files, see `chunk`

Only the last chunk ever changes. Before a chunk is begun, the mark is synced
past the whole one before it; therefore a mark lies in the last chunk, whatever
crashed, and bytes that fail behind the mark were answered as durable. Those are
`LogCorrupt` and nothing is touched. Bytes that fail after the mark were never
answered: they are the torn tail of a crash and are cut.
"""

import fcntl
import logging
import os
from itertools import pairwise
from pathlib import Path

from pithead.log.chunk import (
    CHUNK_FORMAT,
    HEADER_BYTES,
    base_of_name,
    check_header,
    chunk_name,
    frame,
    header,
    whole_end,
)
from pithead.log.disk import DISK_FULL, Disk, sync_directory
from pithead.log.errors import LogBroken, LogBusy, LogCorrupt, LogFormatUnknown, LogFull
from pithead.log.mark import DurableMark

LOCK_NAME = "lock"
NEW_SUFFIX = ".new"

_log = logging.getLogger(__name__)


def chunk_bases(directory: Path) -> list[int]:
    """Return the bases of the chunks in a partition, ascending; [] when it does not exist."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(base for name in names if (base := base_of_name(name)) is not None)


def open_chunk(directory: Path, base: int, flags: int) -> int:
    """Open a chunk and check its header; `LogCorrupt` or `LogFormatUnknown` when it is none."""
    path = directory / chunk_name(base)
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    problem = check_header(os.pread(descriptor, HEADER_BYTES, 0), base)
    if problem is None:
        return descriptor
    os.close(descriptor)
    if problem.found_format is not None:
        raise LogFormatUnknown(str(path), problem.found_format, CHUNK_FORMAT)
    raise LogCorrupt(str(path), base, problem.problem)


def read_fully(descriptor: int, size: int, offset: int) -> bytes:
    """Read up to `size` bytes at `offset`; fewer only at the end of the file."""
    data = os.pread(descriptor, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size and (data := os.pread(descriptor, size - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


class PartitionFiles:
    """One partition, locked and repaired, ready to write at its end."""

    def __init__(self, directory: Path, roll_bytes: int, disk: Disk) -> None:
        """Lock the partition, made when missing, and repair what a crash left.

        `LogBusy` when another writer lives, `LogCorrupt` when durable bytes are
        wrong, `LogFull` when there is no room for the first chunk; any other
        OSError (say, of permissions) as it is, for its text names the cause.
        """
        self.directory = directory
        self._roll_bytes = roll_bytes
        self._disk = disk
        self._descriptor = -1
        self._base = 0
        self.end = 0
        """Position after the last durable record."""
        _make_directory(directory)
        self._lock = _lock(directory)
        try:
            self._mark = DurableMark(directory, writable=True)
            try:
                self._recover()
            except BaseException:
                self._mark.close()
                raise
        except OSError as error:
            os.close(self._lock)
            if error.errno in DISK_FULL:
                raise LogFull(str(directory), os.strerror(error.errno)) from error
            raise
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def path(self) -> str:
        """Path of the chunk that is written."""
        return str(self.directory / chunk_name(self._base))

    def write(self, payloads: list[bytes]) -> list[int]:
        """Append records and make them durable; return the position after each.

        `LogFull`: nothing of it is in the log, the next write may succeed.
        `LogBroken`: unknown what the disk has; close, and open anew.
        """
        if self.end - self._base >= self._roll_bytes:
            self._roll()
        frames = []
        ends = []
        end = self.end
        for payload in payloads:
            framed = frame(end, payload)
            end += len(framed)
            frames.append(framed)
            ends.append(end)
        self._write(b"".join(frames))
        try:
            self._disk.sync(self._descriptor)
        except OSError as error:
            # The kernel reports a failed page once and then calls it clean, so
            # a second sync would succeed without the bytes (fsyncgate). Take
            # them out of the file, so that nobody trusts them later.
            self._take_back(error)
            raise self._broken("sync failed", error) from error
        try:
            self._mark.store(end, self._disk)
        except OSError as error:
            raise self._broken("the durable mark cannot be written", error) from error
        self.end = end
        return ends

    def close(self) -> None:
        """Make the mark durable and give the partition free."""
        try:
            self._mark.sync(self._disk)
        except OSError as error:
            raise self._broken("the durable mark cannot be synced", error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the files as they are: what a killed process would leave."""
        os.close(self._descriptor)
        self._mark.close()
        os.close(self._lock)

    def _write(self, data: bytes) -> None:
        try:
            self._disk.write(self._descriptor, data, self._offset(self.end))
        except OSError as error:
            self._take_back(error)
            if error.errno in DISK_FULL:
                raise LogFull(self.path, os.strerror(error.errno)) from error
            raise self._broken("write failed", error) from error

    def _take_back(self, cause: OSError) -> None:
        try:
            self._disk.truncate(self._descriptor, self._offset(self.end))
        except OSError as error:
            raise self._broken("a failed write cannot be cut off", error) from cause

    def _roll(self) -> None:
        try:
            self._mark.sync(self._disk)
        except OSError as error:
            raise self._broken("the durable mark cannot be synced", error) from error
        descriptor = self._create_chunk(self.end)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._base = self.end

    def _create_chunk(self, base: int) -> int:
        """Make a chunk whose name never stands for less than a whole, durable header."""
        path = self.directory / chunk_name(base)
        new = path.with_suffix(NEW_SUFFIX)
        try:
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._failure("a chunk cannot be made", error) from error
        try:
            self._disk.write(descriptor, header(base), 0)
            self._disk.sync(descriptor)
            new.rename(path)
            sync_directory(self.directory)
        except OSError as error:
            os.close(descriptor)
            # Once it has its name it is a good empty chunk and stays.
            new.unlink(missing_ok=True)
            raise self._failure("a chunk cannot be made", error) from error
        return descriptor

    def _recover(self) -> None:
        for leftover in self.directory.glob(f"*{NEW_SUFFIX}"):
            leftover.unlink()
        marked = self._mark.load()
        bases = chunk_bases(self.directory)
        if not bases:
            if marked:
                path = str(self.directory)
                raise LogCorrupt(path, marked, "all chunk files are missing, yet the log ended")
            self._mark.store(0, self._disk)
            self._mark.sync(self._disk)
            self._descriptor = self._create_chunk(0)
            return
        check_lengths(self.directory, bases)
        self._base = bases[-1]
        self._descriptor = open_chunk(self.directory, self._base, os.O_RDWR)
        try:
            self._repair_tail(marked)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _repair_tail(self, marked: int | None) -> None:
        size = os.fstat(self._descriptor).st_size
        data = read_fully(self._descriptor, size - HEADER_BYTES, HEADER_BYTES)
        end = whole_end(data, self._base)
        if marked is not None and end < marked:
            raise LogCorrupt(self.path, end, "a durable record fails its checksum or is missing")
        torn = size - self._offset(end)
        if torn:
            _log.warning(
                "%s: cut %d bytes that a crash left after position %d; they were never answered",
                self.path,
                torn,
                end,
            )
            self._disk.truncate(self._descriptor, self._offset(end))
        # Whole records past the mark may be in memory only, and a page that
        # failed to reach the disk before would count as clean: write them anew.
        trusted = max(marked or 0, self._base)
        if end > trusted:
            self._disk.write(
                self._descriptor,
                data[trusted - self._base : end - self._base],
                self._offset(trusted),
            )
        self._disk.sync(self._descriptor)
        self._mark.store(end, self._disk)
        self._mark.sync(self._disk)
        # A killed process may have left the chunk's name unsynced.
        sync_directory(self.directory)
        self.end = end

    def _offset(self, position: int) -> int:
        return HEADER_BYTES + position - self._base

    def _failure(self, what: str, error: OSError) -> LogFull | LogBroken:
        if error.errno in DISK_FULL:
            return LogFull(str(self.directory), os.strerror(error.errno))
        return self._broken(what, error)

    def _broken(self, what: str, error: OSError) -> LogBroken:
        return LogBroken(self.path, f"{what} ({error.strerror})")


def check_lengths(directory: Path, bases: list[int]) -> None:
    """Check by file sizes that each chunk but the last ends where the next begins."""
    for base, following in pairwise(bases):
        path = directory / chunk_name(base)
        try:
            end = base + path.stat().st_size - HEADER_BYTES
        except FileNotFoundError:  # Retention has just deleted it.
            continue
        if end != following:
            problem = f"the next chunk begins at {following}, but this one ends"
            raise LogCorrupt(str(path), end, problem)


def _make_directory(directory: Path) -> None:
    missing = []
    path = directory
    while not path.exists():
        missing.append(path)
        path = path.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def _lock(directory: Path) -> int:
    path = directory / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LogBusy(str(directory)) from error
    return descriptor
