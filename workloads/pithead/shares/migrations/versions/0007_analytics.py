"""Plans, positions and producers of analytics."""

import sqlalchemy as sa
from alembic import op

from pithead.store import JsonText

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; analytics begins with the oldest that the log still has."""
    op.create_table(
        "analytics_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("dropped_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_analytics_state"),
        sa.CheckConstraint("id = 1", name="ck_analytics_state_one"),
    )
    op.create_table(
        "analytics_positions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_analytics_positions"),
    )
    op.create_table(
        "analytics_producers",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("producer", sa.LargeBinary(16), nullable=False),
        sa.Column("top", sa.BigInteger(), nullable=False),
        sa.Column("gaps", JsonText, nullable=False),
        sa.PrimaryKeyConstraint("topic", "producer", name="pk_analytics_producers"),
    )
    op.create_table(
        "analytics_plans",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("content", JsonText, nullable=False),
        sa.PrimaryKeyConstraint("topic", name="pk_analytics_plans"),
    )
