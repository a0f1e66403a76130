"""What the bytes of a block say about the pool: its mark, its finder's place, its value.

Pure. The value is the sum of the coinbase outputs that pay a script of the pool,
whatever a record claims.
"""

from collections.abc import Collection
from dataclasses import dataclass

from pithead.coins.block import parse_block_coinbase
from pithead.coins.job import Mark, coinbase_value_to, parse_coinbase_mark
from pithead.coins.params import ChainParams
from pithead.coins.script import parse_height


@dataclass(frozen=True, slots=True)
class WatchedPool:
    """A pool as its coinbases show it: its tag, and every script that they ever paid."""

    pool: str
    tag: bytes
    scripts: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Solved:
    """A block with a mark of this software. Hashes in internal order, value in base units."""

    hash: bytes
    height: int
    """As the coinbase begins with (BIP34)."""
    parent: bytes
    bits: int
    time_s: int
    mark: Mark
    pays: bool
    """Whether any output goes to the pool, be it worth nothing."""
    value: int


def read_solved(params: ChainParams, block: bytes, scripts: Collection[bytes]) -> Solved | None:
    """Read a block of the chain; None when its coinbase has no mark of this software.

    `scripts` are all that the pool's coinbases may pay. Raises BlockError for
    bytes that are no block. The rest of the block is not judged: its hash is
    its identity, and nodes have judged what is on their chain.
    """
    header, coinbase = parse_block_coinbase(params, block)
    mark = parse_coinbase_mark(params, coinbase)
    if mark is None:
        return None
    value = sum(coinbase_value_to(coinbase, script) for script in set(scripts))
    return Solved(
        hash=header.hash(),
        height=parse_height(coinbase.inputs[0].script_sig),
        parent=header.parent,
        bits=header.bits,
        time_s=header.time,
        mark=mark,
        pays=any(output.script in scripts for output in coinbase.outputs),
        value=value,
    )
