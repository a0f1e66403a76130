"""The first tables of accounting, and triggers that keep decisions and seals as they are."""

import sqlalchemy as sa
from alembic import op

from pithead.store import BigId, Hash32, JsonText

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
    """Make all tables."""
    op.create_table(
        "pools",
        sa.Column("id", BigId, nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("first_height", sa.BigInteger(), nullable=True),
        sa.Column("sealed_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_pools"),
        sa.UniqueConstraint("pool", name="uq_pools_pool"),
    )
    op.create_table(
        "accounts",
        sa.Column("id", BigId, nullable=False),
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("script", sa.LargeBinary(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("coin", "key", name="uq_accounts_coin_key"),
    )
    op.create_table(
        "producers",
        sa.Column("producer", sa.LargeBinary(16), autoincrement=False, nullable=False),
        sa.Column("pool", sa.BigInteger(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("top", sa.BigInteger(), nullable=False),
        sa.Column("promise", sa.BigInteger(), nullable=False),
        sa.Column("promise_seen", sa.BigInteger(), nullable=False),
        sa.Column("end_seen", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("producer", name="pk_producers"),
    )
    op.create_index("ix_producers_pool_state", "producers", ["pool", "state"])
    op.create_table(
        "missing",
        sa.Column("producer", sa.LargeBinary(16), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("producer", "first", name="pk_missing"),
    )
    op.create_table(
        "positions",
        sa.Column("topic", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("partition", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_positions"),
    )
    op.create_table(
        "segments",
        sa.Column("id", BigId, nullable=False),
        sa.Column("coin", sa.Text(), nullable=False),
        sa.Column("parent", Hash32(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("bits", sa.BigInteger(), nullable=False),
        sa.Column("aux", JsonText(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
        sa.UniqueConstraint(
            "coin",
            "parent",
            "height",
            "bits",
            "aux",
            name="uq_segments_coin_parent_height_bits_aux",
        ),
    )
    op.create_index("ix_segments_coin_state", "segments", ["coin", "state"])
    op.create_table(
        "revisions",
        sa.Column("id", BigId, nullable=False),
        sa.Column("pool", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("effective_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revisions"),
        sa.UniqueConstraint(
            "pool", "slot", "effective_height", name="uq_revisions_pool_slot_effective_height"
        ),
    )
    op.create_table(
        "cells",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("height", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("segment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("minute", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("shares", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "pool", "height", "seal", "segment", "minute", "revision", "account", name="pk_cells"
        ),
        sa.CheckConstraint(
            "shares BETWEEN 1 AND 9223372036854775807", name=op.f("ck_cells_shares")
        ),
        sa.CheckConstraint(
            "weight BETWEEN 1 AND 9223372036854775807", name=op.f("ck_cells_weight")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_cells_segment", "cells", ["segment"])
    op.create_table(
        "sessions",
        sa.Column("producer", sa.LargeBinary(16), autoincrement=False, nullable=False),
        sa.Column("extranonce1", sa.LargeBinary(5), autoincrement=False, nullable=False),
        sa.Column("account", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("producer", "extranonce1", name="pk_sessions"),
    )
    op.create_table(
        "counters",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "account", "reason", name="pk_counters"),
        sa.CheckConstraint(
            "count BETWEEN 0 AND 9223372036854775807", name=op.f("ck_counters_count")
        ),
        sa.CheckConstraint(
            "weight BETWEEN 0 AND 9223372036854775807", name=op.f("ck_counters_weight")
        ),
    )
    op.create_table(
        "seals",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_height", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_height", sa.BigInteger(), nullable=False),
        sa.Column("sealed_ms", sa.BigInteger(), nullable=False),
        sa.Column("node_height", sa.BigInteger(), nullable=False),
        sa.Column("cut", JsonText(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "last_height", name="pk_seals"),
    )
    op.create_table(
        "late_seals",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("counts_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "seal", name="pk_late_seals"),
    )
    op.create_table(
        "late_segments",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("segment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("counts_from", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "segment", name="pk_late_segments"),
    )
    op.create_table(
        "set_aside",
        sa.Column("topic", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("partition", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "position", name="pk_set_aside"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", BigId, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
    )
    dialect = op.get_bind().dialect.name
    if dialect != "sqlite":
        op.execute(_REFUSE)
    for table in ("decisions", "seals", "late_seals", "late_segments", "set_aside"):
        _refuse_changes(dialect, table)
