"""The archive of sealed heights, and triggers that keep it as it is."""

import sqlalchemy as sa
from alembic import op

from pithead.store import Hash32, JsonText

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; the service archives what was sealed before by itself."""
    op.create_table(
        "archives",
        sa.Column("pool", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_height", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_height", sa.BigInteger(), nullable=False),
        sa.Column("before", Hash32(), nullable=False),
        sa.Column("hash", Hash32(), nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("cells", sa.BigInteger(), nullable=False),
        sa.Column("weights", JsonText(), nullable=False),
        sa.Column("ids", JsonText(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("archived_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "first_height", name="pk_archives"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for word in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER archives_refuse_{word.lower()} BEFORE {word} ON archives "
                "BEGIN SELECT RAISE(ABORT, 'archives is append-only'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER archives_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON archives "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Remove the table; a later upgrade archives all anew, with the same hashes."""
    op.drop_table("archives")
