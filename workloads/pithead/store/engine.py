"""Engines and transactions, the same to callers on SQLite and PostgreSQL.

SQLite is run in WAL mode with synchronous=FULL, so a committed transaction
survives loss of power. Python's driver would open transactions lazily and
deferred; a deferred transaction that reads and then writes fails with
SQLITE_BUSY as soon as another one wrote between. So the driver is put in
autocommit and SQLAlchemy's begin event opens writers with BEGIN IMMEDIATE,
which waits for its turn, and readers with BEGIN, which takes a snapshot.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

BUSY_TIMEOUT_MS = 15_000
"""How long a SQLite writer waits for its turn: far above any transaction of ours."""

POOL_SIZE = 4
"""Connections kept open. Each one of SQLite is a thread; more of them win nothing."""

READ_OPTION = "pithead_read"


def open_store(url: str) -> AsyncEngine:
    """Make an engine for `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://...`.

    Nothing is opened until the first transaction. The caller disposes of it.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=POOL_SIZE, pool_pre_ping=True)
    engine = create_async_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "async_creator_fn": _connect_sqlite}
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a write transaction: committed when the block ends, rolled back when it raises."""
    async with engine.begin() as connection:
        yield connection


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a read transaction: all its statements see one snapshot; it never waits for writers."""
    if engine.dialect.name == "sqlite":
        options: dict[str, Any] = {READ_OPTION: True}
    else:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    async with engine.connect() as connection:
        await connection.execution_options(**options)
        async with connection.begin():
            yield connection


async def _connect_sqlite(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Open one connection with a thread that never outlives the loop.

    When opening fails, the driver tells its thread to stop but does not wait for
    it; the thread would then report to a loop that may be closed, and print a
    traceback after the one sentence that people should read.
    """
    connection = aiosqlite.connect(*arguments, **options)
    thread = connection._thread
    # A process that must go must not wait for a connection that nobody closed.
    thread.daemon = True
    try:
        return await connection
    except BaseException:
        await asyncio.to_thread(thread.join)
        raise


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Set up one new SQLite connection (a driver's object, hence Any)."""
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read = connection.get_execution_options().get(READ_OPTION, False)
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")
