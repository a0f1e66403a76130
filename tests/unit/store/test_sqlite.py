"""What is SQLite's alone: how connections are set up, and what a cancelled task leaves behind."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.store import open_store, reading, transaction

pytestmark = pytest.mark.gate


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_store(url)
    async with transaction(engine) as connection:
        await connection.execute(text("CREATE TABLE t (v INTEGER)"))
        await connection.execute(text("INSERT INTO t VALUES (0)"))
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 15000)],
    ids=["wal", "full-sync", "foreign-keys", "busy-timeout"],
)
async def test_each_connection_is_prepared(
    engine: AsyncEngine, pragma: str, expected: object
) -> None:
    async with reading(engine) as connection:
        assert await connection.scalar(text(f"PRAGMA {pragma}")) == expected


async def add_one(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        # A result that was not read yet keeps a cursor open when the task is cancelled.
        await connection.execute(text("SELECT v FROM t"))
        await connection.execute(text("UPDATE t SET v = v + 1"))


@pytest.mark.parametrize("fresh", [True, False], ids=["opening", "pooled"])
async def test_a_task_cancelled_anywhere_leaves_no_lock_and_no_thread(
    url: str, engine: AsyncEngine, fresh: bool
) -> None:
    await engine.dispose()
    threads = threading.active_count()
    kept = []
    for steps in range(60):
        store = open_store(url)
        if not fresh:
            await add_one(store)
        task = asyncio.create_task(add_one(store))
        for _ in range(steps):
            await asyncio.sleep(0 if steps % 2 else 0.00005)
        task.cancel()
        await asyncio.wait([task])
        # The error's traceback keeps whatever the task had in its hands.
        kept.append(task)
        async with asyncio.timeout(2):
            await add_one(engine)
        assert store.pool.checkedout() == 0  # type: ignore[attr-defined]
        await store.dispose()
    await engine.dispose()
    await asyncio.sleep(0.05)
    # One more at most: the loop's executor, in which a thread is waited for.
    assert threading.active_count() <= threads + 1


async def test_a_writer_cancelled_while_it_waits_for_its_turn_goes_at_once(
    engine: AsyncEngine,
) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE t SET v = 5"))
        waiting = asyncio.create_task(add_one(engine))
        await asyncio.sleep(0.05)
        waiting.cancel()
    async with asyncio.timeout(2):
        await asyncio.wait([waiting])
        await add_one(engine)
    async with reading(engine) as connection:
        assert await connection.scalar(text("SELECT v FROM t")) == 6
