"""When a wallet's history began to be watched."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; wallets that are known already have been watched from the beginning."""
    op.add_column("wallets", sa.Column("baseline_ms", sa.BigInteger()))
    op.execute("UPDATE wallets SET baseline_ms = 0")
