"""The first tables: schemes, blocks, splits, planned entries and positions."""

import sqlalchemy as sa
from alembic import op

from pithead.store import WideInt

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%', TG_TABLE_NAME || ' keeps its history'; END $$
"""


def _refuse_changes(dialect: str, table: str, when: str = "") -> None:
    """Refuse UPDATE and DELETE of all rows of `table`, or of those that `when` names."""
    condition = f"WHEN {when}" if when else ""
    if dialect == "sqlite":
        for word in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{word.lower()} BEFORE {word} ON {table} "
                f"{condition} BEGIN SELECT RAISE(ABORT, '{table} keeps its history'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW {f'WHEN ({when})' if when else ''} EXECUTE FUNCTION refuse_change()"
    )


def upgrade() -> None:
    """Make the tables, and the triggers that keep slots, revisions and final splits."""
    op.create_table(
        "blocks",
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("parent", sa.LargeBinary(32), nullable=False),
        sa.Column("bits", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("producer", sa.LargeBinary(), nullable=False),
        sa.Column("extranonce1", sa.LargeBinary(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("found_ms", sa.BigInteger(), nullable=False),
        sa.Column("from_watcher", sa.Boolean(), nullable=False),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.Column("recheck", sa.Boolean(), nullable=False),
        sa.Column("money", sa.SmallInteger(), nullable=False),
        sa.Column("orphans", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "hash", name="pk_blocks"),
        sa.CheckConstraint("money BETWEEN 0 AND 3", name="ck_blocks_money"),
        sa.CheckConstraint("state BETWEEN 1 AND 4", name="ck_blocks_state"),
        sa.CheckConstraint("value >= 0", name="ck_blocks_value"),
    )
    op.create_index("ix_blocks_coin_state", "blocks", ["coin", "state"])
    op.create_index("ix_blocks_pool_height", "blocks", ["pool", "height"])
    op.create_index("ix_blocks_coin_recheck", "blocks", ["coin", "recheck"])
    op.create_index("ix_blocks_pool_money_height", "blocks", ["pool", "money", "height"])
    op.create_table(
        "log_positions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_log_positions"),
    )
    op.create_table(
        "payout_scripts",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("script", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "script", name="pk_payout_scripts"),
    )
    op.create_table(
        "schemes",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("coin", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "scheme", name="pk_schemes"),
        sa.CheckConstraint("slot BETWEEN 0 AND 255", name="ck_schemes_slot"),
        sa.UniqueConstraint("pool", "slot", name="uq_schemes_pool_slot"),
    )
    op.create_table(
        "watch_positions",
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("coin", name="pk_watch_positions"),
    )
    op.create_table(
        "block_bytes",
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "hash", name="pk_block_bytes"),
        sa.ForeignKeyConstraint(
            ["coin", "hash"], ["blocks.coin", "blocks.hash"], name="fk_block_bytes_coin_hash"
        ),
    )
    op.create_table(
        "revisions",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("effective_height", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("applied_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "scheme", "effective_height", name="pk_revisions"),
        sa.ForeignKeyConstraint(
            ["pool", "scheme"], ["schemes.pool", "schemes.scheme"], name="fk_revisions_pool_scheme"
        ),
    )
    op.create_table(
        "splits",
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("weight", WideInt(), nullable=False),
        sa.Column("group_weight", WideInt(), nullable=False),
        sa.Column("needed", WideInt(), nullable=False),
        sa.Column("filled", sa.Boolean(), nullable=False),
        sa.Column("groups", sa.BigInteger(), nullable=False),
        sa.Column("first_group", sa.Text(), nullable=False),
        sa.Column("last_group", sa.Text(), nullable=False),
        sa.Column("window_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("carried", sa.BigInteger(), nullable=False),
        sa.Column("fee", sa.BigInteger(), nullable=False),
        sa.Column("remainder", sa.BigInteger(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "hash", name="pk_splits"),
        sa.CheckConstraint("fee >= 0 AND remainder >= 0", name="ck_splits_parts"),
        sa.ForeignKeyConstraint(
            ["coin", "hash"], ["blocks.coin", "blocks.hash"], name="fk_splits_coin_hash"
        ),
    )
    op.create_table(
        "entries",
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("movement", sa.Text(), nullable=False),
        sa.Column("booked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "hash", "number", name="pk_entries"),
        sa.ForeignKeyConstraint(
            ["coin", "hash"], ["splits.coin", "splits.hash"], name="fk_entries_coin_hash"
        ),
        sa.UniqueConstraint("id", name="uq_entries_id"),
    )
    op.create_index("ix_entries_booked", "entries", ["booked"])
    op.create_table(
        "split_shares",
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("account", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("weight", WideInt(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "hash", "account", name="pk_split_shares"),
        sa.CheckConstraint("amount >= 0", name="ck_split_shares_amount"),
        sa.ForeignKeyConstraint(
            ["coin", "hash"], ["splits.coin", "splits.hash"], name="fk_split_shares_coin_hash"
        ),
    )
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute(_REFUSE)
    _refuse_changes(dialect, "schemes")
    _refuse_changes(dialect, "revisions")
    _refuse_changes(dialect, "splits", "OLD.final")


def downgrade() -> None:
    """Remove everything; only an empty installation can want this."""
    for table in (
        "split_shares",
        "entries",
        "splits",
        "revisions",
        "block_bytes",
        "watch_positions",
        "schemes",
        "payout_scripts",
        "log_positions",
        "blocks",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")
