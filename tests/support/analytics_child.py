"""A writer of analytics as a process that kills itself: `python -m tests.support.analytics_child`.

Arguments: a settings file, the statement at which to die (0: at none), `before`, `after` or
`within` it. `within` sends SIGKILL from another thread some milliseconds after the statement
began, so that it hits whatever the database is doing then. The process ends when the log is
written to its end.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pithead.config import AnalyticsSettings, load
from pithead.config.columnar import open_columnar
from pithead.config.share_log import open_log
from pithead.log.topics import shares_topic
from pithead.shares.analytics.standing import prepare
from pithead.shares.analytics.writer import Writer
from pithead.shares.pools import register
from pithead.store import open_store
from pithead.store.columnar import Columnar


class Deadly:
    """A door at whose n-th statement the process dies."""

    def __init__(self, door: Columnar, at: int, when: str, delay_ms: float) -> None:
        self._door = door
        self._left = at
        self._when = when
        self._delay_ms = delay_ms
        self.server = door.server

    async def insert(self, table: str, columns: Any, *, token: str = "") -> None:
        await self._step(lambda: self._door.insert(table, columns, token=token))

    async def command(self, text: str, params: Any = None) -> None:
        await self._step(lambda: self._door.command(text, params))

    async def _step(self, work: Callable[[], Awaitable[None]]) -> None:
        self._left -= 1
        here = self._left == 0
        if here and self._when == "before":
            _die()
        if here and self._when == "within":
            threading.Timer(self._delay_ms / 1000, _die).start()
        await work()
        if here and self._when == "after":
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def write(settings: AnalyticsSettings, at: int, when: str, delay_ms: float) -> None:
    engine = open_store(settings.database)
    (pool,) = await register(engine, settings.pools, settings.coins)
    door = await open_columnar(settings.store)
    await prepare(engine, door)
    reader = open_log(settings.log).reader(shares_topic(pool.name))
    deadly: Any = Deadly(door, at, when, delay_ms)
    writer = Writer(engine, reader, deadly, pool, lambda: int(time.time() * 1000))
    while (await writer.step()).more:
        pass
    await reader.close()
    await door.close()
    await engine.dispose()


if __name__ == "__main__":
    given = load(Path(sys.argv[1]), AnalyticsSettings)
    asyncio.run(write(given, int(sys.argv[2]), sys.argv[3], float(sys.argv[4])))
