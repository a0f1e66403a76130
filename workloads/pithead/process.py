"""Runs one service as a process: settings in, signals to a stop event, exit codes out.

Exit codes: 0 after a clean stop, 1 when the service failed, 2 when it can not
start as configured; a supervisor restarts after 1 and a signal, never after 2.
"""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import uvloop

from pithead.config import Settings, Unusable, load
from pithead.telemetry import configure_logging

EXIT_FAILED = 1
EXIT_UNUSABLE = 2

PR_SET_PDEATHSIG = 1

logger = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=Settings)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` dies, so that nothing runs unsupervised.

    Linux only (prctl(2)). The parent may have died while this process was
    starting, so its pid is given and compared afterwards.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(EXIT_FAILED)


def run_until_signalled(body: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `body(stop)` under uvloop; SIGTERM and SIGINT set `stop`."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await body(stop)

    uvloop.run(main())


def run_service(
    name: str,
    config: Path,
    shape: type[SettingsT],
    run: Callable[[SettingsT, asyncio.Event], Awaitable[None]],
    *,
    supervisor: int | None,
) -> int:
    """Load settings, serve until a signal, and answer with the exit code."""
    if supervisor is not None:
        die_with_parent(supervisor)
    configure_logging(name)
    try:
        settings = load(config, shape)
        run_until_signalled(lambda stop: run(settings, stop))
    except Unusable as error:
        logger.error("%s", error)
        return EXIT_UNUSABLE
    except BaseExceptionGroup as group:
        unusable = group.subgroup(Unusable)
        if unusable is None:
            raise
        logger.error("%s", _first(unusable))
        return EXIT_UNUSABLE
    return 0


def _first(group: BaseExceptionGroup[Unusable]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
