"""Writes a pool's sealed heights into the archive, in order, some at a time.

The cells are read in one snapshot, made into bytes beside the loop, and written
in a transaction that holds nothing else. Earning cells of a sealed height never
change, so it does not matter when that is; whoever dies anywhere has written
whole heights or none, and the next process goes on behind them. Of two that
archive the same height one finds it done: both would have written the same.
"""

import asyncio
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.shares import metrics, schema
from pithead.shares.archive.book import (
    Archived,
    Head,
    empty_run,
    next_height,
    read_cells,
    read_head,
    seal_up,
    write,
)
from pithead.shares.archive.rows import HeightRows, Ids
from pithead.shares.locks import lock_pool
from pithead.shares.pools import Pool
from pithead.store import reading, transaction

RUN_MAX = 1000
"""Heights without cells in one row: its inner hashes are counted out whenever one is asked for."""

HEIGHTS_MAX = 64
CELLS_MAX = 50_000
"""Read in one step, but for a single height with more: some megabytes, a tenth of a second."""

Found = tuple[int, int, tuple[HeightRows, Ids] | None]
"""First height, last height, and what is in it; None for a run without cells."""


class Archiver:
    """Keeps one pool's archive behind its seals."""

    def __init__(self, engine: AsyncEngine, pool: Pool, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._pool = pool
        self._now_ms = now_ms

    async def step(self) -> int:
        """Archive what is sealed, at most HEIGHTS_MAX rows; return how many heights were."""
        async with reading(self._engine) as connection:
            table = schema.pools
            row = (await connection.execute(select(table).where(table.c.id == self._pool.id))).one()
            if row.first_height is None:
                return 0
            head = await read_head(connection, self._pool.id, row.first_height)
            found = await self._read(connection, head, row.sealed_height)
        # Told before the writing, so that a lag shows while that fails.
        lag = max(row.sealed_height - head.height, 0)
        metrics.ARCHIVE_LAG.labels(self._pool.name).set(lag)
        if not found:
            return 0
        made = await asyncio.to_thread(self._seal_up, head, found)
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool.id)
            if await read_head(connection, self._pool.id, row.first_height) != head:
                # Another process was quicker. How long a run without cells is depends on what was
                # sealed when it was read: one beside another's rows would leave a hole for ever.
                return 0
            await write(connection, self._pool.id, made, self._now_ms())
        reached = made[-1].last_height
        metrics.ARCHIVED_HEIGHT.labels(self._pool.name).set(reached)
        metrics.ARCHIVE_LAG.labels(self._pool.name).set(row.sealed_height - reached)
        return reached - head.height

    async def _read(
        self, connection: AsyncConnection, head: Head, sealed_height: int
    ) -> list[Found]:
        found: list[Found] = []
        height, cells = head.height + 1, 0
        while height <= sealed_height and len(found) < HEIGHTS_MAX and cells < CELLS_MAX:
            filled = await next_height(connection, self._pool.id, height)
            if filled == height:
                rows = await read_cells(connection, self._pool.id, height)
                found.append((height, height, rows))
                cells += len(rows[0])
            else:
                last = sealed_height if filled is None else min(filled - 1, sealed_height)
                found.append((height, min(last, height + RUN_MAX - 1), None))
            height = found[-1][1] + 1
        return found

    def _seal_up(self, head: Head, found: list[Found]) -> list[Archived]:
        made: list[Archived] = []
        before = head.hash
        for first, last, rows in found:
            if rows is None:
                made.append(empty_run(self._pool.name, first, last, before))
            else:
                made.append(seal_up(self._pool.name, first, before, *rows))
            before = made[-1].hash
        return made
