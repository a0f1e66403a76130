"""The durable mark: how a partition's writer tells readers how far its bytes are safe.

Why there is one: a reader in another process sees bytes as soon as they are
written, long before they are on the disk. When the machine dies, bytes that
were not yet synced vanish, and a reader that had taken them would have booked a
share that no log contains, and would stand at a position that soon holds
another record. So readers stop at the mark, and the writer moves it after the
sync and before it answers the append.

What each kind of death does to it:

- The writer is killed: the mark lives in the page cache and survives. Killed
  between sync and mark, the record was not answered yet; the next writer finds
  it whole, syncs it and moves the mark over it, so that it is not lost either.
- The machine dies: the mark on the disk may be older than the data, never
  newer, because it is written only after the data are synced. The next writer
  sets it to the last whole record. Until then readers see less, never more.

The file holds the position (u64) and a CRC-32 of it (u32), little-endian: a
read may overlap a write, and the checksum tells a torn value, which is read
again. It is overwritten in place, so an open descriptor stays good.
"""

import os
import struct
import zlib
from pathlib import Path

from pithead.log.disk import Disk

NAME = "durable"

_TRIES = 8
"""A torn read is over in nanoseconds; eight in a row mean that the file is damaged."""

_MARK = struct.Struct("<QI")


def encode_mark(end: int) -> bytes:
    """Return the bytes of a mark at position `end`."""
    position = end.to_bytes(8, "little")
    return position + zlib.crc32(position).to_bytes(4, "little")


def decode_mark(data: bytes) -> int | None:
    """Return the position in `data`, None when it is no whole mark."""
    if len(data) != _MARK.size:
        return None
    end, checksum = _MARK.unpack(data)
    return int(end) if checksum == zlib.crc32(data[:8]) else None


class DurableMark:
    """The mark of one partition, open for its writer or for a reader."""

    def __init__(self, directory: Path, *, writable: bool) -> None:
        """Open the mark; a writer makes the file, a reader gets FileNotFoundError without it."""
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        self._descriptor = os.open(directory / NAME, flags | os.O_CLOEXEC, 0o644)

    def load(self) -> int | None:
        """Return the position after the last durable record, None for no or a damaged mark."""
        for _ in range(_TRIES):
            end = decode_mark(os.pread(self._descriptor, _MARK.size, 0))
            if end is not None:
                return end
        return None

    def store(self, end: int, disk: Disk) -> None:
        """Show readers that everything before `end` is durable."""
        disk.write(self._descriptor, encode_mark(end), 0)

    def sync(self, disk: Disk) -> None:
        """Make the mark itself durable; needed only where a stale one would hide damage."""
        disk.sync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
