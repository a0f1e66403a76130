"""SQLite on one machine: WAL mode, synchronous=FULL, transactions begun by us.

A committed transaction survives loss of power. Python's driver would open
transactions lazily and deferred; a deferred transaction that reads and then
writes fails with SQLITE_BUSY as soon as another one wrote between. So the driver
is put in autocommit and SQLAlchemy's begin event opens writers with BEGIN
IMMEDIATE, which waits for its turn, and readers with BEGIN, which takes a snapshot.
"""

import asyncio
from typing import Any

import aiosqlite
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

BUSY_TIMEOUT_MS = 15_000
"""How long a writer waits for its turn: far above any transaction of ours."""

READ_OPTION = "pithead_read"
"""Execution option of a connection that only reads."""

PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
)


def open_sqlite(url: str) -> AsyncEngine:
    """Make an engine for a `sqlite+aiosqlite:///FILE`; opens nothing yet."""
    engine = create_async_engine(
        url,
        connect_args={
            "timeout": BUSY_TIMEOUT_MS / 1000,
            "isolation_level": None,
            "async_creator_fn": _connect,
        },
    )
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "invalidate", _roll_back)
    return engine


async def _connect(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Open and set up one connection with a thread that never outlives the loop.

    When opening fails or is cancelled, the driver tells its thread to stop but does
    not wait for it; the thread would then report to a loop that may be closed, and
    print a traceback after the one sentence that people should read.
    """
    connection = aiosqlite.connect(*arguments, **options)
    thread = connection._thread
    # A process that must go must not wait for a connection that nobody closed.
    thread.daemon = True
    try:
        await connection
        for pragma in PRAGMAS:
            await connection.execute_fetchall(pragma)
    except BaseException:
        if connection._connection is not None:
            connection.stop()
        await asyncio.to_thread(thread.join)
        raise
    return connection


def _begin(connection: Connection) -> None:
    read = connection.get_execution_options().get(READ_OPTION, False)
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")


def _roll_back(connection: Any, _record: object, _error: object) -> None:
    """End the transaction of a connection that is about to be closed because of an error.

    Closing alone does not: while a cursor of it is alive, in the traceback of a
    cancelled task say, SQLite keeps a closed connection and its write lock. The
    driver's thread does what it is told in order, so this comes before the closing.
    """
    driver: aiosqlite.Connection = connection.driver_connection
    raw = driver._connection
    if raw is not None:
        driver._tx.put_nowait((None, raw.rollback))
