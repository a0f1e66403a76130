"""Positions in the block log name the log that they belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the name; until now there were only logs of chunk files."""
    op.add_column(
        "log_positions", sa.Column("log", sa.Text(), nullable=False, server_default="file")
    )
    with op.batch_alter_table("log_positions") as table:
        table.alter_column("log", server_default=None)


def downgrade() -> None:
    """Remove the name; positions of another log than files mean nothing then."""
    op.execute("DELETE FROM log_positions WHERE log <> 'file'")
    with op.batch_alter_table("log_positions") as table:
        table.drop_column("log")
