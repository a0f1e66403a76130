"""How far windows reach, and how far cells are merged over minutes."""

import sqlalchemy as sa
from alembic import op

from pithead.store import WideInt

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; nothing is merged before rewards has told how far windows reach."""
    op.create_table(
        "window_bounds",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scheme", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("weight", WideInt(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "scheme", name="pk_window_bounds"),
    )
    op.create_table(
        "compactions",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", name="pk_compactions"),
    )


def downgrade() -> None:
    """Remove the tables; refused once minutes were merged, as older code reads them."""
    merged = op.get_bind().scalar(sa.text("SELECT count(*) FROM compactions"))
    if merged:
        raise RuntimeError("minutes of old cells are merged; an older version would misread them")
    op.drop_table("compactions")
    op.drop_table("window_bounds")
