"""How the processor's loops wait, and how they tell of trouble: once when it begins and ends."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

logger = logging.getLogger(__name__)

RETRY_MIN_S = 0.1
RETRY_MAX_S = 1.0
"""A neighbour that comes back is found within a second; asking one that is down costs little."""


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake when `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def until_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, ResultT]) -> ResultT | None:
    """Result of `work`, or None when `stop` is set before: it is cancelled then."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        stopping.cancel()
        task.cancel()
        await asyncio.wait((task, stopping))


class Trouble:
    """The state of one thing that may fail: says each change of kind once, counts the back-off."""

    def __init__(self, what: str, delay_s_max: float = RETRY_MAX_S) -> None:
        self._what = what
        self._delay_s_max = delay_s_max
        self._kind: type[Exception] | None = None
        self._delay_s = RETRY_MIN_S

    def failed(self, error: Exception) -> float:
        """Note a failure; return the seconds to wait before the next try."""
        if type(error) is not self._kind:
            self._kind = type(error)
            logger.warning("%s: %s; trying again", self._what, str(error)[:512])
        delay_s = self._delay_s
        self._delay_s = min(self._delay_s * 2, self._delay_s_max)
        return delay_s

    def worked(self) -> None:
        """Note a success."""
        if self._kind is not None:
            logger.info("%s: works again", self._what)
        self._kind = None
        self._delay_s = RETRY_MIN_S
