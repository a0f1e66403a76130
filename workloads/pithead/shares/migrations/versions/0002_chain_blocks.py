"""What the nodes say of the main chain, and of each segment its subsidy and doubts."""

import sqlalchemy as sa
from alembic import op

from pithead.store import Hash32

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUSE = """
CREATE FUNCTION refuse_settled_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a settled block of the chain never changes'; END $$
"""


def upgrade() -> None:
    """Make the table, and the triggers that keep settled rows as they are."""
    op.add_column("segments", sa.Column("subsidy", sa.BigInteger(), nullable=True))
    op.add_column("segments", sa.Column("doubt", sa.Text(), nullable=True))
    op.create_table(
        "chain_blocks",
        sa.Column("coin", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("height", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", Hash32, nullable=False),
        sa.Column("parent", Hash32, nullable=False),
        sa.Column("bits", sa.BigInteger(), nullable=False),
        sa.Column("subsidy", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=True),
        sa.Column("fees", sa.BigInteger(), nullable=True),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "height", name="pk_chain_blocks"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for word in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER chain_blocks_refuse_{word.lower()} BEFORE {word} "
                "ON chain_blocks WHEN old.settled "
                "BEGIN SELECT RAISE(ABORT, 'a settled block of the chain never changes'); END"
            )
        return
    op.execute(_REFUSE)
    op.execute(
        "CREATE TRIGGER chain_blocks_refuse_change BEFORE UPDATE OR DELETE ON chain_blocks "
        "FOR EACH ROW WHEN (OLD.settled) EXECUTE FUNCTION refuse_settled_change()"
    )
