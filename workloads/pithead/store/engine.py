"""Transactions, the same to callers on SQLite and PostgreSQL.

On SQLite there is one writer at a time. On PostgreSQL (READ COMMITTED) writers run
side by side: a transaction that writes what it has read first takes its turn
(`take_turns`) or locks the rows, so that what it reads afterwards still holds when
it writes. A database that cannot be reached is a DBAPIError on both.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.store import metrics
from pithead.store.postgresql import (
    RETRIED_STATES,
    USUAL,
    ConnectionLost,
    Limits,
    is_postgresql,
    open_postgresql,
    sqlstate,
)
from pithead.store.sqlite import READ_OPTION, open_sqlite

RETRIES = 10
"""Of a transaction that the database broke off for another one's sake."""

RETRY_S_MAX = 0.5

ResultT = TypeVar("ResultT")


def open_store(url: str, limits: Limits = USUAL) -> AsyncEngine:
    """Make an engine for `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://...`.

    Nothing is opened until the first transaction. The caller disposes of it. The
    limits are PostgreSQL's: connections to a file cost a thread each, and its
    writers wait for one another anyhow.
    """
    engine = open_postgresql(url, limits) if is_postgresql(url) else open_sqlite(url)
    metrics.watch(engine.sync_engine)
    return engine


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a write transaction: committed when the block ends, rolled back when it raises.

    Nothing but the database is asked inside the block: an OSError in it is taken for
    the loss of the connection. Raises DBAPIError.
    """
    with _losses():
        async with _connected(engine) as connection, connection.begin():
            yield connection


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a read transaction: all its statements see one snapshot; it never waits for writers.

    The same holds for its block as for that of `transaction`. Raises DBAPIError.
    """
    if engine.dialect.name == "sqlite":
        options: dict[str, Any] = {READ_OPTION: True}
    else:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _losses():
        async with _connected(engine) as connection:
            await connection.execution_options(**options)
            async with connection.begin():
                yield connection


async def take_turns(connection: AsyncConnection, name: str) -> None:
    """Wait until no other open transaction holds this name; held until ours ends.

    Every later statement of the transaction sees what the earlier holders wrote.
    Names are the database's own, so they begin with the service's. A transaction
    that takes several does so in one order, everywhere. SQLite's writers take turns
    anyhow.
    """
    if connection.dialect.name == "sqlite":
        return
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    await connection.execute(select(func.pg_advisory_xact_lock(key)))


async def retried(work: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Run a whole transaction, and again when the database broke it off for another one's sake.

    That is a deadlock or a serialization failure: nothing has been changed then.
    Raises the DBAPIError when it goes on and on, and every other error at once.
    """
    for attempt in range(RETRIES):
        try:
            return await work()
        except DBAPIError as error:
            if sqlstate(error) not in RETRIED_STATES:
                raise
        limit_s = min(0.01 * 2**attempt, RETRY_S_MAX)
        await asyncio.sleep(random.uniform(0, limit_s))  # noqa: S311 - spreads retries
    return await work()


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with AsyncExitStack() as stack:
        with metrics.WAITING.track_inprogress():
            connection = await stack.enter_async_context(engine.connect())
        yield connection


@contextmanager
def _losses() -> Iterator[None]:
    """Give every way in which a database goes away the one error that callers wait out."""
    try:
        yield
    except (OSError, PoolTimeout) as error:
        if isinstance(error, PoolTimeout):
            metrics.WAITED_IN_VAIN.inc()
        reason = ConnectionLost(str(error) or type(error).__name__)
        raise OperationalError(None, None, reason, connection_invalidated=True) from error
