"""Merges the minutes of old cells: one cell a segment, account, revision and seal.

Only heights that are archived and that no window can reach any more are merged,
lowest first, some accounts at a time. The height that is being merged is written
down in the transaction of its first merge, and from then on windows there are
read out of the archive, which has the minutes. So a window that reaches so far
back after all, that of an old block which is audited say, comes out the same
before, amid and after.

How far windows reach is told by rewards for each scheme. A scheme of which it was
not told, or whose window is not full yet, can reach everything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.shares import metrics, schema
from pithead.shares.archive.book import EARNING, NO_HEIGHT, next_height
from pithead.shares.locks import lock_pool
from pithead.shares.pools import Pool
from pithead.shares.query import pool_row
from pithead.shares.states import INT63_MAX
from pithead.store import insert_into, reading, transaction

ROWS_MAX = 5_000
"""Cells merged in one transaction: it holds the pool's row for some tens of milliseconds."""

ACCOUNTS_MAX = 2_000
HEIGHTS_AT_ONCE = 256

_CELLS = schema.cells.c
_SEGMENTS = schema.segments.c
_ARCHIVES = schema.archives.c


@dataclass(frozen=True, slots=True)
class _Place:
    """Where merging stands: all below `height`, and there accounts up to `account`."""

    height: int
    account: int


class Compactor:
    """Merges one pool's old minutes."""

    def __init__(self, engine: AsyncEngine, pool: Pool) -> None:
        self._engine = engine
        self._pool = pool

    async def step(self) -> int:
        """Merge at most ROWS_MAX cells; return how many accounts were looked at."""
        async with reading(self._engine) as connection:
            limit = await unreachable_height(connection, self._pool.id)
            if limit is None:
                return 0
            before = await _place(connection, self._pool.id)
            accounts = await self._accounts(connection, before)
            after = before
            if not accounts:
                height = await next_height(connection, self._pool.id, before.height + 1)
                if height is None or height > limit:
                    return 0
                after = _Place(height, 0)
                accounts = await self._accounts(connection, after)
        first, last = after.account, accounts[-1]
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool.id)
            if await _place(connection, self._pool.id) != before:
                # Another process has gone on meanwhile.
                return 0
            await self._merge(connection, after.height, first, last)
            await _move(connection, self._pool.id, _Place(after.height, last))
        metrics.COMPACTED_HEIGHT.labels(self._pool.name).set(after.height)
        return len(accounts)

    async def _accounts(self, connection: AsyncConnection, place: _Place) -> list[int]:
        """The next accounts of a height, so many that their cells are about ROWS_MAX."""
        rows = await connection.execute(
            select(_CELLS.account, func.count().label("cells"))
            .where(
                _CELLS.pool == self._pool.id,
                _CELLS.height == place.height,
                _CELLS.account > place.account,
            )
            .group_by(_CELLS.account)
            .order_by(_CELLS.account)
            .limit(ACCOUNTS_MAX)
        )
        accounts: list[int] = []
        cells = 0
        for row in rows.all():
            cells += row.cells
            if accounts and cells > ROWS_MAX:
                break
            accounts.append(row.account)
        return accounts

    async def _merge(self, connection: AsyncConnection, height: int, first: int, last: int) -> None:
        # What is disputed is in no archive and moves as it is when it is decided.
        earning = select(_SEGMENTS.id).where(_SEGMENTS.state.in_(EARNING))
        here = (
            _CELLS.pool == self._pool.id,
            _CELLS.height == height,
            _CELLS.segment.in_(earning),
        )
        minutes = {
            (row[0], row[1]): row[2]
            for row in await connection.execute(
                select(_CELLS.seal, _CELLS.segment, func.min(_CELLS.minute))
                .where(*here)
                .group_by(_CELLS.seal, _CELLS.segment)
            )
        }
        some = (*here, _CELLS.account > first, _CELLS.account <= last)
        key = (_CELLS.seal, _CELLS.segment, _CELLS.revision, _CELLS.account, _CELLS.minute)
        query = select(schema.cells).where(*some).order_by(*key)
        rows = (await connection.execute(query)).all()
        standing = [dict(row._mapping) for row in rows]
        merged = merge(standing, minutes)
        if merged == standing:
            return
        await connection.execute(delete(schema.cells).where(*some))
        await connection.execute(insert(schema.cells), merged)


def merge(
    rows: Iterable[dict[str, Any]], minutes: Mapping[tuple[int, int], int]
) -> list[dict[str, Any]]:
    """Cells with the minutes of each (seal, segment) put together at the one of `minutes`.

    Cells whose sum would not fit 63 bits stay as they are.
    """
    groups: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["seal"], row["segment"], row["revision"], row["account"])
        groups.setdefault(key, []).append(row)
    merged: list[dict[str, Any]] = []
    for (seal, segment, _, _), parts in groups.items():
        sums = {name: sum(part[name] for part in parts) for name in ("weight", "shares")}
        if max(sums.values()) > INT63_MAX:
            merged += parts
        else:
            merged.append({**parts[0], **sums, "minute": minutes[seal, segment]})
    return merged


async def unreachable_height(connection: AsyncConnection, pool: int) -> int | None:
    """Highest archived height that no window of the pool's schemes reaches, None when all may."""
    revisions = schema.revisions.c
    schemes = set(
        await connection.scalars(select(revisions.scheme).where(revisions.pool == pool).distinct())
    )
    bounds = schema.window_bounds.c
    left = {
        row.scheme: row.weight
        for row in await connection.execute(select(schema.window_bounds).where(bounds.pool == pool))
        if row.scheme in schemes
    }
    if left.keys() != schemes:
        return None
    below = INT63_MAX
    while rows := (
        await connection.execute(
            select(_ARCHIVES.first_height, _ARCHIVES.weights)
            .where(_ARCHIVES.pool == pool, _ARCHIVES.first_height < below, _ARCHIVES.cells > 0)
            .order_by(_ARCHIVES.first_height.desc())
            .limit(HEIGHTS_AT_ONCE)
        )
    ).all():
        for row in rows:
            for scheme, weight in row.weights.items():
                left[scheme] = left.get(scheme, 0) - int(weight)
            if max(left.values(), default=0) <= 0:
                return int(row.first_height) - 1
        below = rows[-1].first_height
    return None


async def write_bounds(connection: AsyncConnection, pool: str, bounds: Mapping[str, int]) -> None:
    """Keep what rewards told of a pool's schemes. UnknownName."""
    row = await pool_row(connection, pool)
    table = schema.window_bounds
    statement = insert_into(connection, table)
    if bounds:
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["pool", "scheme"], set_={"weight": statement.excluded.weight}
            ),
            [
                {"pool": row.id, "scheme": scheme, "weight": weight}
                for scheme, weight in sorted(bounds.items())
            ],
        )


async def _place(connection: AsyncConnection, pool: int) -> _Place:
    table = schema.compactions.c
    row = (await connection.execute(select(schema.compactions).where(table.pool == pool))).first()
    return _Place(row.height, row.account) if row is not None else _Place(NO_HEIGHT, 0)


async def _move(connection: AsyncConnection, pool: int, place: _Place) -> None:
    statement = insert_into(connection, schema.compactions)
    await connection.execute(
        statement.values(
            pool=pool, height=place.height, account=place.account
        ).on_conflict_do_update(
            index_elements=["pool"],
            set_={"height": statement.excluded.height, "account": statement.excluded.account},
        )
    )
