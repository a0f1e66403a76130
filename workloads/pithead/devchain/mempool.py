"""Transactions that wait for a block, and the template that takes them.

The order of coming is kept, so that a parent always stands before its children. A transaction that
spends what another one here spends is refused, as litecoind does: there is no replacement. When the
chain moves, what joined it goes, what left it comes back, and what no longer fits is dropped.

Pure; knows the chain, no clock.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass

from pithead.coins.params import ChainParams
from pithead.coins.script import WITNESS_COMMITMENT_PREFIX, is_op_return, push
from pithead.coins.tx import OutPoint, Tx
from pithead.devchain.chain import Chain, created
from pithead.devchain.rules import Rejected, Spend, Utxo, check_spend, check_tx, is_final
from pithead.devchain.rules import witness_commitment as commitment_hash

FEE_RATE_MIN = 1
"""Base units per virtual byte below which a transaction is not taken."""

TRANSACTIONS_MAX = 20_000
TX_WEIGHT_MAX = 400_000

TEMPLATE_WEIGHT_RESERVE = 8_000
"""Header, counts, and a coinbase with room."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction in the mempool."""

    txid: bytes
    wtxid: bytes
    raw: bytes
    spend: Spend
    weight: int
    time_s: int

    @property
    def tx(self) -> Tx:
        """The transaction."""
        return self.spend.tx

    @property
    def vsize(self) -> int:
        """Virtual bytes."""
        return (self.weight + 3) // 4


class Mempool:
    """What waits, in order of coming."""

    def __init__(self, params: ChainParams) -> None:
        self.params = params
        self.waiting: dict[bytes, Waiting] = {}
        self.wtxids: set[bytes] = set()
        self.spent_by: dict[OutPoint, bytes] = {}
        self.made: dict[OutPoint, Utxo] = {}
        self.version = 0
        """Counts every change, for long polls."""

    def judge(
        self, chain: Chain, tx: Tx, time_s: int, *, verified: Set[bytes] = frozenset()
    ) -> Waiting:
        """Whether `tx` may come in; raises Rejected with litecoind's word.

        Signatures of wtxids in `verified` are not checked again.
        """
        if tx.is_coinbase:
            raise Rejected("coinbase")
        check_tx(tx)
        txid, weight = tx.txid(), tx.weight()
        if txid in self.waiting:
            raise Rejected("txn-already-in-mempool")
        if weight > TX_WEIGHT_MAX:
            raise Rejected("tx-size")
        dust = self.params.dust
        if any(out.value < dust and not is_op_return(out.script) for out in tx.outputs):
            raise Rejected("dust")
        height = chain.tip.height + 1
        if not is_final(tx, height, chain.median_s(chain.tip)):
            raise Rejected("non-final")
        if any(OutPoint(txid, index) in chain.coins for index in range(len(tx.outputs))):
            raise Rejected("txn-already-known")
        if any(txin.prevout in self.spent_by for txin in tx.inputs):
            raise Rejected("txn-mempool-conflict")
        view = ChainMap(self.made, chain.coins)
        wtxid = tx.wtxid()
        maturity = self.params.coinbase_maturity
        spend = check_spend(tx, view, height, maturity, signatures=wtxid not in verified)
        if spend.fee < (weight + 3) // 4 * FEE_RATE_MIN:
            raise Rejected("min relay fee not met", f"{spend.fee}")
        if len(self.waiting) >= TRANSACTIONS_MAX:
            raise Rejected("mempool full")
        return Waiting(txid, wtxid, tx.serialize(), spend, weight, time_s)

    def add(self, waiting: Waiting) -> None:
        """Take what `judge` gave."""
        self.waiting[waiting.txid] = waiting
        self.wtxids.add(waiting.wtxid)
        for txin in waiting.tx.inputs:
            self.spent_by[txin.prevout] = waiting.txid
        # Unconfirmed coins count as of the next block; as none of them is a coinbase, and relative
        # locks by height do not open at depth zero, their height matters to nobody else.
        self.made.update(created(waiting.tx, waiting.txid, 1 << 31))
        self.version += 1

    def settle(
        self, chain: Chain, back: Iterable[tuple[Tx, int]], joined: Callable[[bytes], bool]
    ) -> list[bytes]:
        """Fit to a chain that has moved; returns the txids that are no longer here.

        `back` are transactions that left the chain, with the time to give them; `joined` tells
        whether a txid is on it.
        """
        before = list(self.waiting.values())
        candidates = [*back, *((waiting.tx, waiting.time_s) for waiting in before)]
        self.waiting.clear()
        self.spent_by.clear()
        self.made.clear()
        verified = frozenset(self.wtxids)
        # In place: the chain reads the same set.
        self.wtxids.clear()
        for tx, time_s in candidates:
            if joined(tx.txid()):
                continue
            try:
                self.add(self.judge(chain, tx, time_s, verified=verified))
            except Rejected:
                # It conflicts with the chain now; that is what being dropped means here.
                continue
        self.version += 1
        return [waiting.txid for waiting in before if waiting.txid not in self.waiting]

    def chosen(self) -> Iterator[Waiting]:
        """What the next block takes, parents first, up to the weight limit."""
        left = self.params.block_weight_max - TEMPLATE_WEIGHT_RESERVE
        taken: set[bytes] = set()
        for waiting in self.waiting.values():
            parents = {txin.prevout.txid for txin in waiting.tx.inputs}
            if waiting.weight > left or any(
                parent in self.waiting and parent not in taken for parent in parents
            ):
                continue
            left -= waiting.weight
            taken.add(waiting.txid)
            yield waiting


def commitment_script(transactions: Iterable[Tx]) -> bytes:
    """The output script that commits to the witnesses of a block with these transactions."""
    commitment = commitment_hash(list(transactions), bytes(32))
    return WITNESS_COMMITMENT_PREFIX[:1] + push(WITNESS_COMMITMENT_PREFIX[2:] + commitment)
