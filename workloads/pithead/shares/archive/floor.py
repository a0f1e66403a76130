"""How far the archive lets the share log go.

A record is needed until every height that its shares count at is archived: then
the archive proves what the log no longer can. What was read before a seal is of
heights up to one above the tip of that moment. The tip is known of the moments at
which notes were taken, and the second note after a seal was taken when it was
written; so its node's height bounds the shares before the cut of that seal, but for
a block of which a region's nodes heard a moment earlier.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.topics import shares_topic
from pithead.shares import decisions, schema
from pithead.shares.retention import Floor
from pithead.store import reading

SEALS_MAX = 256
"""Newest seals looked at: a day of blocks. Older cuts would let go of less."""


AHEAD = 2
"""Heights above the hub's tip that shares can be of: the next block's, and one the hub has not
heard of yet."""


class Sealed(NamedTuple):
    """What a seal recorded."""

    node_height: int
    cut: dict[str, int]


def archive_floor(engine: AsyncEngine, pool: str) -> Floor:
    """Return the floor of a pool's archive, for the topic of its shares."""

    async def floor(topic: str, partition: str, _log: str) -> int | None:
        if topic != shares_topic(pool):
            return None
        async with reading(engine) as connection:
            row = (
                await connection.execute(select(schema.pools).where(schema.pools.c.pool == pool))
            ).first()
            if row is None:
                return None
            archives = schema.archives.c
            archived = await connection.scalar(
                select(func.max(archives.last_height)).where(archives.pool == row.id)
            )
            seals = await _seals(connection, row.id, topic)
        cut = archived_cut(seals, -1 if archived is None else archived)
        return cut.get(partition, 0)

    return floor


def archived_cut(seals: Sequence[Sealed], archived: int) -> dict[str, int]:
    """Positions, by partition, before which everything counts at archived heights. Pure.

    `seals` in their order.
    """
    found: dict[str, int] = {}
    for place, seal in enumerate(seals):
        later = sorted({one.node_height for one in seals[place:] if one.node_height})
        above = [height for height in later if height > seal.node_height]
        if len(above) < 2 or above[1] + AHEAD > archived:
            break
        found = dict(seal.cut)
    return found


async def _seals(connection: AsyncConnection, pool: int, topic: str) -> list[Sealed]:
    """The newest seals of the log that is there now."""
    table = schema.decisions.c
    exchanged_ms = await connection.scalar(
        select(func.max(table.at_ms)).where(
            table.action == decisions.EXCHANGE,
            table.subject.startswith(f"{topic}/", autoescape=True),
        )
    )
    seals = schema.seals.c
    rows = await connection.execute(
        select(seals.node_height, seals.cut)
        .where(seals.pool == pool, seals.sealed_ms > (exchanged_ms or -1))
        .order_by(seals.last_height.desc())
        .limit(SEALS_MAX)
    )
    return [Sealed(row.node_height, row.cut) for row in reversed(rows.all())]
