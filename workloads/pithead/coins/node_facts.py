"""What a coin node tells of its chain, as values, and how they are read from its answers. Pure.

Readers raise KeyError, TypeError, ValueError or ArithmeticError for an answer of another shape;
`node` turns these into its own error with the name of the node and the call.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChainInfo:
    """Where a node stands. `best` is internal order, `progress` from 0 to 1, for display."""

    chain: str
    blocks: int
    headers: int
    best: bytes
    ibd: bool
    progress: float


@dataclass(frozen=True, slots=True)
class HeaderInfo:
    """A block as its header tells, hashes in internal order.

    `confirmations` is 1 for the tip and -1 off the main chain; `chainwork` is expected hashes up
    to and with the block.
    """

    hash: bytes
    height: int
    confirmations: int
    parent: bytes | None
    next: bytes | None
    bits: int
    time: int
    chainwork: int


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a submitted block at one node.

    `word` is the node's answer (None: no objection), which may be wrong; `confirmations` is what
    the node says of the block's hash afterwards: None unknown, -1 off the main chain, else depth.
    """

    node: str
    hash: bytes
    word: str | None
    confirmations: int | None

    @property
    def on_chain(self) -> bool:
        """Whether the block is in the node's main chain."""
        return self.confirmations is not None and self.confirmations > 0


def read_hash(text: object) -> bytes:
    """Internal order of a hash in RPC hex; raises ValueError."""
    if not isinstance(text, str) or len(text) != 64:
        raise ValueError("not a hash")
    return bytes.fromhex(text)[::-1]


def _optional_hash(text: object) -> bytes | None:
    return None if text is None else read_hash(text)


def read_optional_hex(text: object) -> bytes | None:
    """Bytes of hex, None for null; raises TypeError or ValueError."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError("not hex")
    return bytes.fromhex(text)


def read_chain_info(reply: dict[str, Any]) -> ChainInfo:
    """Facts in an answer to getblockchaininfo."""
    return ChainInfo(
        chain=str(reply["chain"]),
        blocks=int(reply["blocks"]),
        headers=int(reply["headers"]),
        best=read_hash(reply["bestblockhash"]),
        # btcd has no such field; a node that gives templates is not in initial download.
        ibd=bool(reply.get("initialblockdownload", False)),
        progress=float(reply.get("verificationprogress", 1)),
    )


def read_header_info(reply: dict[str, Any] | None) -> HeaderInfo | None:
    """Facts in an answer to a verbose getblockheader, None for null."""
    if reply is None:
        return None
    return HeaderInfo(
        hash=read_hash(reply["hash"]),
        height=int(reply["height"]),
        confirmations=int(reply["confirmations"]),
        parent=_optional_hash(reply.get("previousblockhash")),
        next=_optional_hash(reply.get("nextblockhash")),
        bits=int(reply["bits"], 16),
        time=int(reply["time"]),
        chainwork=int(reply.get("chainwork", "0"), 16),
    )
