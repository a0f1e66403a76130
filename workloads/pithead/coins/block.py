"""Blocks as values: header and transactions, parsed strictly.

Knows the form of a block, not its validity: no target, time or amount is judged here.
"""

from dataclasses import dataclass, field
from struct import Struct

from pithead.coins.hashing import block_hash
from pithead.coins.params import ChainParams
from pithead.coins.tx import Reader, Tx, TxError, merkle_root, read_tx, varint

HEADER_BYTES = 80
_HEADER = Struct("<I32s32sIII")
_TX_BYTES_MIN = 60


class BlockError(ValueError):
    """Bytes that are no block or header of the chain."""


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """The 80 bytes that PoW is done on; hashes in internal order, numbers unsigned 32-bit."""

    version: int
    parent: bytes
    merkle_root: bytes
    time: int
    bits: int
    nonce: int

    def serialize(self) -> bytes:
        """80 bytes."""
        return _HEADER.pack(
            self.version, self.parent, self.merkle_root, self.time, self.bits, self.nonce
        )

    def hash(self) -> bytes:
        """Identity of the block, internal order."""
        return block_hash(self.serialize())


@dataclass(frozen=True, slots=True)
class Block:
    """A header and its transactions; the first is the coinbase."""

    header: BlockHeader
    transactions: tuple[Tx, ...] = field(repr=False)

    @property
    def coinbase(self) -> Tx:
        """The first transaction."""
        return self.transactions[0]

    def merkle_root(self) -> bytes:
        """Root of the transactions that are there, to compare with the header's."""
        return merkle_root([tx.txid() for tx in self.transactions])

    def serialize(self) -> bytes:
        """Wire bytes with witnesses."""
        return b"".join(
            (
                self.header.serialize(),
                varint(len(self.transactions)),
                *(tx.serialize() for tx in self.transactions),
            )
        )


def parse_header(data: bytes) -> BlockHeader:
    """The header that `data` is; raises BlockError unless it has 80 bytes."""
    if len(data) != HEADER_BYTES:
        raise BlockError(f"a header has {HEADER_BYTES} bytes, got {len(data)}")
    return BlockHeader(*_HEADER.unpack(data))


def parse_block(params: ChainParams, data: bytes) -> Block:
    """The block that `data` is, to the last byte; raises BlockError."""
    header, reader, count = _open(params, data)
    try:
        block = Block(header, tuple(read_tx(reader) for _ in range(count)))
        reader.finish()
    except TxError as error:
        raise BlockError(f"block of {params.key}: {error}") from error
    if not block.coinbase.is_coinbase:
        raise BlockError(f"block of {params.key}: its first transaction is no coinbase")
    return block


def parse_block_coinbase(params: ChainParams, data: bytes) -> tuple[BlockHeader, Tx]:
    """Header and coinbase alone; the rest stays unread and may be of a newer form."""
    header, reader, _ = _open(params, data)
    try:
        coinbase = read_tx(reader)
    except TxError as error:
        raise BlockError(f"block of {params.key}: {error}") from error
    if not coinbase.is_coinbase:
        raise BlockError(f"block of {params.key}: its first transaction is no coinbase")
    return header, coinbase


def _open(params: ChainParams, data: bytes) -> tuple[BlockHeader, Reader, int]:
    data = bytes(data)
    if len(data) > params.block_weight_max:
        raise BlockError(f"block of {len(data)} bytes is above {params.block_weight_max}")
    header = parse_header(data[:HEADER_BYTES])
    reader = Reader(data, HEADER_BYTES)
    try:
        count = reader.counted(_TX_BYTES_MIN)
    except TxError as error:
        raise BlockError(f"block of {params.key}: {error}") from error
    if count == 0:
        raise BlockError(f"block of {params.key} has no transactions")
    return header, reader, count
