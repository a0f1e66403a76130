"""Answers for the ways in which payouts stand still or refuse.

PayoutError
├── Standstill          something outside has to happen first; the text says what
│   ├── UnknownOutgoing     the wallet spent what no payout knows: adopt it
│   └── NeighbourAway       the ledger or the share processor does not answer
├── OneSpendViolated    a transaction is not what it must be; nothing is sent
├── BookRefused         the ledger refuses a hold: a balance fell
├── BookConflict        the ledger knows another entry under this name
└── AdoptRefused        this transaction cannot be adopted
"""

from collections.abc import Sequence


class PayoutError(Exception):
    """Base of all."""


class Standstill(PayoutError):
    """Raised when a coin's payouts cannot move on now; the text has the remedy."""


BOOKS_LOST = (
    ". Payouts have no books of this wallet: if they paid from it before, bring back their "
    "database and the ledger's instead, or miners are paid again"
)


class UnknownOutgoing(Standstill):
    """Raised when the wallet's history holds a spend that is neither a payout nor adopted."""

    def __init__(self, coin: str, wallet: str, txids: Sequence[bytes], *, met: bool = True) -> None:
        """`met` is false while payouts have never known the wallet's whole history."""
        self.txids = tuple(txids)
        first = txids[0][::-1].hex()
        more = f" (and {len(txids) - 1} more)" if len(txids) > 1 else ""
        super().__init__(
            f"wallet {wallet} of {coin} sent transaction {first}{more}, which no payout made; "
            f"nothing is paid until it is explained: `pithead payouts adopt {first}`"
            + ("" if met else BOOKS_LOST)
        )


class NeighbourAway(Standstill):
    """Raised when another service does not answer; the same call is made again later."""

    def __init__(self, service: str, reason: str) -> None:
        self.service = service
        super().__init__(f"the {service} service does not answer ({reason[:256]}); retrying")


class OneSpendViolated(PayoutError):
    """Raised when a transaction could pay twice or wrongly; it is neither stored nor sent."""

    def __init__(self, payout: str, cause: str, fault: str) -> None:
        self.payout = payout
        self.cause = cause
        super().__init__(f"payout {payout}: {fault}; nothing was sent")


class BookRefused(PayoutError):
    """Raised when a balance does not allow an entry; it was not booked."""


class BookConflict(PayoutError):
    """Raised when the ledger can never take an entry: its id is taken, or it is malformed."""


class AdoptRefused(PayoutError):
    """Raised when a transaction cannot be adopted; the text says why."""
