"""The bytes of a chunk file: header, record frames and how to tell whole ones. Pure.

A chunk is a header of 24 bytes and then frames. Integers are little-endian.

    header: magic 8, format u32, base u64, crc32 u32 of the 20 bytes before it
    frame:  length u32, crc32 u32, payload

A position counts frame bytes from the beginning of the partition, headers left
out, so the frame at position p of a chunk with base b lies at byte 24 + p - b,
and the next chunk's base is the end of this one. The checksum (CRC-32 of
zlib, the one that Python computes fast without a dependency) covers position
and length too: a run of zeros, which a crash can leave, is no record, and
neither are stale bytes of another place.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"PTHDLOG\x00"
CHUNK_FORMAT = 1
"""Version of this layout; that of the records inside is `topics.FORMAT`."""

RECORD_BYTES_MAX = 16 * 1024 * 1024
"""A block of 4 MB and its record fit four times; a wild length is recognised as such."""

SUFFIX = ".chunk"

_HEADER = struct.Struct("<8sIQI")
_FRAME = struct.Struct("<II")
_SEED = struct.Struct("<QI")

HEADER_BYTES = _HEADER.size
FRAME_BYTES = _FRAME.size


class Frame(NamedTuple):
    """A whole record found in a buffer; `start` and `stop` bound its payload there."""

    position: int
    start: int
    stop: int

    @property
    def next_position(self) -> int:
        """Position after this record."""
        return self.position + FRAME_BYTES + self.stop - self.start


class HeaderProblem(NamedTuple):
    """Why a header is not one; `found_format` is set when only the version is foreign."""

    problem: str
    found_format: int | None = None


def chunk_name(base: int) -> str:
    """Return the file name of the chunk that begins at position `base`."""
    return f"{base:020d}{SUFFIX}"


def base_of_name(name: str) -> int | None:
    """Return the base that a file name states, None when it names no chunk."""
    stem = name.removesuffix(SUFFIX)
    if stem == name or len(stem) != 20 or not (stem.isascii() and stem.isdigit()):
        return None
    return int(stem)


def header(base: int) -> bytes:
    """Return the header of a chunk that begins at position `base`."""
    checked = _HEADER.pack(MAGIC, CHUNK_FORMAT, base, 0)[:-4]
    return checked + zlib.crc32(checked).to_bytes(4, "little")


def check_header(data: bytes, base: int) -> HeaderProblem | None:
    """Return what is wrong with the first bytes of the chunk that should begin at `base`."""
    if len(data) < HEADER_BYTES:
        return HeaderProblem(f"a chunk header of {HEADER_BYTES} bytes was cut to {len(data)}")
    magic, found_format, found_base, checksum = _HEADER.unpack_from(data)
    if magic != MAGIC:
        return HeaderProblem("no chunk file by its first bytes")
    if checksum != zlib.crc32(data[: HEADER_BYTES - 4]):
        return HeaderProblem("the checksum of the chunk header fails")
    if not 1 <= found_format <= CHUNK_FORMAT:
        return HeaderProblem(f"chunk format {found_format}", found_format)
    if found_base != base:
        return HeaderProblem(f"the chunk header states base {found_base}, the file name {base}")
    return None


def frame(position: int, payload: bytes) -> bytes:
    """Return the frame of `payload` as the record at `position`."""
    return _FRAME.pack(len(payload), _checksum(position, payload)) + payload


def frame_size(payload: bytes) -> int:
    """Return how far a record of `payload` moves the position."""
    return FRAME_BYTES + len(payload)


def record_size(data: bytes | memoryview, offset: int = 0) -> int | None:
    """Return the size that the frame at `offset` claims, None when its head is cut or absurd."""
    if len(data) - offset < FRAME_BYTES:
        return None
    length = int(_FRAME.unpack_from(data, offset)[0])
    return FRAME_BYTES + length if length <= RECORD_BYTES_MAX else None


def whole_frames(data: bytes | memoryview, position: int) -> Iterator[Frame]:
    """Yield the whole records at the beginning of `data`, whose first byte has `position`.

    It ends before the first frame that is cut or whose checksum fails; what it
    means that bytes are left is the caller's to judge.
    """
    offset = 0
    view = memoryview(data)
    while (size := record_size(view, offset)) is not None and offset + size <= len(view):
        payload = view[offset + FRAME_BYTES : offset + size]
        if _FRAME.unpack_from(view, offset)[1] != _checksum(position, payload):
            return
        yield Frame(position, offset + FRAME_BYTES, offset + size)
        offset += size
        position += size


def whole_end(data: bytes | memoryview, position: int) -> int:
    """Return the position after the last of the whole records at the beginning of `data`."""
    end = position
    for found in whole_frames(data, position):
        end = found.next_position
    return end


def _checksum(position: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(_SEED.pack(position, len(payload))))
