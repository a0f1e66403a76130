"""Consensus of the devchain: what makes a header, a transaction and a block valid.

The rules are those of the Bitcoin family with a fixed target: SHA-256d proof of work, BIP34
heights, BIP113 lock times, BIP68 by height, BIP141 commitments and weight, P2PKH and P2WPKH
signatures. A failure raises Rejected with the word that litecoind uses (BIP22). There are no other
scripts, no relative lock times by clock, and no count of signature operations: weight bounds them.

Pure functions; the median time and the coins that a block spends come in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pithead.coins.block import Block, BlockHeader
from pithead.coins.hashing import sha256d, sha256d_pow
from pithead.coins.params import ChainParams
from pithead.coins.script import height_push, is_witness_commitment
from pithead.coins.sign import Bip143Common, input_fault
from pithead.coins.tx import OutPoint, Tx, TxOut, merkle_root
from pithead.coins.weight import bits_to_target

MONEY_MAX = 84_000_000 * 100_000_000
"""No amount and no sum of amounts is above it; Litecoin's figure."""

FUTURE_S_MAX = 2 * 60 * 60
"""A header's time may lead the clock by this."""

MEDIAN_SPAN = 11
"""Headers whose median time the next block has to pass."""

LOCKTIME_THRESHOLD = 500_000_000
"""Lock times below it are heights, above it Unix seconds."""

SCRIPT_SIG_BYTES = range(2, 101)
"""Sizes that a coinbase scriptSig may have."""

WITNESS_RESERVED_BYTES = 32
SEQUENCE_FINAL = 0xFFFFFFFF
_SEQUENCE_LOCK_DISABLED = 1 << 31
_SEQUENCE_LOCK_BY_TIME = 1 << 22
_SEQUENCE_LOCK_MASK = 0xFFFF


class Rejected(Exception):
    """Raised when a block or transaction breaks a rule; `word` is the node's answer (BIP22)."""

    def __init__(self, word: str, detail: str = "") -> None:
        self.word = word
        self.detail = detail
        super().__init__(f"{word} ({detail})" if detail else word)


@dataclass(frozen=True, slots=True)
class Utxo:
    """An unspent output with what its spending depends on."""

    value: int
    script: bytes
    height: int
    coinbase: bool

    @property
    def output(self) -> TxOut:
        """The output alone."""
        return TxOut(self.value, self.script)


@dataclass(frozen=True, slots=True)
class Spend:
    """A transaction whose inputs were checked: its fee and the coins that it spends, in order."""

    tx: Tx
    fee: int
    coins: tuple[Utxo, ...]


def check_header(header: BlockHeader, bits: int, parent_median_s: int, now_s: int) -> None:
    """Target, proof of work and time of a header on a known parent."""
    if header.bits != bits:
        raise Rejected("bad-diffbits", "incorrect proof of work")
    if sha256d_pow(header.serialize()) > bits_to_target(bits):
        raise Rejected("high-hash", "proof of work failed")
    if header.time <= parent_median_s:
        raise Rejected("time-too-old", "block's timestamp is too early")
    if header.time > now_s + FUTURE_S_MAX:
        raise Rejected("time-too-new", "block timestamp too far in the future")


def check_block(params: ChainParams, block: Block, height: int, parent_median_s: int) -> None:
    """All that can be told of a block without knowing coins."""
    txids = [tx.txid() for tx in block.transactions]
    if merkle_root(txids) != block.header.merkle_root:
        raise Rejected("bad-txnmrklroot", "hashMerkleRoot mismatch")
    if len(set(txids)) != len(txids):
        # Two equal transactions could give the root of another block (CVE-2012-2459).
        raise Rejected("bad-txns-duplicate", "duplicate transaction")
    for tx in block.transactions[1:]:
        if tx.is_coinbase:
            raise Rejected("bad-cb-multiple", "more than one coinbase")
        check_tx(tx)
    _check_amounts(block.coinbase)
    script_sig = block.coinbase.inputs[0].script_sig
    if len(script_sig) not in SCRIPT_SIG_BYTES:
        raise Rejected("bad-cb-length", f"scriptSig of {len(script_sig)} bytes")
    for tx in block.transactions:
        if not is_final(tx, height, parent_median_s):
            raise Rejected("bad-txns-nonfinal", "non-final transaction")
    if not script_sig.startswith(height_push(height)):
        raise Rejected("bad-cb-height", "block height mismatch in coinbase")
    _check_witnesses(block)
    weight = 4 * 80 + sum(tx.weight() for tx in block.transactions)
    if weight > params.block_weight_max:
        raise Rejected("bad-blk-weight", f"weight {weight}")


