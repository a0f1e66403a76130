"""Runs the devchain as a service: opens the state, serves JSON-RPC, stops cleanly.

A port or a data directory in use, or settings that do not fit the chain on disk, raise
SettingsError with the remedy.
"""

import asyncio
import logging
import os
import time

from aiohttp import web

from pithead.config import DevchainSettings, SettingsError
from pithead.devchain.faults import Faults
from pithead.devchain.http import Door
from pithead.devchain.render import hex_hash
from pithead.devchain.rpc import Context
from pithead.devchain.state import State

logger = logging.getLogger(__name__)

SHUTDOWN_S = 1.0
"""What requests under way get when the node stops; long polls are woken before."""

SECRET_BYTES = 32


def wall_clock_ms() -> int:
    """Unix milliseconds: headers carry wall-clock time."""
    return time.time_ns() // 1_000_000


async def run(settings: DevchainSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, or `stop` is called by RPC."""
    state = State(settings)
    try:
        tip = state.chain.tip
        logger.info(
            "chain of %s is at height %d, %s", settings.data_dir, tip.height, hex_hash(tip.hash)
        )
        context = Context(
            state=state,
            now_ms=wall_clock_ms,
            secret=lambda: os.urandom(SECRET_BYTES),
            stop=stop,
            started_s=wall_clock_ms() // 1000,
            faults=Faults(),
        )
        door = Door(context, settings.user, settings.password)
        await _serve(settings, door, stop)
    finally:
        state.close()
    if door.failure is not None:
        raise door.failure


async def _serve(settings: DevchainSettings, door: Door, stop: asyncio.Event) -> None:
    runner = web.AppRunner(
        door.application(),
        # A long poll whose asker has gone must not stay.
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            raise SettingsError(
                f"devchain cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
                "stop what listens there or choose another port"
            ) from error
        if settings.socket is not None:
            settings.socket.unlink(missing_ok=True)
            await web.UnixSite(runner, str(settings.socket)).start()
        logger.info("serving JSON-RPC on %s:%d", settings.host, settings.port)
        await stop.wait()
        door.context.announce()
    finally:
        await runner.cleanup()
