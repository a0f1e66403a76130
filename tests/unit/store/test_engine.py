"""Transactions, the same on both databases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.store import open_store, reading, retried, take_turns, transaction
from tests.support.databases import DATABASES

pytestmark = pytest.mark.databases


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = open_store(await DATABASES.empty(tmp_path, "a"))
    async with transaction(engine) as connection:
        await connection.execute(text("CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER)"))
        await connection.execute(text("CREATE TABLE u (t INTEGER REFERENCES t(k))"))
        await connection.execute(text("INSERT INTO t VALUES (1, 0)"))
    yield engine
    await engine.dispose()


async def value(engine: AsyncEngine) -> int:
    async with reading(engine) as connection:
        return int(await connection.scalar(text("SELECT v FROM t WHERE k = 1")) or 0)


async def execute_and_raise(engine: AsyncEngine, statement: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text(statement))
        raise RuntimeError("stop")


async def test_a_transaction_that_raises_changes_nothing(engine: AsyncEngine) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        await execute_and_raise(engine, "UPDATE t SET v = 9")
    assert await value(engine) == 0


async def test_concurrent_read_then_write_transactions_all_succeed(engine: AsyncEngine) -> None:
    async def increment() -> None:
        async with transaction(engine) as connection:
            await take_turns(connection, "test/increment")
            old = await connection.scalar(text("SELECT v FROM t WHERE k = 1"))
            await asyncio.sleep(0)
            await connection.execute(text("UPDATE t SET v = :v WHERE k = 1"), {"v": (old or 0) + 1})

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(increment())
    assert await value(engine) == 20


async def test_a_reader_keeps_its_snapshot_while_a_writer_commits(engine: AsyncEngine) -> None:
    async with reading(engine) as reader:
        assert await reader.scalar(text("SELECT v FROM t")) == 0
        async with transaction(engine) as writer:
            await writer.execute(text("UPDATE t SET v = 5"))
        assert await reader.scalar(text("SELECT v FROM t")) == 0
    assert await value(engine) == 5


async def test_ddl_is_rolled_back_with_its_transaction(engine: AsyncEngine) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        await execute_and_raise(engine, "CREATE TABLE half (k INTEGER)")
    async with reading(engine) as connection:
        assert not await connection.run_sync(lambda sync: inspect(sync).has_table("half"))


async def test_foreign_keys_are_enforced(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError):
        async with transaction(engine) as connection:
            await connection.execute(text("INSERT INTO u VALUES (77)"))


async def test_a_reader_cannot_write_in_postgresql(engine: AsyncEngine, database_kind: str) -> None:
    if database_kind == "sqlite":
        return
    with pytest.raises(DBAPIError, match="read-only"):
        async with reading(engine) as connection:
            await connection.execute(text("UPDATE t SET v = 7"))
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE t SET v = 7"))
    assert await value(engine) == 7


async def test_transactions_that_deadlock_both_end_well_when_retried(
    engine: AsyncEngine, database_kind: str
) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text("INSERT INTO t VALUES (2, 0)"))
    tries: list[int] = []

    async def add(first: int, second: int) -> None:
        async def work() -> None:
            tries.append(first)
            async with transaction(engine) as connection:
                for key in (first, second):
                    await connection.execute(text(f"UPDATE t SET v = v + 1 WHERE k = {key}"))
                    await asyncio.sleep(0.2)

        await retried(work)

    async with asyncio.TaskGroup() as group:
        group.create_task(add(1, 2))
        group.create_task(add(2, 1))
    async with reading(engine) as connection:
        assert list(await connection.scalars(text("SELECT v FROM t ORDER BY k"))) == [2, 2]
    assert len(tries) == (2 if database_kind == "sqlite" else 3)


async def test_an_error_that_is_no_conflict_is_not_retried(engine: AsyncEngine) -> None:
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        async with transaction(engine) as connection:
            await connection.execute(text("INSERT INTO t VALUES (1, 0)"))

    with pytest.raises(IntegrityError):
        await retried(work)
    assert tries == 1


async def test_a_cancelled_task_leaves_no_transaction_behind(engine: AsyncEngine) -> None:
    async def add_one() -> None:
        async with transaction(engine) as connection:
            await connection.execute(text("UPDATE t SET v = v + 1 WHERE k = 1"))
            await connection.execute(text("SELECT v FROM t"))

    kept = []
    for steps in range(40):
        task = asyncio.create_task(add_one())
        for _ in range(steps):
            await asyncio.sleep(0 if steps % 2 else 0.0001)
        task.cancel()
        await asyncio.wait([task])
        kept.append(task)
        async with asyncio.timeout(5):
            await add_one()
    done = sum(not task.cancelled() for task in kept)
    # A commit that was under way may have come through.
    assert 40 + done <= await value(engine) <= 80
