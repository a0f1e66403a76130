"""The archive in the database: cells into rows, rows into the table and out again.

Only cells of segments that earn are archived. Those of a disputed one stay where
they are until it is decided; a right one's count at a later height from then on,
and are archived there.
"""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.shares import schema
from pithead.shares.archive.rows import (
    FORMAT,
    GENESIS,
    Account,
    HeightRows,
    Ids,
    Names,
    Revision,
    Segment,
    canonical,
    chain_hash,
    compress,
    decode,
    decompress,
    empty_hash,
    encode,
    scheme_weights,
)
from pithead.shares.states import SegmentState

EARNING = (SegmentState.CONFIRMED, SegmentState.SETTLED)
"""States of segments whose cells count in windows."""

NO_HEIGHT = -1

_CELLS = schema.cells.c
_SEGMENTS = schema.segments.c
_ARCHIVES = schema.archives.c


@dataclass(frozen=True, slots=True)
class Head:
    """How far a pool is archived."""

    height: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Archived:
    """One row of the table: a height with cells, or a run of heights without."""

    first_height: int
    last_height: int
    before: bytes
    hash: bytes
    body: bytes
    """Compressed."""
    cells: int
    weights: dict[str, int]
    ids: Ids

    def rows(self) -> HeightRows:
        """The cells. ArchiveDamaged."""
        return decode(decompress(self.body))

    def hash_at(self, pool: str, height: int) -> bytes:
        """Hash of a height that the row holds."""
        if height == self.last_height:
            return self.hash
        return empty_hash(pool, self.first_height, height, self.before)


async def read_head(connection: AsyncConnection, pool: int, first_height: int) -> Head:
    """Where the next height is to be added; below `first_height` before the first one."""
    row = (
        await connection.execute(
            select(_ARCHIVES.last_height, _ARCHIVES.hash)
            .where(_ARCHIVES.pool == pool)
            .order_by(_ARCHIVES.first_height.desc())
            .limit(1)
        )
    ).first()
    return Head(row.last_height, row.hash) if row is not None else Head(first_height - 1, GENESIS)


async def read_archived(connection: AsyncConnection, pool: int, height: int) -> Archived | None:
    """The row that holds a height, None when it is not archived."""
    row = (
        await connection.execute(
            select(schema.archives)
            .where(_ARCHIVES.pool == pool, _ARCHIVES.first_height <= height)
            .order_by(_ARCHIVES.first_height.desc())
            .limit(1)
        )
    ).first()
    return archived(row) if row is not None and row.last_height >= height else None


async def walk(
    connection: AsyncConnection, pool: int, *, from_height: int = 0
) -> AsyncIterator[Archived]:
    """All rows of a pool in order, one in memory at a time; from the one that holds a height on."""
    below = from_height
    while True:
        row = (
            await connection.execute(
                select(schema.archives)
                .where(_ARCHIVES.pool == pool, _ARCHIVES.last_height >= below)
                .order_by(_ARCHIVES.first_height)
                .limit(1)
            )
        ).first()
        if row is None:
            return
        yield archived(row)
        below = row.last_height + 1


async def walk_down(
    connection: AsyncConnection, pool: int, height: int, scheme: str
) -> AsyncIterator[Archived]:
    """Rows with cells of a scheme, from a height downwards, one in memory at a time."""
    below = height + 1
    while True:
        rows = (
            await connection.execute(
                select(_ARCHIVES.first_height, _ARCHIVES.weights)
                .where(_ARCHIVES.pool == pool, _ARCHIVES.first_height < below, _ARCHIVES.cells > 0)
                .order_by(_ARCHIVES.first_height.desc())
                .limit(256)
            )
        ).all()
        if not rows:
            return
        for row in rows:
            if scheme in row.weights:
                found = await read_archived(connection, pool, row.first_height)
                if found is not None:
                    yield found
        below = rows[-1].first_height


def archived(row: Row[Any]) -> Archived:
    """The value of a row of the table."""
    return Archived(
        first_height=row.first_height,
        last_height=row.last_height,
        before=bytes(row.before),
        hash=bytes(row.hash),
        body=bytes(row.body),
        cells=row.cells,
        weights={scheme: int(weight) for scheme, weight in row.weights.items()},
        ids=Ids(*(tuple(row.ids[name]) for name in ("accounts", "revisions", "segments"))),
    )


