"""Answers for the values of a payout as the engine sees them: plan, payments, attempts.

Pure values; hashes are 32 bytes in internal order, amounts base units.
"""

from dataclasses import dataclass

from pithead.coins.tx import OutPoint
from pithead.payouts.states import State


@dataclass(frozen=True, slots=True)
class Payment:
    """What one payee gets of one payout."""

    account: int
    login: str
    script: bytes
    amount: int
    isolated: str | None = None
    """Why the payee is left out of the transaction."""
    returned: bool = False
    """The isolated payee's hold is known to be back in PAYABLE."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction of a payout; any of them may confirm, at most one can."""

    number: int
    txid: bytes
    raw: bytes
    fee: int
    fee_rate: int
    """Base units per virtual byte that it was built with."""
    inputs: frozenset[OutPoint]
    made_ms: int

    @property
    def shown(self) -> str:
        """The txid as block explorers show it."""
        return self.txid[::-1].hex()


@dataclass(frozen=True, slots=True)
class Payout:
    """One consolidated payment with all its attempts, oldest first."""

    id: str
    coin: str
    number: int
    wallet: str
    state: State
    fee_book: str
    planned_ms: int
    payments: tuple[Payment, ...]
    attempts: tuple[Attempt, ...] = ()
    buried: int | None = None
    confirmations: int = 0
    trouble: str = ""
    booked: bool = False
    version: int = 0
    """Of the stored row; a change is made only to the row as it was read."""

    @property
    def paid(self) -> tuple[Payment, ...]:
        """The payments that the transaction makes."""
        return tuple(payment for payment in self.payments if payment.isolated is None)

    @property
    def amount(self) -> int:
        """Base units that payees get."""
        return sum(payment.amount for payment in self.paid)

    @property
    def shown_attempt(self) -> Attempt | None:
        """The buried attempt, else the newest, else None."""
        for attempt in self.attempts:
            if attempt.number == self.buried:
                return attempt
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True)
class Adoption:
    """An outgoing transaction of the wallet that no payout made."""

    coin: str
    txid: bytes
    reason: str
    amount: int
    """Left the wallet, without the fee."""
    fee: int
    fee_book: str
    inputs: frozenset[OutPoint]
    booked: bool = False

    @property
    def shown(self) -> str:
        """The txid as block explorers show it."""
        return self.txid[::-1].hex()


@dataclass(frozen=True, slots=True)
class WalletRow:
    """What is remembered of a wallet."""

    coin: str
    wallet: str
    address: str | None = None
    script: bytes | None = None
    cursor: bytes | None = None
    planned_ms: int = 0
    trouble: str = ""
    baselined: bool = False
    """What the wallet had spent before its first payout is recorded."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """A payee that cannot be paid now."""

    account: int
    script: bytes
    reason: str
    by_wallet: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of payments and the sum of the buried ones, in base units."""

    pending: int
    confirmed: int
    amount: int
