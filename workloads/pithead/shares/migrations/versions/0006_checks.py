"""What checks of samples found, and how many blocks accounts found."""

import sqlalchemy as sa
from alembic import op

from pithead.store import BigId

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Solved shares that were booked before are in no table: from the height
    above all that was booked, the counts are complete."""
    op.add_column("pools", sa.Column("finds_from", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE pools SET finds_from = "
        "(SELECT max(cells.height) + 1 FROM cells WHERE cells.pool = pools.id)"
    )
    op.create_table(
        "finds",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("segment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("solved", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "segment", "account", name="pk_finds"),
    )
    op.create_table(
        "checks",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("producer", sa.LargeBinary(16), autoincrement=False, nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("batches", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "producer", name="pk_checks"),
    )
    op.create_table(
        "check_failures",
        sa.Column("id", BigId, nullable=False),
        sa.Column("pool", sa.BigInteger(), nullable=False),
        sa.Column("producer", sa.LargeBinary(16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("share", sa.BigInteger(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_check_failures"),
    )
    op.create_index("ix_check_failures_pool_producer", "check_failures", ["pool", "producer"])
