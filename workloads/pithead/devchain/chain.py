"""The block tree of the devchain and the coins of its best branch.

A block is judged by its header and content when it comes and by its coins when it joins the best
branch; the branch with the most work wins, the first seen among equals. Joining and leaving a
branch write down in `Changes` all that has to be kept, in the order that it happened, so that a
store can make each step durable in one transaction. Bodies of blocks come from `Bodies`.

Pure: no clock, no files. `now_s` comes in.
"""

from collections import ChainMap
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from struct import Struct
from typing import Protocol

from pithead.coins.block import Block, BlockError, BlockHeader, parse_block
from pithead.coins.params import ChainParams
from pithead.coins.script import is_op_return
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut, merkle_root
from pithead.coins.weight import bits_to_target, expected_hashes
from pithead.devchain.rules import (
    MEDIAN_SPAN,
    Rejected,
    Spend,
    Utxo,
    check_block,
    check_coinbase_value,
    check_header,
    check_spend,
)

GENESIS_TIME_S = 1_700_000_000

_UNDO = Struct("<32sIQI?H")


class Bodies(Protocol):
    """Where the bytes of known blocks are."""

    def block(self, identity: bytes) -> bytes:
        """A block as on the wire."""

    def undo(self, identity: bytes) -> bytes:
        """What `Changes.undo` said of a block."""


@dataclass(slots=True, eq=False)
class Entry:
    """A known block. `work` is expected hashes up to and with it, `arrival` its order of coming.

    `invalid` is set on a block that breaks a rule or was invalidated by hand, and on those that
    build on it.
    """

    hash: bytes
    height: int
    header: BlockHeader
    parent: "Entry | None"
    work: int
    arrival: int
    tx_count: int
    size: int
    invalid: bool = False


