"""Checks at a service's start that its database is the one its code was written for.

Reads the table that migrations keep, without importing alembic. Revision ids
are four-digit numbers in order, so newer and older can be told apart by a code
that does not know the newer ones.
"""

import asyncio
import logging

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.store.engine import reading
from pithead.store.errors import StoreTooNew, StoreTooOld, StoreUnreachable

logger = logging.getLogger(__name__)

VERSION_TABLE = "alembic_version"

RETRY_S = 0.5
"""Between looks at a database that cannot be opened at a service's start."""


async def check_version(engine: AsyncEngine, expected: str) -> None:
    """Pass when the database is of revision `expected`.

    Raises StoreTooNew, StoreTooOld (also when never set up) or StoreUnreachable.
    """
    url = engine.url.render_as_string(hide_password=False)
    try:
        async with reading(engine) as connection:
            there = await connection.run_sync(lambda sync: inspect(sync).has_table(VERSION_TABLE))
            query = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
            found = (await connection.scalars(query)).first() if there else None
    except (DBAPIError, OSError) as error:
        raise StoreUnreachable(url, str(error.__cause__ or error)[:256]) from error
    if found is None or found < expected:
        raise StoreTooOld(url, found, expected)
    if found > expected:
        raise StoreTooNew(url, found, expected)


async def wait_for_version(engine: AsyncEngine, expected: str, stop: asyncio.Event) -> bool:
    """Wait until the database can be asked and is of revision `expected`; False when stopped.

    Says once what keeps it. Raises StoreTooNew or StoreTooOld.
    """
    said = ""
    while not stop.is_set():
        try:
            await check_version(engine, expected)
        except StoreUnreachable as error:
            if str(error) != said:
                said = str(error)
                logger.warning("%s; trying again", said)
        else:
            return True
        try:
            async with asyncio.timeout(RETRY_S):
                await stop.wait()
        except TimeoutError:
            continue
    return False