def check_tx(tx: Tx) -> None:
    """All that can be told of a transaction, other than a coinbase, without knowing coins."""
    if not tx.outputs:
        raise Rejected("bad-txns-vout-empty")
    _check_amounts(tx)
    spent = {txin.prevout for txin in tx.inputs}
    if len(spent) != len(tx.inputs):
        raise Rejected("bad-txns-inputs-duplicate")
    if any(prevout.txid == bytes(32) for prevout in spent):
        raise Rejected("bad-txns-prevout-null")


def is_final(tx: Tx, height: int, median_s: int) -> bool:
    """Whether `tx` may be in a block of `height` on a parent of that median time (BIP113)."""
    bound = height if tx.locktime < LOCKTIME_THRESHOLD else median_s
    return tx.locktime < bound or all(txin.sequence == SEQUENCE_FINAL for txin in tx.inputs)


def check_spend(
    tx: Tx,
    coins: Mapping[OutPoint, Utxo],
    height: int,
    maturity: int,
    *,
    signatures: bool = True,
) -> Spend:
    """Whether `tx` may spend what it does in a block of `height`; raises Rejected."""
    spent = _spent_coins(tx, coins)
    for txin, coin in zip(tx.inputs, spent, strict=True):
        if coin.coinbase and height - coin.height < maturity:
            raise Rejected(
                "bad-txns-premature-spend-of-coinbase",
                f"tried to spend coinbase at depth {height - coin.height}",
            )
        if tx.version >= 2 and not _relative_lock_open(txin.sequence, coin, height):
            raise Rejected("bad-txns-nonfinal", "contains a non-BIP68-final transaction")
    value_in = sum(coin.value for coin in spent)
    value_out = sum(out.value for out in tx.outputs)
    if value_in < value_out:
        raise Rejected("bad-txns-in-belowout", f"value in ({value_in}) < value out ({value_out})")
    if signatures:
        common = Bip143Common.of(tx)
        for index, coin in enumerate(spent):
            fault = input_fault(tx, index, coin.output, common)
            if fault is not None:
                raise Rejected("mandatory-script-verify-flag-failed", fault)
    return Spend(tx, value_in - value_out, spent)


def check_coinbase_value(params: ChainParams, coinbase: Tx, height: int, fees: int) -> None:
    """Whether the coinbase takes no more than subsidy and fees."""
    allowed = params.subsidy(height) + fees
    paid = sum(out.value for out in coinbase.outputs)
    if paid > allowed:
        raise Rejected(
            "bad-cb-amount", f"coinbase pays too much (actual={paid} vs limit={allowed})"
        )


def witness_commitment(transactions: Sequence[Tx], reserved: bytes) -> bytes:
    """What a block commits to (BIP141); `transactions` are all but the coinbase."""
    root = merkle_root([bytes(32), *(tx.wtxid() for tx in transactions)])
    return sha256d(root + reserved)


def _check_amounts(tx: Tx) -> None:
    total = 0
    for out in tx.outputs:
        total += out.value
        if out.value > MONEY_MAX:
            raise Rejected("bad-txns-vout-toolarge")
        if total > MONEY_MAX:
            raise Rejected("bad-txns-txouttotal-toolarge")


def _check_witnesses(block: Block) -> None:
    commitments = [
        out.script for out in block.coinbase.outputs if is_witness_commitment(out.script)
    ]
    if not commitments:
        if any(tx.has_witness for tx in block.transactions):
            raise Rejected("unexpected-witness", "witness data without a commitment")
        return
    witness = block.coinbase.inputs[0].witness
    if len(witness) != 1 or len(witness[0]) != WITNESS_RESERVED_BYTES:
        raise Rejected("bad-witness-nonce-size", "invalid witness reserved value size")
    # BIP141: the last of several counts.
    if commitments[-1][6:38] != witness_commitment(block.transactions[1:], witness[0]):
        raise Rejected("bad-witness-merkle-match", "witness merkle commitment mismatch")


def _spent_coins(tx: Tx, coins: Mapping[OutPoint, Utxo]) -> tuple[Utxo, ...]:
    spent = [coins.get(txin.prevout) for txin in tx.inputs]
    found = tuple(coin for coin in spent if coin is not None)
    if len(found) != len(spent):
        raise Rejected("bad-txns-inputs-missingorspent")
    return found


def _relative_lock_open(sequence: int, coin: Utxo, height: int) -> bool:
    if sequence & _SEQUENCE_LOCK_DISABLED:
        return True
    if sequence & _SEQUENCE_LOCK_BY_TIME:
        return False
    return height - coin.height >= sequence & _SEQUENCE_LOCK_MASK
