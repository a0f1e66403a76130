"""The first tables: wallets, payouts with payments and attempts, adopted transactions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _hash(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(32), nullable=nullable)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "wallets",
        _text("coin"),
        _text("wallet"),
        sa.Column("address", sa.Text()),
        sa.Column("script", sa.LargeBinary()),
        _hash("cursor", nullable=True),
        sa.Column("planned_ms", sa.BigInteger(), server_default="0", nullable=False),
        _text("trouble"),
        sa.Column("baseline_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("coin", "wallet", name="pk_wallets"),
    )
    _payouts()
    _attempts()
    op.create_table(
        "adopted",
        _text("coin"),
        _hash("txid"),
        _text("reason"),
        _number("amount"),
        _number("fee"),
        _text("fee_book"),
        _number("adopted_ms"),
        _number("booked_ms", nullable=True),
        sa.PrimaryKeyConstraint("coin", "txid", name="pk_adopted"),
        sa.CheckConstraint("amount >= 0 AND fee >= 0", name="ck_adopted_amount"),
    )
    op.create_table(
        "adopted_inputs",
        _text("coin"),
        _hash("spender"),
        _hash("txid"),
        _number("output"),
        sa.PrimaryKeyConstraint("coin", "spender", "txid", "output", name="pk_adopted_inputs"),
        sa.ForeignKeyConstraint(
            ["coin", "spender"],
            ["adopted.coin", "adopted.txid"],
            name="fk_adopted_inputs_coin_spender",
        ),
    )
    op.create_table(
        "isolated",
        _text("coin"),
        _number("account"),
        sa.Column("script", sa.LargeBinary(), nullable=False),
        _text("reason"),
        sa.Column("by_wallet", sa.Boolean(), nullable=False),
        _number("since_ms"),
        sa.PrimaryKeyConstraint("coin", "account", name="pk_isolated"),
    )


def _payouts() -> None:
    op.create_table(
        "payouts",
        _text("id"),
        _text("coin"),
        _number("number"),
        _text("wallet"),
        _text("state"),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        _text("fee_book"),
        _number("planned_ms"),
        _number("changed_ms"),
        sa.Column("buried", sa.Integer()),
        sa.Column("confirmations", sa.Integer(), server_default="0", nullable=False),
        _text("trouble"),
        _number("booked_ms", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_payouts"),
        sa.UniqueConstraint("coin", "number", name="uq_payouts_coin_number"),
        sa.CheckConstraint(
            "state IN ('planned', 'held', 'signed', 'broadcast', 'buried', 'released')",
            name="ck_payouts_state",
        ),
        sa.CheckConstraint("(state = 'buried') = (buried IS NOT NULL)", name="ck_payouts_buried"),
        sa.CheckConstraint(
            "booked_ms IS NULL OR state IN ('buried', 'released')", name="ck_payouts_booked"
        ),
    )
    op.create_index(
        "uq_payouts_open",
        "payouts",
        ["coin"],
        unique=True,
        sqlite_where=sa.text("booked_ms IS NULL"),
        postgresql_where=sa.text("booked_ms IS NULL"),
    )
    op.create_table(
        "payments",
        _text("payout"),
        _number("account"),
        _text("login"),
        sa.Column("script", sa.LargeBinary(), nullable=False),
        _number("amount"),
        sa.Column("isolated", sa.Text()),
        sa.Column("returned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("payout", "account", name="pk_payments"),
        sa.ForeignKeyConstraint(["payout"], ["payouts.id"], name="fk_payments_payout"),
        sa.CheckConstraint("amount > 0", name="ck_payments_amount"),
    )
    op.create_index("ix_payments_account", "payments", ["account"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        _text("payout"),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        _hash("txid"),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        _number("fee"),
        _number("fee_rate"),
        _number("made_ms"),
        sa.PrimaryKeyConstraint("payout", "number", name="pk_attempts"),
        sa.ForeignKeyConstraint(["payout"], ["payouts.id"], name="fk_attempts_payout"),
        sa.UniqueConstraint("txid", name="uq_attempts_txid"),
        sa.CheckConstraint("number > 0", name="ck_attempts_number"),
        sa.CheckConstraint("fee >= 0", name="ck_attempts_fee"),
    )
    op.create_table(
        "attempt_inputs",
        _text("payout"),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        _hash("txid"),
        _number("output"),
        sa.PrimaryKeyConstraint("payout", "number", "txid", "output", name="pk_attempt_inputs"),
        sa.ForeignKeyConstraint(
            ["payout", "number"],
            ["attempts.payout", "attempts.number"],
            name="fk_attempt_inputs_payout_number",
        ),
    )
    op.create_index("ix_attempt_inputs_txid_output", "attempt_inputs", ["txid", "output"])
