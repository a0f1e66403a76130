"""Bounds what is asked of the store at a time; what is too much is refused at once.

A question that the store has begun holds its turn until it is answered, whether or not
somebody still waits: the engine is not freed by our forgetting it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pithead.shares.analytics.queries.metrics import REFUSED, WAITING

AT_ONCE = 4
"""Questions in the engine: each uses about one core, and the writer needs some too."""

WAITING_MAX = 256
"""Beyond this many the last would wait longer than people do: 256 of 10 ms on 4 turns take
0.7 s, and slow ones much longer."""

ResultT = TypeVar("ResultT")


class TooBusy(Exception):
    """Raised when too many questions wait already."""

    def __init__(self) -> None:
        super().__init__(f"{WAITING_MAX} questions wait for the store already; ask again")


class Turns:
    """A bounded queue before the store."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, ask: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Ask when it is our turn; TooBusy when too many wait."""
        if self._waiting >= WAITING_MAX:
            REFUSED.inc()
            raise TooBusy
        self._waiting += 1
        WAITING.set(self._waiting)
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
            WAITING.set(self._waiting)
        answer: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        task = asyncio.get_running_loop().create_task(self._hold(ask, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await answer

    async def _hold(
        self, ask: Callable[[], Awaitable[ResultT]], answer: "asyncio.Future[ResultT]"
    ) -> None:
        try:
            result = await ask()
        except Exception as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(result)
        finally:
            self._free.release()
            if not answer.done():
                answer.cancel()

    async def close(self) -> None:
        """Wait for the questions under way; each has a time limit of its own."""
        await asyncio.gather(*self._running, return_exceptions=True)
