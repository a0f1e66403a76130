"""Indexes for the questions that are asked several times a second, however long the history."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index blocks by what is still to be done with them."""
    op.create_index("ix_blocks_coin_recheck", "blocks", ["coin", "recheck"])
    op.create_index("ix_blocks_pool_money_height", "blocks", ["pool", "money", "height"])
