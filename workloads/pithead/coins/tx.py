"""Transactions of the Bitcoin family: values, bytes, identities, merkle trees.

Serialisation follows the Bitcoin protocol and BIP144. Parsing is strict: every length is checked
against what is left, compact sizes must be minimal, and only TxError is raised. It knows nothing
of what a script means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from pithead.coins.hashing import sha256d

VALUE_MAX = (1 << 63) - 1
"""Values are signed 64-bit on the wire; the sign is never used."""

_U32 = Struct("<I")
_U64 = Struct("<Q")
_FLAG_WITNESS = 1
_FLAG_MWEB = 8
NULL_HASH = bytes(32)
NULL_INDEX = 0xFFFFFFFF
SEQUENCE_FINAL = 0xFFFFFFFF


class TxError(ValueError):
    """Bytes that are no transaction, or a value that no transaction can carry."""


def varint(number: int) -> bytes:
    """Compact size of `number`, 0 .. 2^64 - 1."""
    if number < 0xFD:
        return number.to_bytes(1, "little")
    if number <= 0xFFFF:
        return b"\xfd" + number.to_bytes(2, "little")
    if number <= 0xFFFFFFFF:
        return b"\xfe" + number.to_bytes(4, "little")
    return b"\xff" + number.to_bytes(8, "little")


@dataclass(frozen=True, slots=True)
class OutPoint:
    """One output of one transaction: `txid` in internal order, `index` from 0."""

    txid: bytes
    index: int

    def serialize(self) -> bytes:
        """36 bytes."""
        return self.txid + _U32.pack(self.index)


@dataclass(frozen=True, slots=True)
class TxIn:
    """An input: what it spends and by what right."""

    prevout: OutPoint
    script_sig: bytes = b""
    sequence: int = SEQUENCE_FINAL
    witness: tuple[bytes, ...] = ()

    def serialize(self) -> bytes:
        """The input without its witness."""
        return b"".join(
            (
                self.prevout.serialize(),
                varint(len(self.script_sig)),
                self.script_sig,
                _U32.pack(self.sequence),
            )
        )


@dataclass(frozen=True, slots=True)
class TxOut:
    """An output: `value` in base units under a locking script."""

    value: int
    script: bytes

    def serialize(self) -> bytes:
        """Value and script."""
        return _U64.pack(self.value) + varint(len(self.script)) + self.script


@dataclass(frozen=True, slots=True)
class Tx:
    """A transaction; `version` is the unsigned 32-bit reading."""

    inputs: tuple[TxIn, ...]
    outputs: tuple[TxOut, ...]
    version: int = 2
    locktime: int = 0

    @property
    def has_witness(self) -> bool:
        """Whether any input carries witness data."""
        return any(txin.witness for txin in self.inputs)

    @property
    def is_coinbase(self) -> bool:
        """One input that spends the null output point."""
        return len(self.inputs) == 1 and self.inputs[0].prevout == OutPoint(NULL_HASH, NULL_INDEX)

    def serialize(self, *, witness: bool = True) -> bytes:
        """Wire bytes; the BIP144 form when `witness` is asked for and there is one."""
        extended = witness and self.has_witness
        parts = [_U32.pack(self.version)]
        if extended:
            parts.append(b"\x00\x01")
        parts.append(varint(len(self.inputs)))
        parts.extend(txin.serialize() for txin in self.inputs)
        parts.append(varint(len(self.outputs)))
        parts.extend(txout.serialize() for txout in self.outputs)
        if extended:
            for txin in self.inputs:
                parts.append(varint(len(txin.witness)))
                parts.extend(varint(len(item)) + item for item in txin.witness)
        parts.append(_U32.pack(self.locktime))
        return b"".join(parts)

    def txid(self) -> bytes:
        """Identity without witness, internal order."""
        return sha256d(self.serialize(witness=False))

    def wtxid(self) -> bytes:
        """Hash with witness, internal order; what BIP141 commits to (a coinbase counts as zero)."""
        return sha256d(self.serialize())

    def weight(self) -> int:
        """BIP141 weight: three times the bare size plus the full size."""
        return 3 * len(self.serialize(witness=False)) + len(self.serialize())

    def vsize(self) -> int:
        """Virtual bytes that fees are paid for: weight / 4, rounded up."""
        return (self.weight() + 3) // 4


class Reader:
    """A cursor over wire bytes; each step checks what is left and raises TxError."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self.data = data
        self.offset = offset

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.offset + size
        if end > len(self.data):
            left = len(self.data) - self.offset
            raise TxError(f"{size} bytes expected at offset {self.offset}, {left} left")
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def u32(self) -> int:
        """The next four bytes, little-endian."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """The next eight bytes, little-endian."""
        return int.from_bytes(self.take(8), "little")

    def varint(self) -> int:
        """The next compact size; a longer form than needed is refused, as nodes do."""
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        size = 1 << (first - 0xFC)
        number = int.from_bytes(self.take(size), "little")
        if number < 0xFD or (size > 2 and number >> (4 * size) == 0):
            raise TxError(f"compact size {number} at offset {self.offset} is not minimal")
        return number

    def counted(self, size_min: int) -> int:
        """The next compact size as a count of things of at least `size_min` bytes each."""
        count = self.varint()
        left = len(self.data) - self.offset
        if count * size_min > left:
            raise TxError(f"{count} items announced at offset {self.offset}, {left} bytes left")
        return count

    def blob(self) -> bytes:
        """The next length-prefixed bytes."""
        return self.take(self.varint())

    def finish(self) -> None:
        """Refuses bytes that nobody has read."""
        if self.offset != len(self.data):
            raise TxError(f"{len(self.data) - self.offset} bytes left over at {self.offset}")


def parse_tx(data: bytes) -> Tx:
    """The transaction that `data` is, to the last byte; raises TxError."""
    reader = Reader(bytes(data))
    tx = read_tx(reader)
    reader.finish()
    return tx


def parse_tx_at(data: bytes, offset: int) -> tuple[Tx, int]:
    """The transaction at `offset` and the offset behind it; raises TxError."""
    reader = Reader(data, offset)
    return read_tx(reader), reader.offset


def read_tx(reader: Reader) -> Tx:
    """The transaction at the cursor, which moves behind it; raises TxError."""
    version = reader.u32()
    flag = 0
    if reader.data[reader.offset : reader.offset + 1] == b"\x00":
        reader.take(1)
        flag = reader.take(1)[0]
        if flag & _FLAG_MWEB:
            raise TxError("transaction carries MWEB data (flag 08), which is not supported yet")
        if flag != _FLAG_WITNESS:
            raise TxError(f"transaction without inputs, or unknown flag {flag:02x}")
    inputs = [_read_input(reader) for _ in range(reader.counted(41))]
    if not inputs:
        raise TxError("transaction without inputs")
    outputs = tuple(_read_output(reader) for _ in range(reader.counted(9)))
    if flag:
        witnesses = [
            tuple(reader.blob() for _ in range(reader.counted(1))) for _ in range(len(inputs))
        ]
        if not any(witnesses):
            raise TxError("witness flag without any witness")
        inputs = [
            TxIn(txin.prevout, txin.script_sig, txin.sequence, witness)
            for txin, witness in zip(inputs, witnesses, strict=True)
        ]
    return Tx(tuple(inputs), outputs, version, reader.u32())


def _read_input(reader: Reader) -> TxIn:
    prevout = OutPoint(reader.take(32), reader.u32())
    return TxIn(prevout, reader.blob(), reader.u32())


def _read_output(reader: Reader) -> TxOut:
    value = reader.u64()
    if value > VALUE_MAX:
        raise TxError(f"output value {value} is above 2^63 - 1")
    return TxOut(value, reader.blob())


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """Root of a Bitcoin merkle tree; an odd last node is paired with itself. Needs one leaf."""
    level = list(hashes)
    if not level:
        raise TxError("a merkle tree needs at least one leaf")
    while len(level) > 1:
        if len(level) & 1:
            level.append(level[-1])
        level = [sha256d(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def merkle_branch(others: Sequence[bytes]) -> list[bytes]:
    """Siblings on the way from the first leaf to the root; `others` are all leaves but the first.

    The first leaf (the coinbase) takes no part, so that one branch serves all its variants.
    """
    branch: list[bytes] = []
    # The slot of the first leaf is kept open as None at the head of every level.
    level = list(others)
    while level:
        branch.append(level[0])
        rest = level[1:]
        if len(rest) & 1:
            rest.append(rest[-1])
        level = [sha256d(rest[i] + rest[i + 1]) for i in range(0, len(rest), 2)]
    return branch
