"""Answers for the ledger entries of payouts: what each step books, from the stored rows alone.

Pure and deterministic: the same rows give the same entry, so that posting again
after a crash finds it booked. PAYABLE -> HOLD at the hold, HOLD -> PAID when the
transaction is buried, and back to PAYABLE for what was not paid. The network fee
is borne by the fee book of the policy.

A foreign outgoing transaction is the pool's expense, never a miner's: what left
the wallet goes from the fee book to PAID without an owner, its fee to NETWORK_FEE.
Miners stay owed what they were owed before.
"""

from collections.abc import Iterable

from pithead.contracts.ledger_pb2 import (
    BOOK_FEE,
    BOOK_HOLD,
    BOOK_NETWORK_FEE,
    BOOK_PAID,
    BOOK_PAYABLE,
    Book,
    BookKind,
    Entry,
    Leg,
)
from pithead.payouts.records import Adoption, Attempt, Payment, Payout


def _leg(kind: "BookKind.ValueType", owner: str, amount: int) -> Leg:
    return Leg(book=Book(kind=kind, owner=owner), amount=amount)


def _moves(
    payments: Iterable[Payment], source: "BookKind.ValueType", target: "BookKind.ValueType"
) -> list[Leg]:
    legs = []
    for payment in payments:
        owner = str(payment.account)
        legs.append(_leg(source, owner, -payment.amount))
        legs.append(_leg(target, owner, payment.amount))
    return legs


def hold(payout: Payout) -> Entry:
    """Take every payment out of PAYABLE."""
    return Entry(
        id=f"hold/{payout.id}",
        coin=payout.coin,
        kind="hold",
        legs=_moves(payout.payments, BOOK_PAYABLE, BOOK_HOLD),
        memo=f"payout {payout.id}",
    )


def isolate(payout: Payout, payment: Payment) -> Entry:
    """Give back the hold of a payee that is left out."""
    return Entry(
        id=f"isolate/{payout.id}/{payment.account}",
        coin=payout.coin,
        kind="release",
        legs=_moves([payment], BOOK_HOLD, BOOK_PAYABLE),
        memo=f"payee left out of payout {payout.id}",
    )


def release(payout: Payout) -> Entry | None:
    """Give back the hold of all who were to be paid; None when nobody was."""
    if not payout.paid:
        return None
    return Entry(
        id=f"release/{payout.id}",
        coin=payout.coin,
        kind="release",
        legs=_moves(payout.paid, BOOK_HOLD, BOOK_PAYABLE),
        memo=f"payout {payout.id} was not made",
    )


def settle(payout: Payout, attempt: Attempt) -> Entry:
    """Book what the buried attempt paid, and its fee."""
    legs = _moves(payout.paid, BOOK_HOLD, BOOK_PAID)
    if attempt.fee:
        legs.append(_leg(BOOK_FEE, payout.fee_book, -attempt.fee))
        legs.append(_leg(BOOK_NETWORK_FEE, payout.fee_book, attempt.fee))
    return Entry(
        id=f"settle/{payout.id}",
        coin=payout.coin,
        kind="settle",
        legs=legs,
        memo=f"transaction {attempt.shown}",
    )


def adopt(adoption: Adoption) -> Entry | None:
    """Book a foreign transaction as the pool's expense; None when nothing left the wallet."""
    spent = adoption.amount + adoption.fee
    if not spent:
        return None
    legs = [_leg(BOOK_FEE, adoption.fee_book, -spent)]
    if adoption.amount:
        legs.append(_leg(BOOK_PAID, "", adoption.amount))
    if adoption.fee:
        legs.append(_leg(BOOK_NETWORK_FEE, adoption.fee_book, adoption.fee))
    return Entry(
        id=f"adopt/{adoption.coin}/{adoption.shown}",
        coin=adoption.coin,
        kind="adopt",
        legs=legs,
        memo=f"foreign transaction: {adoption.reason}",
    )