@dataclass(slots=True)
class Changes:
    """What one step changed and a store has to keep."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    undo: dict[bytes, bytes] = field(default_factory=dict)
    coins: dict[OutPoint, Utxo | None] = field(default_factory=dict)
    """None: no longer unspent."""
    located: dict[bytes, tuple[bytes, int] | None] = field(default_factory=dict)
    """txid -> block and index in the main chain; None: no longer there."""
    connected: list[tuple[Entry, Block, tuple[Spend, ...]]] = field(default_factory=list)
    disconnected: list[tuple[Entry, Block]] = field(default_factory=list)


def genesis(bits: int) -> Block:
    """The first block: it needs no proof, and nobody can spend its output."""
    script_sig = b"\x00" + b"\x16Pithead devchain (dev)"
    coinbase = Tx(
        (TxIn(OutPoint(bytes(32), 0xFFFFFFFF), script_sig),), (TxOut(0, b"\x6a"),), version=1
    )
    header = BlockHeader(1, bytes(32), merkle_root([coinbase.txid()]), GENESIS_TIME_S, bits, 0)
    return Block(header, (coinbase,))


class Chain:
    """All known blocks and the coins at the tip. Every method is synchronous and complete."""

    def __init__(
        self, params: ChainParams, bits: int, bodies: Bodies, verified: Set[bytes] = frozenset()
    ) -> None:
        self.params = params
        self.bits = bits
        self.bodies = bodies
        self.entries: dict[bytes, Entry] = {}
        self.active: list[Entry] = []
        """The main chain by height."""
        self.coins: dict[OutPoint, Utxo] = {}
        self.verified = verified
        """wtxids whose signatures the mempool has checked."""
        self._step_work = expected_hashes(bits_to_target(bits))

    @property
    def tip(self) -> Entry:
        """Last block of the main chain."""
        return self.active[-1]

    def start(self, changes: Changes) -> None:
        """Begin a new chain with its genesis."""
        block = genesis(self.bits)
        raw = block.serialize()
        entry = self.add_entry(block.header, None, 1, len(raw), arrival=0)
        changes.entries[entry.hash] = entry
        changes.bodies[entry.hash] = raw
        changes.undo[entry.hash] = b""
        self.active.append(entry)

    def add_entry(
        self, header: BlockHeader, parent: Entry | None, tx_count: int, size: int, *, arrival: int
    ) -> Entry:
        """Put a header into the tree, unjudged; `parent` is None for the genesis alone."""
        entry = Entry(
            header.hash(),
            parent.height + 1 if parent else 0,
            header,
            parent,
            parent.work + self._step_work if parent else self._step_work,
            arrival,
            tx_count,
            size,
        )
        self.entries[entry.hash] = entry
        return entry

    def is_active(self, entry: Entry) -> bool:
        """Whether the block is in the main chain."""
        return entry.height < len(self.active) and self.active[entry.height] is entry

    def confirmations(self, entry: Entry) -> int:
        """1 for the tip, -1 off the main chain."""
        return len(self.active) - entry.height if self.is_active(entry) else -1

    def median_s(self, entry: Entry) -> int:
        """Median time of the last eleven headers up to `entry`."""
        times: list[int] = []
        step: Entry | None = entry
        while step is not None and len(times) < MEDIAN_SPAN:
            times.append(step.header.time)
            step = step.parent
        return sorted(times)[len(times) // 2]

    def judge(self, raw: bytes, now_s: int, *, proof: bool = True) -> tuple[Block, Entry]:
        """The block that `raw` is, and its parent; raises Rejected. Coins are not looked at.

        Without `proof` its hash may be anything: a proposal (BIP23).
        """
        try:
            block = parse_block(self.params, raw)
        except BlockError as error:
            raise Rejected("decode", str(error)) from error
        known = self.entries.get(block.header.hash())
        if known is not None:
            raise Rejected("duplicate-invalid" if known.invalid else "duplicate")
        parent = self.entries.get(block.header.parent)
        if parent is None:
            raise Rejected("prev-blk-not-found")
        if parent.invalid:
            raise Rejected("bad-prevblk")
        median_s = self.median_s(parent)
        try:
            check_header(block.header, self.bits, median_s, now_s)
        except Rejected as rejected:
            if proof or rejected.word != "high-hash":
                raise
        check_block(self.params, block, parent.height + 1, median_s)
        return block, parent

    def propose(self, raw: bytes, now_s: int) -> None:
        """Judge a block on the tip without taking it (BIP23); raises Rejected."""
        block, parent = self.judge(raw, now_s, proof=False)
        if parent is not self.tip:
            raise Rejected("inconclusive-not-best-prevblk")
        self._spends(block, parent.height + 1)

    def accept(self, raw: bytes, now_s: int, changes: Changes) -> str | None:
        """Take a block; None when it is the tip now, `inconclusive` for a branch; else Rejected."""
        block, parent = self.judge(raw, now_s)
        entry = self.add_entry(
            block.header, parent, len(block.transactions), len(raw), arrival=len(self.entries)
        )
        changes.entries[entry.hash] = entry
        changes.bodies[entry.hash] = raw
        if entry.work > self.tip.work:
            rejected = self._move_to(entry, changes)
            if rejected is not None:
                raise rejected
        return None if self.is_active(entry) else "inconclusive"

    def invalidate(self, entry: Entry, changes: Changes) -> None:
        """Leave a block and all that builds on it, by hand."""
        if entry.parent is None:
            raise Rejected("bad-prevblk", "the genesis cannot be invalidated")
        self._mark_invalid(entry, changes)
        self._move_to(self._best(), changes)

    def reconsider(self, entry: Entry, changes: Changes) -> None:
        """Take back the invalidity of a block, its ancestors and its descendants."""
        for other in self.entries.values():
            if other.invalid and (descends(other, entry) or descends(entry, other)):
                other.invalid = False
                changes.entries[other.hash] = other
        self._move_to(self._best(), changes)

    def tips(self) -> Iterator[tuple[Entry, int, str]]:
        """Ends of all branches: entry, length of the branch beside the main chain, status."""
        parents = {entry.parent.hash for entry in self.entries.values() if entry.parent}
        for entry in self.entries.values():
            if entry.hash in parents and entry is not self.tip:
                continue
            if entry is self.tip:
                yield entry, 0, "active"
            else:
                fork = self.fork_of(entry)
                status = "invalid" if entry.invalid else "valid-fork"
                yield entry, entry.height - fork.height, status

    def fork_of(self, entry: Entry) -> Entry:
        """Last block of the main chain that `entry` builds on."""
        step = entry
        while not self.is_active(step):
            step = _parent(step)
        return step

    def block_at(self, entry: Entry) -> Block:
        """The whole block, parsed."""
        return parse_block(self.params, self.bodies.block(entry.hash))

    def _best(self) -> Entry:
        """The valid block with the most work; the first seen among equals."""
        return max(
            (entry for entry in self.entries.values() if not entry.invalid),
            key=lambda entry: (entry.work, -entry.arrival),
        )

    def _mark_invalid(self, entry: Entry, changes: Changes) -> None:
        for other in self.entries.values():
            if not other.invalid and descends(other, entry):
                other.invalid = True
                changes.entries[other.hash] = other

    def _move_to(self, best: Entry, changes: Changes) -> Rejected | None:
        """Make `best` the tip; a block that fails on the way is marked, and the next best taken."""
        failure: Rejected | None = None
        while best is not self.tip:
            fork = self.fork_of(best)
            while self.tip is not fork:
                self._disconnect(changes)
            path = []
            step = best
            while step is not fork:
                path.append(step)
                step = _parent(step)
            try:
                for entry in reversed(path):
                    self._connect(entry, changes)
            except Rejected as rejected:
                failure = rejected
                self._mark_invalid(entry, changes)
                best = self._best()
        return failure

    def _connect(self, entry: Entry, changes: Changes) -> None:
        raw = changes.bodies.get(entry.hash) or self.bodies.block(entry.hash)
        block = parse_block(self.params, raw)
        spends = self._spends(block, entry.height)
        undo = []
        for position, tx in enumerate(block.transactions):
            txid = tx.txid()
            if position:
                spend = spends[position - 1]
                for txin, coin in zip(tx.inputs, spend.coins, strict=True):
                    undo.append(_pack_undo(txin.prevout, coin))
                    del self.coins[txin.prevout]
                    changes.coins[txin.prevout] = None
            for outpoint, coin in created(tx, txid, entry.height):
                self.coins[outpoint] = coin
                changes.coins[outpoint] = coin
            changes.located[txid] = (entry.hash, position)
        changes.undo[entry.hash] = b"".join(undo)
        changes.connected.append((entry, block, spends))
        self.active.append(entry)

    def _disconnect(self, changes: Changes) -> None:
        entry = self.active.pop()
        raw = changes.bodies.get(entry.hash) or self.bodies.block(entry.hash)
        undo = changes.undo.get(entry.hash)
        block = parse_block(self.params, raw)
        for tx in block.transactions:
            txid = tx.txid()
            changes.located[txid] = None
            for outpoint, _ in created(tx, txid, entry.height):
                # Gone already when a later transaction of the same block spent it.
                self.coins.pop(outpoint, None)
                changes.coins[outpoint] = None
        made_here = {tx.txid() for tx in block.transactions}
        for outpoint, coin in _unpack_undo(
            undo if undo is not None else self.bodies.undo(entry.hash)
        ):
            if outpoint.txid not in made_here:
                self.coins[outpoint] = coin
                changes.coins[outpoint] = coin
        changes.disconnected.append((entry, block))

    def _spends(self, block: Block, height: int) -> tuple[Spend, ...]:
        """Check a block's transactions against the coins at the tip; raises Rejected."""
        made: dict[OutPoint, Utxo] = {}
        gone: set[OutPoint] = set()
        view = ChainMap(made, self.coins)
        spends = []
        for position, tx in enumerate(block.transactions):
            if position:
                if any(txin.prevout in gone for txin in tx.inputs):
                    raise Rejected("bad-txns-inputs-missingorspent")
                seen = tx.wtxid() in self.verified
                maturity = self.params.coinbase_maturity
                spends.append(check_spend(tx, view, height, maturity, signatures=not seen))
                gone.update(txin.prevout for txin in tx.inputs)
            made.update(created(tx, tx.txid(), height))
        fees = sum(spend.fee for spend in spends)
        check_coinbase_value(self.params, block.coinbase, height, fees)
        return tuple(spends)


