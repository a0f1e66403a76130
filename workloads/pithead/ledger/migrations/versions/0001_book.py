"""The first book: entries, legs, balances, and triggers that keep history as it is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%', TG_TABLE_NAME || ' is append-only'; END $$
"""


def _refuse_changes(dialect: str, table: str) -> None:
    if dialect == "sqlite":
        for word in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{word.lower()} BEFORE {word} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def upgrade() -> None:
    """Make the tables, their triggers, and the head of an empty book."""
    head = op.create_table(
        "head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_head"),
        sa.CheckConstraint("id = 1", name="ck_head_single"),
        sa.CheckConstraint("number >= 0", name="ck_head_number"),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "hash": bytes(32)}])
    op.create_table(
        "entries",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("booked_ms", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_entries"),
        sa.UniqueConstraint("id", name="uq_entries_id"),
        sa.CheckConstraint("number > 0", name="ck_entries_number"),
        sa.CheckConstraint("length(hash) = 32", name="ck_entries_hash"),
    )
    op.create_table(
        "legs",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", "kind", "owner", name="pk_legs"),
        sa.ForeignKeyConstraint(["number"], ["entries.number"], name="fk_legs_number"),
        sa.CheckConstraint("amount <> 0", name="ck_legs_amount"),
    )
    op.create_table(
        "books",
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "kind", "owner", name="pk_books"),
        sa.CheckConstraint("balance >= 0 OR kind IN ('CHAIN', 'FEE')", name="ck_books_balance"),
    )
    dialect = op.get_bind().dialect.name
    if dialect != "sqlite":
        op.execute(_REFUSE)
    for table in ("entries", "legs"):
        _refuse_changes(dialect, table)
