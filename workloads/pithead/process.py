"""Runs one service or task as a process: settings in, signals to a stop event, exit codes out.

Exit codes: 0 after a clean stop, 1 when it failed, 2 when it can not work as
configured; a supervisor starts again after 1 and a signal, never after 2. A task
also leaves its result, or one sentence on its failure, in a file that Kubernetes
shows as the termination message.
"""

import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from pithead.config import Settings, Unusable, load
from pithead.telemetry import configure_logging

COLLECTOR_THRESHOLDS = (50_000, 20, 50)
"""New containers between two looks at the youngest, and how many looks at one generation there are
to one of the next."""

EXIT_FAILED = 1
EXIT_UNUSABLE = 2

PR_SET_PDEATHSIG = 1

RESULT_FILE = Path("/dev/termination-log")
"""Where Kubernetes lets a container leave a message; there only in a pod."""
RESULT_BYTES_MAX = 4096
"""What Kubernetes keeps of it."""
RETRY_S = 0.5

logger = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=Settings)
WorkT = TypeVar("WorkT")


class Stop(asyncio.Event):
    """Set when a process is to stop; asked a second time, it is to hurry."""

    def __init__(self) -> None:
        super().__init__()
        self.urgent = asyncio.Event()
        """Set when there is no time for anything but what would be lost."""

    def ask(self) -> None:
        """Ask to stop, or to hurry."""
        (self.urgent if self.is_set() else self).set()


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` dies, so that nothing runs unsupervised.

    Linux only (prctl(2)). The parent may have died while this process was
    starting, so its pid is given and compared afterwards.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(EXIT_FAILED)


def tune_collector() -> None:
    """Let Python look for cycles seldom.

    Batches make tens of thousands of objects at once and no cycles; with the usual threshold of
    700 (2,000 from Python 3.13 on) a twentieth of accounting's time goes into looking at them.
    """
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def run_until_signalled(body: Callable[[Stop], Awaitable[None]]) -> None:
    """Run `body(stop)` under uvloop; SIGTERM and SIGINT set `stop`, a second makes it urgent."""

    async def main() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.ask)
        await body(stop)

    uvloop.run(main())


def run_service(
    name: str,
    config: Path,
    shape: type[SettingsT],
    run: Callable[[SettingsT, Stop], Awaitable[None]],
    *,
    supervisor: int | None,
) -> int:
    """Load settings, serve until a signal, and answer with the exit code."""
    if supervisor is not None:
        die_with_parent(supervisor)
    configure_logging(name)
    tune_collector()
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


class TaskFailed(Exception):
    """Raised by a task that can not be done now; the text says why, another try may help."""


Result = Mapping[str, Any]
"""What a task has to tell, as JSON."""


def run_task(
    name: str,
    config: Path,
    shape: type[SettingsT],
    work: Callable[[SettingsT], Awaitable[Result]],
    *,
    result: Path | None,
) -> int:
    """Load settings, do the work, leave what it told in `result`, and answer with the exit code.

    `result` None means RESULT_FILE where there is one. The result is printed too. A
    signal cancels the work, which fails then.
    """
    configure_logging(name)
    file = result or (RESULT_FILE if RESULT_FILE.exists() else None)
    try:
        settings = load(config, shape)
        text = json.dumps(_until_signalled(lambda: work(settings)), separators=(",", ":"))
        if len(text) > RESULT_BYTES_MAX:
            raise Unusable(f"the result has {len(text)} bytes; {RESULT_BYTES_MAX} can be told")
    except Unusable as error:
        return _say_failure(file, str(error), EXIT_UNUSABLE)
    except TaskFailed as error:
        return _say_failure(file, str(error), EXIT_FAILED)
    except Exception as error:
        logger.exception("this is a fault of pithead")
        sentence = f"a fault of pithead, see the log: {type(error).__name__}: {error}"
        return _say_failure(file, sentence, EXIT_FAILED)
    if file is not None:
        file.write_text(text)
    sys.stdout.write(f"{text}\n")
    return 0


def _until_signalled(work: Callable[[], Awaitable[Result]]) -> Result:
    told: list[Result] = []

    async def body(stop: asyncio.Event) -> None:
        task = asyncio.ensure_future(work())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TaskFailed("stopped by a signal before it was done")
            told.append(task.result())
        finally:
            for each in (task, stopping):
                each.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)

    run_until_signalled(body)
    return told[0]


def _say_failure(file: Path | None, sentence: str, code: int) -> int:
    sentence = " ".join(sentence.split())
    logger.error("%s", sentence)
    if file is not None:
        file.write_bytes(sentence.encode()[:RESULT_BYTES_MAX])
    return code


async def until_there(
    work: Callable[[], Awaitable[WorkT]], away: Callable[[Exception], str], within_s: float
) -> WorkT:
    """Try again while a neighbour is away; raises TaskFailed when it still is after `within_s`.

    The work itself bounds how long it waits for an answer. `away` says in a sentence
    what keeps the work from being done now; it is empty for errors that no repeat
    helps, which are raised.
    """
    loop = asyncio.get_running_loop()
    until_s, said = loop.time() + within_s, ""
    while True:
        try:
            return await work()
        except Exception as error:
            reason = away(error)
            if not reason:
                raise
            if reason != said:
                logger.warning("%s; trying again", reason)
            said = reason
            if loop.time() + RETRY_S >= until_s:
                raise TaskFailed(reason) from error
        await asyncio.sleep(RETRY_S)


def _first(group: BaseExceptionGroup[Unusable]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
