"""Answers for who is paid next: a pure choice from balances, accounts and policy.

Payees who waited longest come first, so that nobody starves when more are due
than one transaction holds. A payee whose script cannot be paid is isolated by
name and never holds up the others.

Pure: knows no ledger, no wallet and no clock.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pithead.coins.address import address_of_script
from pithead.coins.params import ChainParams
from pithead.coins.payment import PAYMENT_WEIGHT_MAX, Coin, fee_of, select, weight_bound
from pithead.coins.script import p2wpkh
from pithead.coins.tx import TxOut
from pithead.payouts.records import Isolation, Payment

UNKNOWN = "the share processor knows no such account"


@dataclass(frozen=True, slots=True)
class Account:
    """Where an account is paid."""

    id: int
    login: str
    script: bytes


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is paid, those who waited longest first, and who cannot be."""

    payments: tuple[Payment, ...]
    isolated: tuple[Isolation, ...]
    cleared: tuple[int, ...]
    """Accounts that were isolated before and can be paid again."""
    waiting: int
    """Payees who are due but found no place in this transaction."""

    @property
    def amount(self) -> int:
        """Base units of all payments."""
        return sum(payment.amount for payment in self.payments)


def choose(
    params: ChainParams,
    payable: Mapping[int, int],
    accounts: Mapping[int, Account],
    *,
    threshold: int,
    payments_max: int,
    last_paid: Mapping[int, int],
    isolated: Mapping[int, Isolation],
) -> Choice:
    """Choose at most `payments_max` payees whose balance is at least threshold and dust.

    `payable` is base units by account; `last_paid` the time of an account's last
    payout, absent when there was none; `isolated` what earlier runs found.
    """
    least = max(threshold, params.dust, 1)
    due = sorted(
        (account for account, amount in payable.items() if amount >= least),
        key=lambda account: (last_paid.get(account, 0), account),
    )
    able: list[Account] = []
    faulty: list[Isolation] = []
    for number in due:
        account = accounts.get(number)
        fault = _fault(params, number, account, isolated.get(number))
        if fault is not None:
            faulty.append(fault)
        elif account is not None:
            able.append(account)
    chosen = able[:payments_max]
    payable_again = {account.id for account in able}
    return Choice(
        payments=tuple(
            Payment(account.id, account.login, account.script, payable[account.id])
            for account in chosen
        ),
        isolated=tuple(faulty),
        cleared=tuple(sorted(payable_again & isolated.keys())),
        waiting=len(able) - len(chosen),
    )


def _fault(
    params: ChainParams, number: int, account: Account | None, before: Isolation | None
) -> Isolation | None:
    """Return why the account cannot be paid, None when it can."""
    if account is None:
        return Isolation(number, b"", UNKNOWN, by_wallet=False)
    if address_of_script(params, account.script) is None:
        reason = f"script {account.script.hex()[:80] or '(empty)'} has no address on {params.key}"
        return Isolation(number, account.script, reason, by_wallet=False)
    if before is not None and before.by_wallet and before.script == account.script:
        return before
    return None


@dataclass(frozen=True, slots=True)
class Funds:
    """How far a wallet's coins reach. Amounts in base units, `need` with the fee."""

    payments: int
    """How many of the payments, from the first, one transaction can make."""
    have: int
    need: int
    """For the first payment alone."""
    most: int = 0
    """What one transaction can pay to the first payee alone; told when `payments` is 0."""
    used: int = 0
    """Coins that this takes."""


def reach(payments: Sequence[Payment], coins: Sequence[Coin], fee_rate: int) -> Funds:
    """Return how many of `payments`, from the first, one transaction of `coins` can make.

    The fee is bounded from above, so that building the transaction cannot fail
    for want of funds while the coins stay as they are.
    """
    change = TxOut(0, p2wpkh(bytes(20)))
    have = sum(coin.amount for coin in coins)

    def outputs(count: int) -> list[TxOut]:
        return [TxOut(payment.amount, payment.script) for payment in payments[:count]]

    def need(count: int) -> int:
        outs = outputs(count)
        return sum(out.value for out in outs) + fee_of(weight_bound(coins, outs), fee_rate)

    def fits(count: int) -> bool:
        outs = outputs(count)
        chosen = select(coins, None, outs, change, fee_rate)
        if chosen is None:
            if have < need(count):
                return False
            chosen = tuple(coins)
        return weight_bound(chosen, (*outs, change)) <= PAYMENT_WEIGHT_MAX

    # More payments never need less, so the border can be halved for.
    low, high = 0, len(payments)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    if low or not payments:
        return Funds(low, have, need(len(payments)))
    used, most = _most(payments[0], coins, change, fee_rate)
    first = outputs(1)
    fee = fee_of(weight_bound(coins[: max(used, 1)], first), fee_rate)
    return Funds(0, have, first[0].value + fee, most, used)


def _most(payment: Payment, coins: Sequence[Coin], change: TxOut, fee_rate: int) -> tuple[int, int]:
    """(coins, base units): the largest payment to one payee that a transaction can make.

    Takes coins in their order, largest first, while they bring more than they cost.
    """
    outs = [TxOut(payment.amount, payment.script), change]
    empty = weight_bound((), outs)
    weight, total, used = empty, 0, 0
    for coin in coins:
        own = weight_bound((coin,), outs) - empty
        # Four bytes more for the longest count of inputs that a transaction can have.
        if weight + own + 16 > PAYMENT_WEIGHT_MAX or coin.amount <= fee_of(own, fee_rate):
            break
        weight, total, used = weight + own, total + coin.amount, used + 1
    return used, min(payment.amount, total - fee_of(weight + 16, fee_rate))


def payout_id(coin: str, number: int, planned_ms: int, payments: tuple[Payment, ...]) -> str:
    """Return the name of a plan: `<coin>/<network>/<number>-<8 hex of its content>`.

    The content stands in the name so that a plan made again after the database was
    restored from a backup can never pass for the one that the ledger knows.
    """
    body = "\n".join(
        [f"{coin} {number} {planned_ms}"]
        + [f"{payment.account} {payment.amount} {payment.script.hex()}" for payment in payments]
    )
    return f"{coin}/{number}-{hashlib.sha256(body.encode()).hexdigest()[:8]}"
