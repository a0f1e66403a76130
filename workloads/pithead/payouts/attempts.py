"""Answers for whether a signed transaction may become an attempt of a payout (OneSpend).

Checked before it is stored and again before it is sent: it pays each payee
exactly, once, and nobody else but the wallet's change; its fee is what was asked
for; and it spends an output that every earlier attempt spends too, so that at
most one of them can ever confirm.

Pure: knows no wallet and no database.
"""

from collections import Counter
from collections.abc import Sequence
from functools import reduce

from pithead.coins.params import ChainParams
from pithead.coins.tx import OutPoint, Tx, TxError, parse_tx
from pithead.coins.wallet import SignedTx
from pithead.payouts.errors import OneSpendViolated
from pithead.payouts.records import Adoption, Attempt, Payout

FEE_SLACK_VBYTES = 16
"""A signature may turn out some bytes shorter than the fee was reckoned for."""


def common_inputs(attempts: Sequence[Attempt]) -> frozenset[OutPoint]:
    """Return the outputs that all attempts spend; empty without attempts."""
    if not attempts:
        return frozenset()
    return reduce(frozenset.intersection, (attempt.inputs for attempt in attempts))


def ordered(points: frozenset[OutPoint]) -> list[OutPoint]:
    """Return output points in one fixed order."""
    return sorted(points, key=lambda point: (point.txid, point.index))


def attempt_of(
    params: ChainParams, payout: Payout, signed: SignedTx, fee_rate: int, now_ms: int
) -> Attempt:
    """Return the next attempt of `payout`; raise OneSpendViolated when it must not be one."""
    attempt = Attempt(
        number=len(payout.attempts) + 1,
        txid=signed.txid,
        raw=signed.raw,
        fee=signed.fee,
        fee_rate=fee_rate,
        inputs=frozenset(signed.inputs),
        made_ms=now_ms,
    )
    tx = check_stored(payout, attempt)
    extra = sum(out.value for out in tx.outputs) - payout.amount
    if extra != signed.change:
        raise OneSpendViolated(
            payout.id,
            "outputs",
            f"its outputs leave {extra} base units for change, not {signed.change}",
        )
    limit = (tx.vsize() + FEE_SLACK_VBYTES) * fee_rate + params.dust
    if not 0 <= signed.fee <= limit:
        raise OneSpendViolated(
            payout.id, "fee", f"its fee of {signed.fee} base units is outside 0 .. {limit}"
        )
    if payout.attempts and not common_inputs(payout.attempts) & attempt.inputs:
        raise OneSpendViolated(
            payout.id, "disjoint", "a new attempt would not conflict with every earlier one"
        )
    return attempt


def check_stored(payout: Payout, attempt: Attempt) -> Tx:
    """Return the transaction of an attempt; raise OneSpendViolated when it is not this payout's."""
    try:
        tx = parse_tx(attempt.raw)
    except TxError as error:
        raise OneSpendViolated(payout.id, "bytes", f"its bytes are damaged: {error}") from error
    if tx.txid() != attempt.txid:
        raise OneSpendViolated(
            payout.id, "txid", f"its bytes have txid {tx.txid()[::-1].hex()}, not {attempt.shown}"
        )
    if frozenset(txin.prevout for txin in tx.inputs) != attempt.inputs:
        raise OneSpendViolated(payout.id, "inputs", "its bytes spend other outputs than recorded")
    due = Counter((payment.script, payment.amount) for payment in payout.paid)
    made = Counter((out.script, out.value) for out in tx.outputs)
    missing = due - made
    if missing or len(tx.outputs) > len(payout.paid) + 1:
        raise OneSpendViolated(
            payout.id,
            "outputs",
            f"it makes {len(tx.outputs)} outputs and misses {missing.total()} "
            f"of {len(payout.paid)} payments",
        )
    return tx


def is_dead(attempt: Attempt, confirmations: int, buried: Sequence[Adoption], depth: int) -> bool:
    """Return whether an attempt can never confirm.

    `confirmations` is the wallet's word, below zero when a conflict has that
    many; `buried` are foreign transactions that are on the chain at `depth`.
    """
    return confirmations <= -depth or any(attempt.inputs & other.inputs for other in buried)
