"""What a campaign breaks: each member can be started, killed, paused and asked to stop.

A member is a process of its own, or several that one call starts. `kind` names what a fault did
to whom in the campaign's account.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import psutil

from pithead.config import Settings, store
from tests.support.kafka import KafkaBroker
from tests.support.postgresql import PostgresServer

ROOT = Path(__file__).resolve().parents[3]
END_LIMIT_S = 60.0


class Member(Protocol):
    """Something that can be broken."""

    kind: str

    async def start(self) -> None:
        """Start it; it need not serve yet."""

    async def kill(self) -> None:
        """SIGKILL it and wait until it is gone."""

    def pause(self) -> None:
        """SIGSTOP it."""

    def resume(self) -> None:
        """SIGCONT it."""

    async def restart(self) -> None:
        """Ask it to end, wait for that, and start it again."""


class ServiceMember:
    """A `pithead` process."""

    def __init__(
        self,
        kind: str,
        command: tuple[str, ...],
        settings: Settings,
        folder: Path,
        ready: Callable[[], Awaitable[object]],
    ) -> None:
        self.kind = kind
        self._command = command
        self._settings = settings
        self._folder = folder
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.surprises: list[str] = []
        """Ends that nobody had asked for."""

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "settings.json"
        store(config, self._settings)
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pithead.cli", *self._command),
                    *("--config", str(config), "--supervisor", str(os.getpid())),
                ],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
            )
        self.starts += 1

    async def until_ready(self, limit_s: float = 60.0) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(limit_s):
            await self._ready()

    async def kill(self) -> None:
        process = self._taken()
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait, END_LIMIT_S)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def end(self, limit_s: float = END_LIMIT_S) -> int | None:
        """SIGTERM it and wait; its exit code, None when it had to be killed."""
        process = self._taken()
        if process is None:
            return 0
        process.terminate()
        try:
            return await asyncio.to_thread(process.wait, limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait, END_LIMIT_S)
            return None

    async def restart(self) -> None:
        code = await self.end()
        # A signal that comes before a process has begun to listen to it ends it all the same.
        if code not in (0, -signal.SIGTERM):
            self.surprises.append(f"{self.kind} ended with {code} when asked to")
        await self.start()

    def tail(self, lines: int = 15) -> str:
        """The end of what it printed."""
        output = self._folder / "output"
        text = output.read_text(errors="replace").splitlines() if output.exists() else []
        return f"--- {self.kind}\n" + "\n".join(text[-lines:])

    def _taken(self) -> "subprocess.Popen[bytes] | None":
        process, self._process = self._process, None
        if process is not None and process.poll() is not None:
            self.surprises.append(f"{self.kind} had ended by itself with {process.returncode}")
            return None
        return process

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


class BrokerMember:
    """A Kafka broker."""

    def __init__(self, kind: str, broker: KafkaBroker) -> None:
        self.kind = kind
        self._broker = broker

    async def start(self) -> None:
        await asyncio.to_thread(self._broker.start)

    async def kill(self) -> None:
        await asyncio.to_thread(self._broker.kill)

    def pause(self) -> None:
        os.kill(self._broker.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._broker.pid, signal.SIGCONT)

    async def restart(self) -> None:
        await asyncio.to_thread(self._broker.stop)
        await asyncio.to_thread(self._broker.start)


class DatabaseMember:
    """A PostgreSQL server with all its processes."""

    kind = "postgresql"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def kill(self) -> None:
        await asyncio.to_thread(self._server.stop, kill=True)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def restart(self) -> None:
        await asyncio.to_thread(self._server.stop)
        await asyncio.to_thread(self._server.start)

    def _signal(self, number: int) -> None:
        parent = psutil.Process(self._server.pid)
        for process in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)


class CutMember:
    """A network path that can be cut; nothing on it is a process."""

    def __init__(self, kind: str, cut: Callable[[bool], None]) -> None:
        self.kind = kind
        self._cut = cut

    async def start(self) -> None:
        self._cut(False)

    async def kill(self) -> None:
        self._cut(True)

    def pause(self) -> None:
        self._cut(True)

    def resume(self) -> None:
        self._cut(False)

    async def restart(self) -> None:
        self._cut(True)
        self._cut(False)
