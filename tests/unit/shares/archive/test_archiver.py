"""The archive behind the seals, and windows out of it against windows out of cells."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sqlalchemy import event, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares import schema
from pithead.shares.archive import archiver as archiver_module
from pithead.shares.archive.archiver import Archiver
from pithead.shares.archive.book import Archived, hash_at, walk
from pithead.shares.archive.rows import GENESIS, chain_hash, empty_hash
from pithead.shares.decisions import decide_segment
from pithead.shares.pools import Pool, register
from pithead.shares.query import NotArchived, WindowQuestion, read_seals, read_window
from pithead.store import open_store, reading, transaction
from pithead.store.migrate import migrate
from tests.support.accounting import Killed
from tests.support.archive import CELLS, FORKS, Cell, fill, old_pool, segment_id, unique
from tests.support.databases import DATABASES
from tests.support.schema import migrated_to
from tests.support.shares import COIN_SETTINGS, POOL, POOL_SETTINGS, make_store, parent

pytestmark = pytest.mark.databases

NOW_MS = 5
LAG = "pithead_accounting_archive_lag_heights"


async def archive_all(engine: AsyncEngine, pool: Pool) -> int:
    archiver = Archiver(engine, pool, lambda: NOW_MS)
    done = 0
    while step := await archiver.step():
        done += step
    return done


async def rows_of(engine: AsyncEngine, pool: Pool) -> list[Archived]:
    async with reading(engine) as connection:
        return [one async for one in walk(connection, pool.id)]


async def test_heights_are_archived_in_order_and_empty_ones_as_runs(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    assert await archive_all(engine, pool) == 0
    await fill(engine, pool.id, [Cell(1, 3, 0, 1, 1, 0, 5), Cell(2, 3, 1, 1, 1, 7, 5)])
    async with transaction(engine) as connection:
        await connection.execute(update(schema.pools).values(first_height=1, sealed_height=6))
    assert await archive_all(engine, pool) == 6
    found = await rows_of(engine, pool)
    assert [(one.first_height, one.last_height, one.cells) for one in found] == [
        (1, 2, 0),
        (3, 3, 1),
        (4, 6, 0),
    ]
    async with transaction(engine) as connection:
        await connection.execute(update(schema.pools).values(sealed_height=7))
    assert await archive_all(engine, pool) == 1
    async with reading(engine) as connection:
        hashes = [
            await hash_at(connection, pool.id, POOL, 1, height) for height in (0, 1, 2, 5, 7, 8)
        ]
        assert (await read_seals(connection, POOL)).archived_height == 7
    first = chain_hash(POOL, 1, GENESIS, b"")
    third = found[1].hash
    assert hashes[:4] == [
        GENESIS,
        first,
        chain_hash(POOL, 2, first, b""),
        empty_hash(POOL, 4, 5, third),
    ]
    assert hashes[4] not in {b"", third}
    assert hashes[5] == b""
    await engine.dispose()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE archives SET body = x'00'", "DELETE FROM archives"],
    ids=["update", "delete"],
)
async def test_the_database_itself_keeps_the_archive_as_it_is(
    tmp_path: Path, statement: str
) -> None:
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id, [Cell(1, 1, 0, 0, 1, 0, 5)], sealed_height=3)
    await archive_all(engine, pool)
    with pytest.raises(DBAPIError, match="append-only"):
        async with transaction(engine) as connection:
            await connection.execute(text(statement.replace("x'00'", "before")))
    await engine.dispose()


async def test_shares_of_a_disputed_segment_are_archived_where_they_count_once_it_is_right(
    tmp_path: Path,
) -> None:
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id, [Cell(1, 2, 2, 0, 1, 0, 5)], sealed_height=4)
    await archive_all(engine, pool)
    await decide_segment(engine, segment_id(2, 2), right=True, who="ann", reason="seen", now_ms=1)
    async with transaction(engine) as connection:
        await connection.execute(update(schema.pools).values(sealed_height=5))
    await archive_all(engine, pool)
    found = [one for one in await rows_of(engine, pool) if one.cells]
    assert [(one.first_height, one.rows().seal.tolist()) for one in found] == [(5, [5])]
    await engine.dispose()


async def test_an_archiver_killed_at_any_statement_leaves_whole_heights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "HEIGHTS_MAX", 2)
    cells = [Cell(1, height, 0, height, 1, 0, height) for height in range(1, 6)]
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id, cells, sealed_height=7)
    left = 0

    def die(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    event.listen(engine.sync_engine, "before_cursor_execute", die)
    event.listen(engine.sync_engine, "commit", die)
    kills = 0
    for statement in range(1, 60):
        left = statement
        try:
            if not await Archiver(engine, pool, lambda: NOW_MS).step():
                break
        except Killed:
            kills += 1
    event.remove(engine.sync_engine, "before_cursor_execute", die)
    event.remove(engine.sync_engine, "commit", die)
    assert kills > 5
    await archive_all(engine, pool)
    before = GENESIS
    height = 1
    for one in await rows_of(engine, pool):
        assert (one.first_height, one.before) == (height, before)
        before, height = one.hash, one.last_height + 1
    assert height == 8
    await engine.dispose()


async def test_the_lag_shows_while_the_archive_cannot_be_written(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id, [Cell(1, 2, 0, 0, 1, 0, 5)], sealed_height=5)

    def die(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO archives" in statement:
            raise Killed

    event.listen(engine.sync_engine, "before_cursor_execute", die)
    with pytest.raises(Killed):
        await Archiver(engine, pool, lambda: NOW_MS).step()
    event.remove(engine.sync_engine, "before_cursor_execute", die)
    assert REGISTRY.get_sample_value(LAG, {"pool": POOL}) == 5
    await archive_all(engine, pool)
    assert REGISTRY.get_sample_value(LAG, {"pool": POOL}) == 0
    await engine.dispose()


async def test_two_archivers_of_one_pool_write_one_chain(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    cells = [Cell(1, height, 0, height, 1, 0, height) for height in range(1, 6)]
    await fill(engine, pool.id, cells, sealed_height=7)
    await asyncio.gather(*(archive_all(engine, pool) for _ in range(3)))
    found = await rows_of(engine, pool)
    assert [one.first_height for one in found] == [1, 2, 3, 4, 5, 6]
    assert found[-1].last_height == 7
    await engine.dispose()


class Held(Archiver):
    """Waits between reading and writing."""

    has_read: asyncio.Event
    may_write: asyncio.Event

    async def _read(self, *args: Any) -> Any:
        found = await super()._read(*args)
        self.has_read.set()
        await self.may_write.wait()
        return found


async def test_an_archiver_that_was_overtaken_leaves_no_hole(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id, [Cell(1, 9, 0, 9, 1, 0, 9)], sealed_height=3)
    steps = []
    archivers = [Held(engine, pool, lambda: NOW_MS) for _ in range(2)]
    for archiver in archivers:
        archiver.has_read, archiver.may_write = asyncio.Event(), asyncio.Event()
        steps.append(asyncio.create_task(archiver.step()))
        await archiver.has_read.wait()
        # The second one finds more sealed, so its run without cells is longer.
        async with transaction(engine) as connection:
            await connection.execute(update(schema.pools).values(sealed_height=10))
    for archiver, step in zip(archivers, steps, strict=True):
        archiver.may_write.set()
        await step
    await archive_all(engine, pool)
    found = await rows_of(engine, pool)
    assert [(one.first_height, one.last_height) for one in found] == [
        (1, 3),
        (4, 8),
        (9, 9),
        (10, 10),
    ]
    await engine.dispose()


@pytest.mark.timeout(240)
@settings(max_examples=30, deadline=None)
@given(
    st.lists(CELLS, max_size=25),
    st.integers(1, 7),
    st.sampled_from(FORKS),
    st.integers(1, 60) | st.integers(1 << 62, 1 << 66),
)
def test_a_window_out_of_the_archive_is_that_out_of_the_cells(
    cells: list[Cell], height: int, fork: int, weight: int
) -> None:
    async def check(directory: Path) -> None:
        engine, pool = await make_store(directory)
        try:
            await fill(engine, pool.id, unique(cells), sealed_height=7)
            question = WindowQuestion(POOL, "pplns", height, parent(height, fork), weight)
            archived = WindowQuestion(
                POOL, "pplns", height, parent(height, fork), weight, archived=True
            )
            async with reading(engine) as connection:
                with pytest.raises(NotArchived):
                    await read_window(connection, archived)
            await archive_all(engine, pool)
            async with reading(engine) as connection:
                expected = await read_window(connection, question)
                assert await read_window(connection, archived) == expected
                assert len(expected.archive_hash) == 32
        finally:
            await engine.dispose()

    with DATABASES.example() as directory:
        asyncio.run(check(directory))


async def test_what_was_sealed_before_there_was_an_archive_is_archived_after_the_upgrade(
    tmp_path: Path,
) -> None:
    cells = [Cell(1 + n % 4, n, 0, n, 1 + n % 3, 0, 9) for n in range(1, 6)]
    url = await migrated_to(tmp_path, "pithead.shares", "0002")
    engine = open_store(url)
    await old_pool(engine)
    await fill(engine, 1, cells, sealed_height=7)
    await migrate(url, "pithead.shares")
    await migrate(url, "pithead.shares")
    (pool,) = await register(engine, [POOL_SETTINGS], [COIN_SETTINGS])
    assert await archive_all(engine, pool) == 7
    upgraded = [one.hash for one in await rows_of(engine, pool)]
    await engine.dispose()
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id, cells, sealed_height=7)
    await archive_all(engine, pool)
    assert [one.hash for one in await rows_of(engine, pool)] == upgraded
    await engine.dispose()


async def test_a_database_with_other_ids_archives_the_same(tmp_path: Path) -> None:
    cells = [
        Cell(1 + height % 4, height, 0, height, 1 + height % 3, 0, 9) for height in range(1, 6)
    ]
    heads = []
    for name, ids in (("a", {1: 1, 2: 2, 3: 3, 4: 4}), ("b", {1: 40, 2: 30, 3: 20, 4: 10})):
        (tmp_path / name).mkdir()
        engine, pool = await make_store(tmp_path / name)
        await fill(engine, pool.id, cells, sealed_height=7, account_ids=ids)
        await archive_all(engine, pool)
        heads.append([(one.hash, one.body) for one in await rows_of(engine, pool)])
        await engine.dispose()
    assert heads[0] == heads[1]
