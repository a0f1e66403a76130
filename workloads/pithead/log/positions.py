"""Durable positions of a partition's readers, beside its chunks: `<reader>.position`.

Readers whose data live elsewhere keep their position there, in the transaction of
the data; a file here tells retention how far they are, so that it deletes
nothing that one of them has not read. A reader without a store of its own (the
spool) goes on from its file alone.

The file has two slots, a sector apart, each with position (u64), number of the store (u64)
and a CRC-32 of both, little-endian; a store overwrites the older one. So a crash
leaves the position before or the new one, and a full disk keeps nobody from
moving on: the bytes exist since the file was made.
"""

import os
import struct
import threading
import zlib
from pathlib import Path
from typing import NamedTuple

from pithead.log.disk import Disk, sync_directory
from pithead.log.names import is_name

SUFFIX = ".position"
SLOT_BYTES = 512
"""A sector: what a disk writes whole or not at all."""

_SLOT = struct.Struct("<QQI")
_COUNTED = struct.Struct("<QQ")


class _Slot(NamedTuple):
    position: int
    stores: int


def position_path(directory: Path, reader: str) -> Path:
    """Return the file of a reader's position in a partition's directory."""
    return directory / f"{reader}{SUFFIX}"


class PositionFile:
    """The position of one reader, open for that reader."""

    def __init__(self, directory: Path, reader: str, disk: Disk) -> None:
        """Open the file, made durably with no position when it is missing."""
        path = position_path(directory, reader)
        known = path.exists()
        self._disk = disk
        self._storing = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not known or os.fstat(self._descriptor).st_size < 2 * SLOT_BYTES:
                # Both slots get their space now: a store must not need any.
                disk.write(self._descriptor, bytes(2 * SLOT_BYTES), 0)
                disk.sync(self._descriptor)
                sync_directory(directory)
        except BaseException:
            os.close(self._descriptor)
            raise

    def load(self) -> int | None:
        """Return the position that was stored last, None when none ever was."""
        newest = self._newest()
        return None if newest is None else newest.position

    def store(self, position: int) -> None:
        """Make `position` the durable one; one store at a time, of whichever threads."""
        with self._storing:
            newest = self._newest()
            stores = newest.stores + 1 if newest is not None else 1
            self._disk.write(self._descriptor, _encode(position, stores), stores % 2 * SLOT_BYTES)
            self._disk.sync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _newest(self) -> _Slot | None:
        return _newest(os.pread(self._descriptor, 2 * SLOT_BYTES, 0))


def read_positions(directory: Path) -> dict[str, int]:
    """Return the position of each reader of a partition; a damaged or new file counts as 0."""
    found: dict[str, int] = {}
    for path in directory.glob(f"*{SUFFIX}"):
        reader = path.name.removesuffix(SUFFIX)
        if is_name(reader):
            newest = _newest(path.read_bytes())
            found[reader] = 0 if newest is None else newest.position
    return found


def _encode(position: int, stores: int) -> bytes:
    checked = _COUNTED.pack(position, stores)
    return checked + zlib.crc32(checked).to_bytes(4, "little")


def _newest(data: bytes) -> _Slot | None:
    slots = []
    for offset in (0, SLOT_BYTES):
        if len(data) < offset + _SLOT.size:
            continue
        position, stores, checksum = _SLOT.unpack_from(data, offset)
        if stores and checksum == zlib.crc32(data[offset : offset + _COUNTED.size]):
            slots.append(_Slot(position, stores))
    return max(slots, key=lambda slot: slot.stores, default=None)
