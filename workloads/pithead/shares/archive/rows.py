"""The bytes that stand for one sealed height, and the chain of their hashes. Pure.

Format 1. Integers are little-endian; a text is a u32 length and its bytes (UTF-8).

    body      := accounts revisions segments rows; nothing at all for a height without cells
    accounts  := u32 count, then by key:      text key, text script, text login
    revisions := u32 count, then by (slot, effective height):
                 u32 slot, u64 effective height, text scheme, text revision
    segments  := u32 count, then by (parent, height, bits, aux):
                 32 bytes parent, u64 height, u32 bits, text aux (canonical JSON)
    rows      := u32 count, then seven columns of i64, each of all rows: seal, segment,
                 minute, revision, account, weight, shares

Segment, revision and account of a row are places in the lists above, which hold
what rows name and nothing else. Rows are sorted by their first five columns. So
equal cells make equal bytes, whatever ids a database gave.

    hash(h) = sha256("pithead archive 1" 0a | text pool | u64 h | hash(h-1) | body(h))

The hash before a pool's first height is 32 zero bytes.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

FORMAT = 1

GENESIS = bytes(32)
"""Hash before a pool's first height."""

HASH_FORMAT = b"pithead archive 1\n"

COLUMNS = ("seal", "segment", "minute", "revision", "account", "weight", "shares")

BODY_BYTES_MAX = 1 << 30
"""No database keeps a larger value; a hundred times the largest height planned for."""

_U32 = struct.Struct("<I")
_REVISION = struct.Struct("<IQ")
_SEGMENT = struct.Struct("<32sQI")
_HEIGHT = struct.Struct("<Q")

Column = NDArray[np.int64]

NameT = TypeVar("NameT", bound=tuple[object, ...])


class ArchiveDamaged(Exception):
    """Raised when archived bytes are not what the format or their hash says."""


class Account(NamedTuple):
    """Who is credited."""

    key: bytes
    script: bytes
    login: str


class Revision(NamedTuple):
    """Parameters of a scheme, by the slot and height from which they count."""

    slot: int
    effective_height: int
    scheme: str
    revision: str


class Segment(NamedTuple):
    """The chain context of a job."""

    parent: bytes
    height: int
    bits: int
    aux: str
    """Canonical JSON."""


@dataclass(frozen=True, eq=False, slots=True)
class HeightRows:
    """All earning cells that count at one height; columns of equal length."""

    accounts: tuple[Account, ...]
    revisions: tuple[Revision, ...]
    segments: tuple[Segment, ...]
    seal: Column
    segment: Column
    minute: Column
    revision: Column
    account: Column
    weight: Column
    shares: Column

    def __len__(self) -> int:
        return len(self.seal)


@dataclass(frozen=True, slots=True)
class Ids:
    """A database's ids of what the lists of a height name, in the same order."""

    accounts: tuple[int, ...]
    revisions: tuple[int, ...]
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """What a database's ids stand for."""

    accounts: Mapping[int, Account]
    revisions: Mapping[int, Revision]
    segments: Mapping[int, Segment]


def canonical(cells: NDArray[np.int64], names: Names) -> tuple[HeightRows, Ids]:
    """Rows of cells given as an array of COLUMNS with a database's ids, in any order.

    `names` may know more than the cells name. KeyError for an id that it lacks.
    """
    segment_ids, segments, segment = _listed(cells[:, 1], names.segments)
    revision_ids, revisions, revision = _listed(cells[:, 3], names.revisions)
    account_ids, accounts, account = _listed(cells[:, 4], names.accounts)
    order = np.lexsort((account, revision, cells[:, 2], segment, cells[:, 0]))
    rows = HeightRows(
        accounts=accounts,
        revisions=revisions,
        segments=segments,
        seal=cells[order, 0],
        segment=segment[order],
        minute=cells[order, 2],
        revision=revision[order],
        account=account[order],
        weight=cells[order, 5],
        shares=cells[order, 6],
    )
    return rows, Ids(account_ids, revision_ids, segment_ids)


def _listed(
    column: Column, names: Mapping[int, NameT]
) -> tuple[tuple[int, ...], tuple[NameT, ...], Column]:
    """(ids, names, the column as places): names sorted, and only those that the column has."""
    found, inverse = np.unique(column, return_inverse=True)
    ids = found.tolist()
    order = sorted(range(len(ids)), key=lambda index: names[ids[index]])
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    return tuple(ids[i] for i in order), tuple(names[ids[i]] for i in order), place[inverse]


