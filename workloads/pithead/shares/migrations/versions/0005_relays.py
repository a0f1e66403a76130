"""What the hub remembers of regions whose logs come by a relay."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, empty: until now every region wrote the hub's log."""
    op.create_table(
        "relay_streams",
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("pool", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.LargeBinary(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("told_ms", sa.BigInteger(), nullable=False),
        sa.Column("heard_ms", sa.BigInteger(), nullable=False),
        sa.Column("moved_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", "pool", name="pk_relay_streams"),
    )
    op.create_table(
        "relay_positions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("told_end", sa.BigInteger(), nullable=False),
        sa.Column("hub_log", sa.Text(), nullable=False),
        sa.Column("hub_position", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "region", "partition", name="pk_relay_positions"),
    )
    op.create_table(
        "relay_pairs",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hub_position", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "region", "partition", "position", name="pk_relay_pairs"),
    )
    op.create_table(
        "relay_producers",
        sa.Column("producer", sa.LargeBinary(16), autoincrement=False, nullable=False),
        sa.Column("pool", sa.BigInteger(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("producer", name="pk_relay_producers"),
    )


def downgrade() -> None:
    """Remove the tables: relays would then bring everything again, which is dropped as known."""
    for table in ("relay_producers", "relay_pairs", "relay_positions", "relay_streams"):
        op.drop_table(table)
