"""How long raw rows stay: by the database's own TTL, or on an old one by dropping whole days.

A dropped day is noted first: on such a server rollups are counted from raw rows, so what
comes for that day afterwards can no longer be counted and is left out.
"""

from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares.analytics.plans import may_drop
from pithead.store import transaction
from pithead.store.columnar import Columnar

DAY_S = 86_400
RAW = ("shares", "rejects")


async def keep_days(door: Columnar, days: int) -> None:
    """Let the database itself drop raw rows after `days`; nothing to do on an old server."""
    if not door.server.modern:
        return
    for table in RAW:
        made = await door.query(
            "SELECT engine_full AS made FROM system.tables "
            "WHERE database = currentDatabase() AND name = {table}",
            {"table": table},
        )
        if f"TTL t + toIntervalDay({days})" not in str(made.rows()[0][0]):
            await door.command(f"ALTER TABLE {table} MODIFY TTL t + INTERVAL {days} DAY")


async def drop_old_days(engine: AsyncEngine, door: Columnar, days: int, now_s: int) -> None:
    """Drop the raw rows of days that ended more than `days` ago, on a server without TTL.

    Nothing is dropped while a plan is undone: it may bring rows of such days.
    """
    if door.server.modern:
        return
    first_kept_s = (now_s // DAY_S - days) * DAY_S
    partitions = await door.query(
        "SELECT DISTINCT table, partition AS day FROM system.parts "
        "WHERE database = currentDatabase() AND active AND table IN {raw} "
        "AND toUInt32(partition) < toYYYYMMDD(toDateTime({kept}, 'UTC')) ORDER BY table, day",
        {"raw": list(RAW), "kept": first_kept_s},
    )
    old = partitions.rows()
    if not old:
        return
    async with transaction(engine) as connection:
        if not await may_drop(connection, first_kept_s):
            return
    for table, day in old:
        await door.command(f"ALTER TABLE {table} DROP PARTITION {int(day)}")
