"""Blocks and transactions for tests of the devchain's pure parts."""

import itertools
from dataclasses import replace

from pithead.coins.block import Block, BlockHeader
from pithead.coins.hashing import sha256d, sha256d_pow
from pithead.coins.registry import chain_params
from pithead.coins.script import height_push, push
from pithead.coins.sign import PrivateKey, sign_tx
from pithead.coins.tx import NULL_HASH, NULL_INDEX, OutPoint, Tx, TxIn, TxOut, merkle_root
from pithead.coins.weight import bits_to_target
from pithead.devchain.chain import Chain, Changes, Entry
from pithead.devchain.mempool import commitment_script
from pithead.devchain.rules import Utxo

BITS = 0x207FFFFF
MATURITY = 3
PARAMS = replace(chain_params("devchain", "regtest"), coinbase_maturity=MATURITY)
KEY = PrivateKey(b"\x01" * 32)
OTHER_KEY = PrivateKey(b"\x02" * 32)
NOW_S = 1_800_000_000
_numbers = itertools.count()


class Memory:
    """Bodies in memory: the store of a pure chain."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}
        self.undos: dict[bytes, bytes] = {}

    def block(self, identity: bytes) -> bytes:
        return self.blocks[identity]

    def undo(self, identity: bytes) -> bytes:
        return self.undos[identity]

    def keep(self, changes: Changes) -> None:
        self.blocks |= changes.bodies
        self.undos |= changes.undo


def new_chain() -> tuple[Chain, Memory]:
    """A chain of a genesis alone."""
    memory = Memory()
    chain = Chain(PARAMS, BITS, memory)
    changes = Changes()
    chain.start(changes)
    memory.keep(changes)
    return chain, memory


def coinbase_of(
    height: int, value: int, script: bytes, transactions: tuple[Tx, ...] = (), number: int = 0
) -> Tx:
    """A coinbase with its commitment; `number` makes it unique."""
    script_sig = height_push(height) + push(number.to_bytes(4, "big"))
    txin = TxIn(OutPoint(NULL_HASH, NULL_INDEX), script_sig, witness=(bytes(32),))
    return Tx((txin,), (TxOut(value, script), TxOut(0, commitment_script(transactions))))


def block_on(
    chain: Chain,
    parent: Entry,
    transactions: tuple[Tx, ...] = (),
    *,
    script: bytes | None = None,
    value: int | None = None,
    coinbase: Tx | None = None,
    time_s: int | None = None,
    version: int = 0x20000000,
) -> Block:
    """A solved block on `parent` that claims the subsidy alone."""
    height = parent.height + 1
    paid = PARAMS.subsidy(height) if value is None else value
    to = KEY.p2wpkh() if script is None else script
    first = coinbase or coinbase_of(height, paid, to, transactions, next(_numbers))
    everything = (first, *transactions)
    root = merkle_root([tx.txid() for tx in everything])
    when = chain.median_s(parent) + 1 if time_s is None else time_s
    return solved(Block(BlockHeader(version, parent.hash, root, when, BITS, 0), everything))


def solved(block: Block, *, wins: bool = True) -> Block:
    """The block with a nonce that meets its target, or just does not."""
    target = bits_to_target(BITS)
    for nonce in itertools.count():
        header = replace(block.header, nonce=nonce)
        if (sha256d_pow(header.serialize()) <= target) == wins:
            return Block(header, block.transactions)
    raise AssertionError("unreachable")


def extend(chain: Chain, memory: Memory, block: Block) -> str | None:
    """Give a block to the chain and keep what changed."""
    changes = Changes()
    try:
        return chain.accept(block.serialize(), NOW_S, changes)
    finally:
        memory.keep(changes)


def grow(chain: Chain, memory: Memory, count: int) -> None:
    """Blocks on the tip that pay KEY."""
    for _ in range(count):
        assert extend(chain, memory, block_on(chain, chain.tip)) is None


def spend(
    coins: dict[OutPoint, Utxo],
    outputs: tuple[TxOut, ...],
    key: PrivateKey = KEY,
    *,
    sequence: int = 0xFFFFFFFF,
    locktime: int = 0,
) -> Tx:
    """A signed transaction of `coins`."""
    inputs = tuple(TxIn(outpoint, sequence=sequence) for outpoint in coins)
    return sign_tx(
        Tx(inputs, outputs, locktime=locktime), [coin.output for coin in coins.values()], [key]
    )


def some_coin(chain: Chain, *, mature: bool = True) -> dict[OutPoint, Utxo]:
    """One coin of KEY at the tip."""
    height = chain.tip.height + 1
    for outpoint, coin in chain.coins.items():
        if coin.script == KEY.p2wpkh() and (height - coin.height >= MATURITY) == mature:
            return {outpoint: coin}
    raise AssertionError("no such coin")


def fingerprint(chain: Chain) -> bytes:
    """A hash of all coins at the tip."""
    rows = sorted(
        repr((outpoint.txid, outpoint.index, coin.value, coin.height, coin.coinbase, coin.script))
        for outpoint, coin in chain.coins.items()
    )
    return sha256d("".join(rows).encode())
