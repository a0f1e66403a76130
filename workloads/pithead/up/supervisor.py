"""Starts services as processes, restarts those that die, stops all in order.

A process that dies by a signal or with exit code 1 is started again after a
short delay that grows while it keeps dying; exit code 2 says that it can not
start as configured, which ends the whole run with the process's own sentence.
Processes get sessions of their own, so that Ctrl-C reaches only the runtime,
which then stops them in order; if the runtime is killed, the kernel kills them.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pithead.process import EXIT_UNUSABLE

RESTART_DELAY_S_MIN = 0.1
RESTART_DELAY_S_MAX = 5.0
STEADY_S = 10.0
"""A process that lived this long starts with the shortest delay again."""
STOP_LIMIT_S = 15.0
LOG_BYTES_MAX = 16 * 1024 * 1024
"""A process log beyond this is moved aside at the next start of the process."""
TAIL_LINES = 5

logger = logging.getLogger(__name__)


@dataclass
class Process:
    """One supervised process."""

    name: str
    arguments: Sequence[str]
    log: Path
    needed: bool = True
    """Whether the run ends when it can not work as configured."""
    restarts: int = 0
    pid: int | None = None
    process: asyncio.subprocess.Process | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))


class Supervisor:
    """Keeps processes running for the length of its task group."""

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        """`say` takes sentences for the person who runs it."""
        self._logs = logs
        self._say = say
        self._order: list[Process] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self.failed: asyncio.Future[str] | None = None

    @property
    def processes(self) -> list[Process]:
        """Supervised processes in the order of their start."""
        return list(self._order)

    def start(self, name: str, *arguments: str, needed: bool = True) -> Process:
        """Start `pithead ARGUMENTS...` and keep it running.

        One that is not `needed` is left off, with a sentence, when it can not work as configured.
        """
        process = Process(name, arguments, self._logs / f"{name}.log", needed)
        self._order.append(process)
        if self.failed is None:
            self.failed = asyncio.get_running_loop().create_future()
        self._tasks[name] = asyncio.create_task(self._keep(process), name=f"keep-{name}")
        return process

    async def _keep(self, process: Process) -> None:
        delay_s = RESTART_DELAY_S_MIN
        while not self._stopping:
            started = time.monotonic()
            code = await self._run_once(process)
            if self._stopping:
                return
            lasted_s = time.monotonic() - started
            if code == EXIT_UNUSABLE:
                self._fail(process)
                return
            process.restarts += 1
            if lasted_s > STEADY_S:
                delay_s = RESTART_DELAY_S_MIN
            self._tell_end(process, code, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_DELAY_S_MAX)

    def _tell_end(self, process: Process, code: int, delay_s: float) -> None:
        """Say that a process ended by itself: when it begins to, and once when it goes on so."""
        logger.warning("%s ended with %s", process.name, code)
        how = f"killed by signal {-code}" if code < 0 else f"with exit code {code}"
        if delay_s == RESTART_DELAY_S_MIN:
            self._say(f"{process.name} ended, {how}; it is started again")
        elif delay_s < RESTART_DELAY_S_MAX <= 2 * delay_s:
            self._say(f"{process.name} ends again and again, {how}; see {process.log} for why")

    def _fail(self, process: Process) -> None:
        # Whatever a library prints at the end comes after the process's own error.
        errors = [line for line in process.tail if " ERROR " in line] or list(process.tail)
        last = errors[-1] if errors else f"it gave no reason; see {process.log}"
        sentence = last.partition(": ")[2] or last
        if not process.needed:
            self._say(f"{process.name} stays off: {sentence}")
        elif self.failed is not None and not self.failed.done():
            self.failed.set_result(f"{process.name}: {sentence}")

    async def _run_once(self, process: Process) -> int:
        if process.log.exists() and process.log.stat().st_size > LOG_BYTES_MAX:
            process.log.replace(process.log.with_suffix(".log.1"))
        with process.log.open("ab", buffering=0) as log:
            process.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pithead.cli",
                *process.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            process.pid = process.process.pid
            stream = process.process.stderr
            assert stream is not None
            async for line in stream:
                log.write(line)
                process.tail.append(line.decode(errors="replace").rstrip())
        code = await process.process.wait()
        process.pid = None
        return code

    async def stop(self) -> None:
        """Stop all processes, the last started first, each within a limit."""
        self._stopping = True
        for process in reversed(self._order):
            task = self._tasks[process.name]
            running = process.process
            if running is not None and running.returncode is None:
                running.terminate()
                try:
                    async with asyncio.timeout(STOP_LIMIT_S):
                        await asyncio.shield(task)
                except TimeoutError:
                    logger.warning(
                        "%s did not stop in %.0f s; killing it", process.name, STOP_LIMIT_S
                    )
                    running.kill()
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
