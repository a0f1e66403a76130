"""Transactions on a real SQLite file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.store import open_store, reading, transaction

pytestmark = pytest.mark.gate


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = open_store(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
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
        count = await connection.scalar(
            text("SELECT count(*) FROM sqlite_master WHERE name = 'half'")
        )
    assert count == 0


async def test_foreign_keys_are_enforced(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError):
        async with transaction(engine) as connection:
            await connection.execute(text("INSERT INTO u VALUES (77)"))


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
