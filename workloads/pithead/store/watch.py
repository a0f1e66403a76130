"""Watches whether a service's database can be used, for its probes."""

import asyncio
from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.store.errors import StoreError
from pithead.store.version import check_version

LOOK_S = 5.0
LOOK_LIMIT_S = 10.0


async def watch_store(
    engine: AsyncEngine, expected: str, say: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Say, again and again until `stop` is set, why the database can not be used; "" when it can.

    A revision that changed beneath a running service is said too.
    """
    while not stop.is_set():
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                await check_version(engine, expected)
        except TimeoutError:
            say(f"no answer for {LOOK_LIMIT_S:g} s")
        except StoreError as error:
            say(str(error))
        else:
            say("")
        try:
            async with asyncio.timeout(LOOK_S):
                await stop.wait()
        except TimeoutError:
            continue
