"""Audited decisions: each leaves a row that says who, what, why and when.

Those of the processor itself are signed `accounting`. The others are asked for
by people; whoever lets them ask has checked who they are.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.shares import schema
from pithead.shares.locks import lock_all_pools, lock_pool
from pithead.shares.states import ProducerState, SegmentState
from pithead.store import add_up, insert_into, transaction

ACCOUNTING = "accounting"

REPLAY = "replay partition"
"""Action of a decision to read a partition again from its beginning."""

EXCHANGE = "follow another log"
"""Action of a decision to read another log from its beginning: it stands in the old one's place."""

SEAL_WITHOUT = "seal without regions"
"""Action of a decision to seal heights for which regions were waited long enough."""


class DecisionRefused(Exception):
    """Raised when there is nothing of the kind to decide; nothing was changed."""


async def record(
    connection: AsyncConnection, *, who: str, action: str, subject: str, reason: str, now_ms: int
) -> None:
    """Write one decision, in the transaction that carries it out."""
    await connection.execute(
        insert(schema.decisions).values(
            at_ms=now_ms, who=who, action=action, subject=subject, reason=reason
        )
    )


async def close_producer(
    engine: AsyncEngine, producer: bytes, *, who: str, reason: str, now_ms: int
) -> None:
    """Let seals no longer wait for a producer; what still comes of it is late, not lost."""
    table = schema.producers
    async with transaction(engine) as connection:
        pool = await connection.scalar(select(table.c.pool).where(table.c.producer == producer))
        if pool is None:
            raise DecisionRefused(f"producer {producer.hex()} is not known")
        await lock_pool(connection, pool)
        result = await connection.execute(
            update(table)
            .where(table.c.producer == producer, table.c.state == ProducerState.OPEN)
            .values(state=ProducerState.CLOSED)
        )
        if result.rowcount != 1:
            raise DecisionRefused(f"producer {producer.hex()} is not open")
        await record(
            connection,
            who=who,
            action="close producer",
            subject=producer.hex(),
            reason=reason,
            now_ms=now_ms,
        )


async def decide_segment(
    engine: AsyncEngine, segment: int, *, right: bool, who: str, reason: str, now_ms: int
) -> None:
    """Decide a Disputed segment: right ones earn from now on, others never.

    Its cells at heights that are sealed already count as late shares of the
    lowest unsealed height, so that no final window changes.
    """
    table = schema.segments
    async with transaction(engine) as connection:
        await lock_all_pools(connection)
        query = select(table).where(table.c.id == segment).with_for_update()
        row = (await connection.execute(query)).first()
        if row is None or row.state != SegmentState.DISPUTED:
            raise DecisionRefused(f"segment {segment} is not disputed")
        if right:
            await connection.execute(
                update(table).where(table.c.id == segment).values(state=SegmentState.SETTLED)
            )
            pools = await connection.execute(
                select(schema.pools).where(schema.pools.c.sealed_height.is_not(None))
            )
            for pool in pools.all():
                await _move_sealed_cells(connection, pool.id, segment, pool.sealed_height, now_ms)
        await record(
            connection,
            who=who,
            action="segment is right" if right else "segment is wrong",
            subject=f"{row.coin} {row.parent[::-1].hex()} height {row.height}",
            reason=reason,
            now_ms=now_ms,
        )


async def see_checks(
    engine: AsyncEngine, producer: bytes, *, who: str, reason: str, now_ms: int
) -> int:
    """Note that a person has judged a producer's failed checks; return how many.

    Nothing else changes: no share was credited or refused by a check.
    """
    table = schema.check_failures
    async with transaction(engine) as connection:
        result = await connection.execute(
            update(table)
            .where(table.c.producer == producer, table.c.seen.is_(False))
            .values(seen=True)
        )
        if not result.rowcount:
            raise DecisionRefused(f"producer {producer.hex()} has no failed check to be seen")
        await record(
            connection,
            who=who,
            action="checks are seen",
            subject=producer.hex(),
            reason=reason,
            now_ms=now_ms,
        )
    return int(result.rowcount)


async def _move_sealed_cells(
    connection: AsyncConnection, pool: int, segment: int, sealed_height: int, now_ms: int
) -> None:
    table = schema.cells
    sealed = (table.c.pool == pool, table.c.segment == segment, table.c.height <= sealed_height)
    rows = (await connection.execute(select(table).where(*sealed))).all()
    if not rows:
        return
    await connection.execute(delete(table).where(*sealed))
    counts_at = sealed_height + 1
    # What came in time and what came late of one minute are one cell there.
    moved: dict[tuple[int, int, int], dict[str, int]] = {}
    for row in rows:
        place = (row.minute, row.revision, row.account)
        before = moved.get(place, {"weight": 0, "shares": 0})
        moved[place] = {
            **row._mapping,
            "height": counts_at,
            "seal": counts_at,
            "weight": before["weight"] + row.weight,
            "shares": before["shares"] + row.shares,
        }
    names = next(iter(moved.values())).keys()
    await add_cells(connection, {name: [cell[name] for cell in moved.values()] for name in names})
    await open_late_seals(connection, pool, [counts_at], now_ms)
    await connection.execute(
        insert(schema.late_segments).values(pool=pool, segment=segment, counts_from=counts_at)
    )


async def add_cells(
    connection: AsyncConnection, columns: Mapping[str, int | Sequence[int]]
) -> None:
    """Add weights and shares to cells, each named once; columns as `store.add_up` takes them."""
    await add_up(connection, schema.cells, columns, ("weight", "shares"))


async def open_late_seals(
    connection: AsyncConnection, pool: int, seals: list[int], now_ms: int
) -> None:
    """Note that these seals hold late shares."""
    await connection.execute(
        insert_into(connection, schema.late_seals).on_conflict_do_nothing(),
        [{"pool": pool, "seal": seal, "counts_at": seal, "opened_ms": now_ms} for seal in seals],
    )