async def hash_at(
    connection: AsyncConnection, pool: int, name: str, first_height: int | None, height: int
) -> bytes:
    """Hash of a height of a pool, empty while it is not archived."""
    if first_height is not None and height < first_height:
        # Nothing was counted before the pool's first height, nor ever will be.
        return GENESIS
    found = await read_archived(connection, pool, height)
    return found.hash_at(name, height) if found is not None else b""


async def compacted_height(connection: AsyncConnection, pool: int) -> int:
    """Height up to which cells may be merged over minutes; NO_HEIGHT when none are."""
    table = schema.compactions.c
    found: int | None = await connection.scalar(select(table.height).where(table.pool == pool))
    return NO_HEIGHT if found is None else found


async def next_height(connection: AsyncConnection, pool: int, start: int) -> int | None:
    """Lowest height from `start` on that has cells."""
    found: int | None = await connection.scalar(
        select(func.min(_CELLS.height)).where(_CELLS.pool == pool, _CELLS.height >= start)
    )
    return found


async def read_cells(connection: AsyncConnection, pool: int, height: int) -> tuple[HeightRows, Ids]:
    """Earning cells of a height in their canonical form."""
    joined = schema.cells.join(schema.segments, _CELLS.segment == _SEGMENTS.id)
    here = (_CELLS.pool == pool, _CELLS.height == height, _SEGMENTS.state.in_(EARNING))
    columns = (
        _CELLS.seal,
        _CELLS.segment,
        _CELLS.minute,
        _CELLS.revision,
        _CELLS.account,
        _CELLS.weight,
        _CELLS.shares,
    )
    rows = (await connection.execute(select(*columns).select_from(joined).where(*here))).all()
    cells = np.array([tuple(row) for row in rows], np.int64).reshape(-1, len(columns))
    accounts, revisions = schema.accounts, schema.revisions
    named = select(_CELLS.account).select_from(joined).where(*here).distinct()
    names = Names(
        accounts={
            row.id: account_of(row)
            for row in await connection.execute(select(accounts).where(accounts.c.id.in_(named)))
        },
        revisions={
            row.id: revision_of(row)
            for row in await connection.execute(select(revisions).where(revisions.c.pool == pool))
        },
        segments={
            row.id: segment_of(row)
            for row in await connection.execute(
                select(schema.segments).where(
                    _SEGMENTS.id.in_(select(_CELLS.segment).select_from(joined).where(*here))
                )
            )
        },
    )
    return canonical(cells, names)


def account_of(row: Any) -> Account:
    """An account by its row."""
    return Account(bytes(row.key), bytes(row.script), row.login)


def revision_of(row: Any) -> Revision:
    """A revision by its row."""
    return Revision(row.slot, row.effective_height, row.scheme, row.revision)


def segment_of(row: Any) -> Segment:
    """A segment by its row."""
    aux = json.dumps(row.aux, sort_keys=True, separators=(",", ":"))
    return Segment(bytes(row.parent), row.height, row.bits, aux)


def seal_up(pool: str, height: int, before: bytes, rows: HeightRows, ids: Ids) -> Archived:
    """What the table is to hold of a height."""
    body = encode(rows)
    return Archived(
        first_height=height,
        last_height=height,
        before=before,
        hash=chain_hash(pool, height, before, body),
        body=compress(body),
        cells=len(rows),
        weights=scheme_weights(rows),
        ids=ids,
    )


def empty_run(pool: str, first: int, last: int, before: bytes) -> Archived:
    """What the table is to hold of heights without cells."""
    reached = empty_hash(pool, first, last, before)
    return Archived(first, last, before, reached, b"", 0, {}, Ids((), (), ()))


async def write(
    connection: AsyncConnection, pool: int, made: Iterable[Archived], now_ms: int
) -> None:
    """Add heights behind the head; the caller holds the pool's lock and has looked at the head."""
    rows: Sequence[dict[str, Any]] = [
        {
            "pool": pool,
            "first_height": one.first_height,
            "last_height": one.last_height,
            "before": one.before,
            "hash": one.hash,
            "format": FORMAT,
            "cells": one.cells,
            "weights": {scheme: str(weight) for scheme, weight in one.weights.items()},
            "ids": {
                "accounts": one.ids.accounts,
                "revisions": one.ids.revisions,
                "segments": one.ids.segments,
            },
            "body": one.body,
            "archived_ms": now_ms,
        }
        for one in made
    ]
    if rows:
        await connection.execute(insert(schema.archives), rows)
