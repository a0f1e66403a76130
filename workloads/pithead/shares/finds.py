"""Counts credited shares that solved a block, in the transaction that books them."""

from collections import Counter

from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.shares import schema
from pithead.store import insert_into


async def add_finds(
    connection: AsyncConnection, pool: int, finds: Counter[tuple[int, int]]
) -> None:
    """Add counts by (segment id, account id). Blocks are rare, so most calls have none."""
    if not finds:
        return
    table = schema.finds
    statement = insert_into(connection, table)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["pool", "segment", "account"],
            set_={"solved": table.c.solved + statement.excluded.solved},
        ),
        [
            {"pool": pool, "segment": segment, "account": account, "solved": count}
            for (segment, account), count in sorted(finds.items())
        ],
    )
