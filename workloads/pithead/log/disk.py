"""The door to the disk: the three calls whose failure the log must survive.

`SystemDisk` is the real one; tests put one that fails on purpose in its place.
Everything else (listing, opening, reading) goes to the system directly.
"""

import errno
import os
from pathlib import Path
from typing import Protocol

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a write that mean "no room": the disk, a quota, a limit on file sizes."""


class Disk(Protocol):
    """Writes to open files; every method raises OSError when it could not do all of it."""

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return only when the file's bytes and size are on the disk."""
        ...

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...


class SystemDisk:
    """The operating system's files."""

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`, going on after a partial write."""
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            offset += written
            view = view[written:]

    def sync(self, descriptor: int) -> None:
        """Flush data and size; times of the file are left out, recovery needs none."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(descriptor, size)


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable: a new file exists only after this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
