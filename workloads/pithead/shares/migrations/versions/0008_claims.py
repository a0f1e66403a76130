"""Who of several consumers reads which partitions."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, empty: the first consumer that comes claims everything."""
    op.create_table(
        "consumers",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "consumer", name="pk_consumers"),
    )
    op.create_table(
        "claims",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_claims"),
    )


def downgrade() -> None:
    """Remove the tables: one process alone may read a pool then."""
    op.drop_table("claims")
    op.drop_table("consumers")
