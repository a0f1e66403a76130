"""Keeps a step going for ever beside neighbours that come and go.

A step that fails because a node, a service, the log or the database is away is
tried again with a growing delay. One line is logged when trouble begins, changes
or ends, not one a try. Any other exception is our own slip and ends the process,
which its supervisor starts again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import grpc.aio
from sqlalchemy.exc import DBAPIError

from pithead.coins.node import NodeError
from pithead.log.errors import LogError
from pithead.rewards.nodes import NodeLost

AWAY = (NodeError, NodeLost, LogError, grpc.aio.AioRpcError, DBAPIError, OSError, TimeoutError)
"""What neighbours being away looks like."""

DELAY_S_MIN = 0.2
DELAY_S_MAX = 1.0
"""A neighbour that is back is noticed within this time."""

TROUBLE_CHARS_MAX = 300

logger = logging.getLogger(__name__)


async def keep(
    name: str, step: Callable[[], Awaitable[int]], stop: asyncio.Event, idle_s: float
) -> None:
    """Run `step` until `stop` is set: at once again while it says it did something."""
    delay_s = DELAY_S_MIN
    trouble = ""
    while not stop.is_set():
        try:
            done = await step()
        except AWAY as error:
            said = _sentence(error)
            if said != trouble:
                logger.warning("%s: %s; trying again", name, said)
            trouble = said
            await pause(stop, delay_s)
            delay_s = min(delay_s * 2, DELAY_S_MAX)
            continue
        if trouble:
            logger.info("%s: goes on", name)
            trouble = ""
        delay_s = DELAY_S_MIN
        # Even a busy step leaves the loop to others for a moment.
        await pause(stop, 0 if done else idle_s)


async def pause(stop: asyncio.Event, delay_s: float) -> None:
    """Sleep, but wake when `stop` is set."""
    if not delay_s:
        await asyncio.sleep(0)
        return
    try:
        async with asyncio.timeout(delay_s):
            await stop.wait()
    except TimeoutError:
        return


def _sentence(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"[:TROUBLE_CHARS_MAX]
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return f"{type(error).__name__}: {text}"[:TROUBLE_CHARS_MAX]
