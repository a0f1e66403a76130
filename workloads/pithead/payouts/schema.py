"""Answers for the payouts' tables: plans, attempts, and what each transaction spends.

`open` is one per coin: a payout whose last booking in the ledger has not been
recorded yet. A decision is written here first (`state`), the ledger follows, and
`booked_ms` closes it; so the tables always say what is still owed to the ledger. Payouts and
attempts are never deleted: any attempt may confirm. `isolated` is a list of the
payees who cannot be paid now, and why.

Hashes are 32 bytes in internal order; amounts are base units.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pithead.store import Hash32, make_metadata

REVISION = "0001"
"""The migration that these tables are."""

METADATA = make_metadata()

WALLETS = Table(
    "wallets",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("wallet", Text, primary_key=True),
    # The receive address, for ever the same.
    Column("address", Text),
    Column("script", LargeBinary),
    # Up to where the wallet's history holds nothing unknown.
    Column("cursor", Hash32),
    Column("planned_ms", BigInteger, nullable=False, server_default="0"),
    Column("trouble", Text, nullable=False, default=""),
    # Since when every spend of the wallet must be explained; what was before is taken as known.
    Column("baseline_ms", BigInteger),
)

PAYOUTS = Table(
    "payouts",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("coin", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("wallet", Text, nullable=False),
    Column("state", Text, nullable=False),
    # Counts changes that matter to a decision; of two racing runs one wins.
    Column("version", BigInteger, nullable=False, server_default="0"),
    Column("fee_book", Text, nullable=False),
    Column("planned_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    # The attempt that was buried.
    Column("buried", Integer),
    Column("confirmations", Integer, nullable=False, server_default="0"),
    Column("trouble", Text, nullable=False, default=""),
    # When the ledger's last entry of this payout was known to be booked.
    Column("booked_ms", BigInteger),
    CheckConstraint(
        "state IN ('planned', 'held', 'signed', 'broadcast', 'buried', 'released')", name="state"
    ),
    CheckConstraint("(state = 'buried') = (buried IS NOT NULL)", name="buried"),
    CheckConstraint("booked_ms IS NULL OR state IN ('buried', 'released')", name="booked"),
    UniqueConstraint("coin", "number"),
    Index(
        "uq_payouts_open",
        "coin",
        unique=True,
        sqlite_where=text("booked_ms IS NULL"),
        postgresql_where=text("booked_ms IS NULL"),
    ),
)

PAYMENTS = Table(
    "payments",
    METADATA,
    Column("payout", Text, ForeignKey("payouts.id"), primary_key=True),
    Column("account", BigInteger, primary_key=True, autoincrement=False),
    Column("login", Text, nullable=False),
    Column("script", LargeBinary, nullable=False),
    Column("amount", BigInteger, nullable=False),
    # Why this payee is left out of the transaction; the hold goes back.
    Column("isolated", Text),
    Column("returned", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("amount > 0", name="amount"),
    Index(None, "account"),
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("payout", Text, ForeignKey("payouts.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("txid", Hash32, nullable=False, unique=True),
    Column("raw", LargeBinary, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("fee_rate", BigInteger, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    CheckConstraint("number > 0", name="number"),
    CheckConstraint("fee >= 0", name="fee"),
)

ATTEMPT_INPUTS = Table(
    "attempt_inputs",
    METADATA,
    Column("payout", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("txid", Hash32, primary_key=True),
    Column("output", BigInteger, primary_key=True, autoincrement=False),
    ForeignKeyConstraint(["payout", "number"], ["attempts.payout", "attempts.number"]),
    Index(None, "txid", "output"),
)

ADOPTED = Table(
    "adopted",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("txid", Hash32, primary_key=True),
    Column("reason", Text, nullable=False),
    # What left the wallet without the fee.
    Column("amount", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("fee_book", Text, nullable=False),
    Column("adopted_ms", BigInteger, nullable=False),
    # Set when the transaction is buried and the ledger has the expense.
    Column("booked_ms", BigInteger),
    CheckConstraint("amount >= 0 AND fee >= 0", name="amount"),
)

ADOPTED_INPUTS = Table(
    "adopted_inputs",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("spender", Hash32, primary_key=True),
    Column("txid", Hash32, primary_key=True),
    Column("output", BigInteger, primary_key=True, autoincrement=False),
    ForeignKeyConstraint(["coin", "spender"], ["adopted.coin", "adopted.txid"]),
)

ISOLATED = Table(
    "isolated",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("account", BigInteger, primary_key=True, autoincrement=False),
    # As it was when it was refused; another script gets another chance.
    Column("script", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    # The wallet refused it; otherwise we did, and judge anew at each plan.
    Column("by_wallet", Boolean, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)
