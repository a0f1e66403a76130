"""Merging old minutes: windows stay what they were, and what is killed leaves no half."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares import schema
from pithead.shares.archive import compactor as compactor_module
from pithead.shares.archive.archiver import Archiver
from pithead.shares.archive.compactor import Compactor, merge, unreachable_height, write_bounds
from pithead.shares.pools import Pool, register
from pithead.shares.query import UnknownName, WindowAnswer, WindowQuestion, read_window
from pithead.shares.states import INT63_MAX
from pithead.store import open_store, reading, transaction
from pithead.store.migrate import migrate
from tests.support.accounting import Killed
from tests.support.archive import CELLS, FORKS, Cell, fill, old_pool, unique
from tests.support.databases import DATABASES
from tests.support.schema import migrated_to
from tests.support.shares import COIN_SETTINGS, POOL, POOL_SETTINGS, make_store, parent

pytestmark = pytest.mark.databases


async def archive_all(engine: AsyncEngine, pool: Pool) -> None:
    archiver = Archiver(engine, pool, lambda: 0)
    while await archiver.step():
        pass


async def prepared(engine: AsyncEngine, pool: Pool, cells: list[Cell], bound: int) -> None:
    """Cells that are sealed and archived, and how far windows reach."""
    await fill(engine, pool.id, cells, sealed_height=7)
    await archive_all(engine, pool)
    async with transaction(engine) as connection:
        await write_bounds(connection, POOL, {"pplns": bound, "solo": bound})


async def compact(engine: AsyncEngine, pool: Pool) -> None:
    compactor = Compactor(engine, pool)
    while await compactor.step():
        pass


async def windows(engine: AsyncEngine, weights: tuple[int, ...]) -> list[WindowAnswer]:
    async with reading(engine) as connection:
        return [
            await read_window(
                connection, WindowQuestion(POOL, scheme, height, parent(height, fork), weight)
            )
            for scheme in ("pplns", "solo")
            for height in (2, 4, 6)
            for fork in FORKS[:2]
            for weight in weights
        ]


async def table(engine: AsyncEngine) -> list[tuple[int, ...]]:
    cells = schema.cells.c
    async with reading(engine) as connection:
        rows = await connection.execute(
            select(cells.height, cells.account, cells.minute, cells.weight, cells.shares).order_by(
                cells.height, cells.account, cells.minute
            )
        )
        return [tuple(row) for row in rows]


MINUTES = [
    Cell(1 + n % 2, n, 0, minute, 1, 0, 1 + minute) for n in range(1, 6) for minute in (3, 4, 7)
]


async def test_minutes_are_merged_where_no_window_reaches(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    cells = [*MINUTES, *(Cell(1, n, 0, 3, 3, 0, 20) for n in range(1, 6))]
    await prepared(engine, pool, cells, 30)
    before = await windows(engine, (1, 16, 30, 300))
    await compact(engine, pool)
    # Heights 5 and 4 fill each scheme's window; below them a cell a segment is left.
    assert [row for row in await table(engine) if row[0] in {3, 4}] == [
        (3, 1, 3, 20, 1),
        (3, 2, 3, 17, 3),
        (4, 1, 3, 4, 1),
        (4, 1, 3, 20, 1),
        (4, 1, 4, 5, 1),
        (4, 1, 7, 8, 1),
    ]
    assert await windows(engine, (1, 16, 30, 300)) == before
    await engine.dispose()


async def test_a_scheme_that_is_not_known_or_not_full_keeps_all_minutes(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    await prepared(engine, pool, MINUTES, 1)
    async with reading(engine) as connection:
        # Nobody mined by the scheme of slot 1: its window is not full.
        assert await unreachable_height(connection, pool.id) is None
    async with transaction(engine) as connection:
        await connection.execute(schema.window_bounds.delete())
        await write_bounds(connection, POOL, {"pplns": 1})
        with pytest.raises(UnknownName):
            await write_bounds(connection, "nobody", {"pplns": 1})
    before = await table(engine)
    await compact(engine, pool)
    assert await table(engine) == before
    await engine.dispose()


def test_a_sum_beyond_63_bits_leaves_its_cells_apart() -> None:
    rows = [
        {"seal": 0, "segment": 1, "revision": 1, "account": 1, "minute": minute}
        | {"weight": INT63_MAX // 2 + 1, "shares": 1}
        for minute in (4, 5)
    ]
    assert merge(rows, {(0, 1): 4}) == rows


@pytest.mark.timeout(240)
@settings(max_examples=8, deadline=None)
@given(
    st.lists(CELLS, max_size=25),
    st.integers(1, 30),
    st.integers(1, 60) | st.integers(1 << 62, 1 << 66),
)
def test_windows_are_the_same_before_amid_and_after(
    cells: list[Cell], bound: int, weight: int
) -> None:
    async def check(directory: Path) -> None:
        engine, pool = await make_store(directory)
        try:
            await prepared(engine, pool, unique(cells), bound)
            before = await windows(engine, (weight,))
            compactor = Compactor(engine, pool)
            while await compactor.step():
                assert await windows(engine, (weight,)) == before
            async with reading(engine) as connection:
                limit = await unreachable_height(connection, pool.id)
                shares = await connection.scalar(select(func.sum(schema.cells.c.shares)))
                found = schema.compactions.c.height
                reached = await connection.scalar(select(found))
            assert (shares or 0) == len(unique(cells))
            assert reached is None or (limit is not None and reached <= limit)
        finally:
            await engine.dispose()

    with DATABASES.example() as directory:
        asyncio.run(check(directory))


async def test_a_compactor_killed_at_any_statement_changes_no_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compactor_module, "ACCOUNTS_MAX", 1)
    engine, pool = await make_store(tmp_path)
    cells = [
        *(Cell(account, *cell[1:]) for cell in MINUTES for account in (1, 2, 3)),
        *(Cell(1, n, 0, 3, 3, 0, 20) for n in range(1, 6)),
    ]
    await prepared(engine, pool, cells, 20)
    before = await windows(engine, (1, 16, 300))
    left = 0

    def die(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    kills = 0
    for statement in range(1, 80):
        event.listen(engine.sync_engine, "before_cursor_execute", die)
        event.listen(engine.sync_engine, "commit", die)
        left = statement
        try:
            done = await Compactor(engine, pool).step()
        except Killed:
            done, kills = 1, kills + 1
        finally:
            event.remove(engine.sync_engine, "before_cursor_execute", die)
            event.remove(engine.sync_engine, "commit", die)
        if kills % 10 == 0:
            assert await windows(engine, (1, 16, 300)) == before
        if not done and left > 0:
            break
    assert kills > 10
    await compact(engine, pool)
    assert await windows(engine, (1, 16, 300)) == before
    assert sum(row[4] for row in await table(engine)) == len(cells)
    await engine.dispose()


async def test_two_compactors_of_one_pool_merge_each_cell_once(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    cells = [*MINUTES, *(Cell(1, n, 0, 3, 3, 0, 20) for n in range(1, 6))]
    await prepared(engine, pool, cells, 30)
    before = await windows(engine, (1, 16, 300))
    await asyncio.gather(*(compact(engine, pool) for _ in range(3)))
    assert sum(row[4] for row in await table(engine)) == len(cells)
    assert await windows(engine, (1, 16, 300)) == before
    await engine.dispose()


async def test_cells_of_before_the_upgrade_are_merged_after_it(tmp_path: Path) -> None:
    url = await migrated_to(tmp_path, "pithead.shares", "0003")
    engine = open_store(url)
    await old_pool(engine)
    cells = [*MINUTES, *(Cell(1, n, 0, 3, 3, 0, 20) for n in range(1, 6))]
    await fill(engine, 1, cells, sealed_height=7)
    await migrate(url, "pithead.shares")
    (pool,) = await register(engine, [POOL_SETTINGS], [COIN_SETTINGS])
    await archive_all(engine, pool)
    before = await windows(engine, (1, 300))
    await compact(engine, pool)
    assert len(await table(engine)) == len(cells), "nobody has told how far windows reach"
    async with transaction(engine) as connection:
        await write_bounds(connection, POOL, {"pplns": 30, "solo": 30})
    await compact(engine, pool)
    assert len(await table(engine)) < len(cells)
    assert await windows(engine, (1, 300)) == before
    await engine.dispose()