def created(tx: Tx, txid: bytes, height: int) -> Iterator[tuple[OutPoint, Utxo]]:
    """The coins that a transaction makes; what nobody can spend is none."""
    coinbase = tx.is_coinbase
    for index, out in enumerate(tx.outputs):
        if not is_op_return(out.script):
            yield OutPoint(txid, index), Utxo(out.value, out.script, height, coinbase)


def _parent(entry: Entry) -> Entry:
    if entry.parent is None:
        raise LookupError("the genesis has no parent")
    return entry.parent


def descends(entry: Entry, ancestor: Entry) -> bool:
    """Whether `entry` is `ancestor` or builds on it."""
    step: Entry | None = entry
    while step is not None and step.height > ancestor.height:
        step = step.parent
    return step is ancestor


def _pack_undo(outpoint: OutPoint, coin: Utxo) -> bytes:
    head = _UNDO.pack(
        outpoint.txid, outpoint.index, coin.value, coin.height, coin.coinbase, len(coin.script)
    )
    return head + coin.script


def _unpack_undo(data: bytes) -> Iterator[tuple[OutPoint, Utxo]]:
    offset = 0
    while offset < len(data):
        txid, index, value, height, coinbase, size = _UNDO.unpack_from(data, offset)
        offset += _UNDO.size
        yield OutPoint(txid, index), Utxo(value, data[offset : offset + size], height, coinbase)
        offset += size
