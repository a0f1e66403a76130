"""In which order writers of accounting take their turns; no-ops but for the row on SQLite.

    registration  ->  pool row(s), by id  ->  producers  ->  books of a coin  ->  rows

Whoever writes a pool's producers, cells, seals or positions holds the pool's row
from the beginning of its transaction. What follows is taken only when it is needed,
and always in this order, so that no two writers wait for one another.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.shares import schema
from pithead.store import take_turns


async def lock_pool(connection: AsyncConnection, pool: int) -> None:
    """Be the only writer of a pool until the transaction ends."""
    table = schema.pools
    await connection.execute(select(table.c.id).where(table.c.id == pool).with_for_update())


async def lock_all_pools(connection: AsyncConnection) -> None:
    """Be the only writer of every pool, and let no new one begin."""
    await lock_registration(connection)
    table = schema.pools
    await connection.execute(select(table.c.id).order_by(table.c.id).with_for_update())


async def lock_registration(connection: AsyncConnection) -> None:
    """Be the only process that registers pools and slots."""
    await take_turns(connection, "shares/registration")


async def lock_producers(connection: AsyncConnection) -> None:
    """Be the only one to meet new producers: the first pool that does so owns one."""
    await take_turns(connection, "shares/producers")


async def lock_books(connection: AsyncConnection, coin: str) -> None:
    """Be the only one to give ids to accounts and segments of a coin."""
    await take_turns(connection, f"shares/books/{coin}")


async def lock_chain(connection: AsyncConnection, coin: str) -> None:
    """Be the only one to write what the nodes say of a coin's main chain; taken alone."""
    await take_turns(connection, f"shares/chain/{coin}")
