"""A final split names the archive that its window stands in."""

import sqlalchemy as sa
from alembic import op

from pithead.store import Hash32

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the hash; splits that were made before there was an archive have none."""
    op.add_column("splits", sa.Column("archive_hash", Hash32(), nullable=True))


def downgrade() -> None:
    """Remove the hash."""
    with op.batch_alter_table("splits") as table:
        table.drop_column("archive_hash")