def encode(rows: HeightRows) -> bytes:
    """Bytes of a height; none for one without cells."""
    if not len(rows):
        return b""
    parts = [_U32.pack(len(rows.accounts))]
    for account in rows.accounts:
        parts += [*_text(account.key), *_text(account.script), *_text(account.login.encode())]
    parts.append(_U32.pack(len(rows.revisions)))
    for one in rows.revisions:
        parts.append(_REVISION.pack(one.slot, one.effective_height))
        parts += [*_text(one.scheme.encode()), *_text(one.revision.encode())]
    parts.append(_U32.pack(len(rows.segments)))
    for segment in rows.segments:
        parts.append(_SEGMENT.pack(segment.parent, segment.height, segment.bits))
        parts += _text(segment.aux.encode())
    parts.append(_U32.pack(len(rows)))
    parts += [getattr(rows, name).astype("<i8").tobytes() for name in COLUMNS]
    return b"".join(parts)


def _text(text: bytes) -> tuple[bytes, bytes]:
    return _U32.pack(len(text)), text


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, size: int) -> bytes:
        taken = self.body[self.at : self.at + size]
        if len(taken) != size:
            raise ArchiveDamaged(f"archived bytes end at {len(self.body)}, {size} more are named")
        self.at += size
        return taken

    def number(self) -> int:
        value: int = _U32.unpack(self.take(_U32.size))[0]
        return value

    def text(self) -> bytes:
        return self.take(self.number())

    def words(self) -> str:
        try:
            return self.text().decode()
        except UnicodeDecodeError as error:
            raise ArchiveDamaged(f"an archived name is no text: {error}") from error


def _revision(reader: _Reader) -> Revision:
    slot, effective_height = _REVISION.unpack(reader.take(_REVISION.size))
    return Revision(slot, effective_height, reader.words(), reader.words())


def _segment(reader: _Reader) -> Segment:
    parent, height, bits = _SEGMENT.unpack(reader.take(_SEGMENT.size))
    return Segment(parent, height, bits, reader.words())


def decode(body: bytes) -> HeightRows:
    """Rows of a height. ArchiveDamaged for bytes that `encode` would not have made."""
    reader = _Reader(body if body else bytes(4 * _U32.size))
    accounts = tuple(
        Account(reader.text(), reader.text(), reader.words()) for _ in range(reader.number())
    )
    revisions = tuple(_revision(reader) for _ in range(reader.number()))
    segments = tuple(_segment(reader) for _ in range(reader.number()))
    count = reader.number()
    columns = {
        name: np.frombuffer(reader.take(8 * count), "<i8").astype(np.int64) for name in COLUMNS
    }
    rows = HeightRows(accounts, revisions, segments, **columns)
    if body:
        _check(rows)
    if encode(rows) != body:
        raise ArchiveDamaged("archived bytes are not in their one canonical form")
    return rows


def _check(rows: HeightRows) -> None:
    named = (
        (rows.segment, len(rows.segments)),
        (rows.revision, len(rows.revisions)),
        (rows.account, len(rows.accounts)),
    )
    if not len(rows) or any(
        int(column.min()) < 0 or int(column.max()) >= size for column, size in named
    ):
        raise ArchiveDamaged("an archived row names what is not in its lists")


def chain_hash(pool: str, height: int, before: bytes, body: bytes) -> bytes:
    """Hash of a height, over that of the height before."""
    digest = sha256(HASH_FORMAT)
    for part in _text(pool.encode()):
        digest.update(part)
    digest.update(_HEIGHT.pack(height))
    digest.update(before)
    digest.update(body)
    return digest.digest()


def empty_hash(pool: str, first: int, last: int, before: bytes) -> bytes:
    """Hash of `last` after a run of heights without cells from `first` on."""
    for height in range(first, last + 1):
        before = chain_hash(pool, height, before, b"")
    return before


def compress(body: bytes) -> bytes:
    """What the table keeps of a body; hashes are over the body itself."""
    return zlib.compress(body) if body else b""


def decompress(kept: bytes) -> bytes:
    """The body again. ArchiveDamaged."""
    if not kept:
        return b""
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(kept, BODY_BYTES_MAX)
    except zlib.error as error:
        raise ArchiveDamaged(f"archived bytes cannot be unpacked: {error}") from error
    if not stream.eof or stream.unused_data:
        raise ArchiveDamaged("archived bytes have no end, or more than one")
    return body


def scheme_weights(rows: HeightRows) -> dict[str, int]:
    """Weight of each scheme that has cells at a height."""
    weights: dict[str, int] = {}
    for place, revision in enumerate(rows.revisions):
        total = exact_sum(rows.weight[rows.revision == place])
        weights[revision.scheme] = weights.get(revision.scheme, 0) + total
    return weights


def exact_sum(weights: Column) -> int:
    """Sum of 63-bit weights, which may need more bits."""
    return (int((weights >> 32).sum()) << 32) + int((weights & 0xFFFFFFFF).sum())
