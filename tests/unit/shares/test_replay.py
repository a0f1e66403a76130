"""A database built again from the log or the archive is the one that was lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.log.columns import SOLVED
from pithead.shares import schema
from pithead.shares.audit import audit_pools
from pithead.shares.decisions import decide_segment
from pithead.shares.query import WindowAnswer, WindowQuestion, read_window
from pithead.shares.replay import Replayed, ReplayRefused, replay
from pithead.shares.states import SegmentState
from pithead.store import open_store, reading, transaction
from tests.support.accounting import Bench
from tests.support.databases import DATABASES
from tests.support.shares import (
    POOL,
    Share,
    address,
    make_batch,
    parent,
    payload,
    producer_id,
)
from tests.unit.shares.test_audit import archive, compact, make, mined, tamper, truncate

pytestmark = pytest.mark.databases


@asynccontextmanager
async def empty(directory: Path) -> AsyncIterator[AsyncEngine]:
    place = directory / "built"
    place.mkdir()
    engine = open_store(await DATABASES.migrated(place, "shares"))
    try:
        yield engine
    finally:
        await engine.dispose()


async def build(bench: Bench, target: AsyncEngine, *, from_archive: bool = False) -> Replayed:
    (done,) = await replay(bench.engine, bench.log, target, from_archive=from_archive, now_ms=1)
    return done


async def windows(engine: AsyncEngine) -> list[WindowAnswer]:
    async with reading(engine) as connection:
        return [
            await read_window(
                connection,
                WindowQuestion(POOL, scheme, height, parent(height), 20, archived=archived),
            )
            for scheme in ("pplns", "solo")
            for height in (22, 25)
            for archived in (False, True)
        ]


async def eventful(bench: Bench) -> None:
    """A pool with late shares, rejects, sessions, repeated and missing batches, and a dispute."""
    await mined(bench, range(20, 25))
    fork = [Share(3, 24, weight=8, fork=1), Share(1, 24, weight=2, fork=1, slot=1)]
    await bench.write("eu-2", payload(make_batch(producer_id(4), 0, fork, promise=23, end=True)))
    await mined(bench, range(25, 28), first=5)
    late = [Share(3, 21, weight=9)]
    batch = make_batch(
        producer_id(2),
        3,
        late,
        promise=20,
        rejects=[(address(1), 2, 5), (address(9), 1, 3)],
        sessions=[(b"\0abcd", 3)],
    )
    batch.flags[0] = SOLVED
    for partition in ("eu-1", "eu-2", "eu-1"):
        await bench.write(partition, payload(batch))
    await bench.consumer.poll()
    async with transaction(bench.engine) as connection:
        disputed = await connection.scalar(
            select(schema.segments.c.id).where(schema.segments.c.parent == parent(24, 1))
        )
        await connection.execute(
            schema.segments.update()
            .where(schema.segments.c.id == disputed)
            .values(state=SegmentState.DISPUTED)
        )
    assert disputed is not None
    await archive(bench)
    await decide_segment(bench.engine, disputed, right=True, who="a", reason="b", now_ms=1)
    async with reading(bench.engine) as connection:
        assert await connection.scalar(select(schema.late_segments.c.counts_from)) == 26
    await archive(bench)


async def test_the_log_gives_identical_tables(tmp_path: Path) -> None:
    async with await make(tmp_path) as bench, empty(tmp_path) as target:
        await eventful(bench)
        async with reading(bench.engine) as connection:
            assert await connection.scalar(select(schema.finds.c.solved)) == 1
        await compact(bench)
        before = await windows(bench.engine)
        done = await build(bench, target)
        assert (done.source, done.differences, done.copied) == ("log", [], [])
        assert done.archived_height == 25
        assert await windows(target) == before
        (audit,) = await audit_pools(target, bench.log)
        assert (audit.cells, audit.archive, audit.lost) == ([], [], 0)
        with pytest.raises(ReplayRefused, match="not empty"):
            await build(bench, target)


async def test_the_archive_gives_identical_tables_where_the_log_ends(tmp_path: Path) -> None:
    async with await make(tmp_path) as bench, empty(tmp_path) as target:
        await eventful(bench)
        await compact(bench)
        await truncate(bench)
        before = await windows(bench.engine)
        done = await build(bench, target)
        assert (done.source, done.differences) == ("archive", [])
        assert "cells that are in no archive" in done.copied[0]
        assert await windows(target) == before
        # A pool goes on in it: the next ids are free, and no batch counts twice.
        (audit,) = await audit_pools(target, bench.log)
        assert (audit.cells, audit.archive) == ([], [])


async def test_a_block_that_was_counted_too_often_is_named_by_what_the_log_gives(
    tmp_path: Path,
) -> None:
    async with await make(tmp_path) as bench, empty(tmp_path) as target:
        await eventful(bench)
        async with transaction(bench.engine) as connection:
            await connection.execute(schema.finds.update().values(solved=2))
        (difference,) = (await build(bench, target)).differences
        assert difference.startswith("solved shares of ")
        assert difference.endswith("built 1, was 2")


async def test_a_falsified_cell_is_named_by_what_is_built(tmp_path: Path) -> None:
    async with await make(tmp_path) as bench, empty(tmp_path) as target:
        await mined(bench, range(20, 28))
        await archive(bench)
        await tamper(
            bench.engine, "cells", "UPDATE cells SET weight = 99 WHERE height = 22 AND account = 1"
        )
        done = await build(bench, target, from_archive=True)
        (difference,) = done.differences
        assert "height=22" in difference
        assert "built (3, 1), was (99, 1)" in difference
