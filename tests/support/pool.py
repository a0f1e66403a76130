"""Runs `pithead up` as a user would: a process over a data directory."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

START_LIMIT_S = 60.0
STOP_LIMIT_S = 40.0


def free_port() -> int:
    """Take a TCP port that is free on loopback at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pithead(*arguments: str, limit_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run one `pithead` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pithead.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


class RunningPool:
    """A `pithead up` process; start, stop, kill, and questions about it."""

    def __init__(self, manifests: Path, data: Path) -> None:
        self.manifests = manifests
        self.data = data
        self.output = data.with_name(data.name + "-output.txt")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the runtime."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start without waiting."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pithead.cli",
                    "up",
                    "-f",
                    str(self.manifests),
                    "--data",
                    str(self.data),
                    "--plain",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def stop(self) -> int:
        """Stop as Ctrl-C does and answer with the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the pool did not stop:\n{self.tail()}") from None

    def kill(self) -> None:
        """Kill the runtime and wait until all that it had started are gone too."""
        children = psutil.Process(self.pid).children(recursive=True)
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, f"outlived their runtime: {alive}"

    def services(self) -> dict[str, int]:
        """Process ids by service name."""
        found: dict[str, int] = {}
        for child in psutil.Process(self.pid).children():
            try:
                command = child.cmdline()
            except psutil.Error:
                continue
            if "pithead.cli" in command:
                found[command[command.index("pithead.cli") + 1]] = child.pid
        return found

    def exited(self) -> int | None:
        """Exit code when the runtime has ended."""
        assert self._process is not None
        return self._process.poll()

    def status(self) -> dict[str, Any] | None:
        """The first pool of `pithead status -o json`, None while there is none."""
        answer = pithead("status", "--data", str(self.data), "-o", "json")
        if answer.returncode != 0:
            return None
        pool: dict[str, Any] = json.loads(answer.stdout)["pools"][0]
        return pool

    def wait(
        self, condition: Callable[[dict[str, Any]], object], what: str, limit_s: float
    ) -> dict[str, Any]:
        """Poll the status until `condition` holds."""
        deadline = time.monotonic() + limit_s
        last: dict[str, Any] | None = None
        while time.monotonic() < deadline:
            if self.exited() is not None:
                raise AssertionError(f"the pool ended before {what}:\n{self.tail()}")
            last = self.status()
            if last is not None and condition(last):
                return last
            time.sleep(0.3)
        raise AssertionError(
            f"not within {limit_s:.0f} s: {what}; last status {last}\n{self.tail()}"
        )

    def wait_ready(self, limit_s: float = START_LIMIT_S) -> dict[str, Any]:
        """Wait until miners can connect."""
        return self.wait(lambda status: status["ready"], "ready", limit_s)

    async def wait_ready_async(self, limit_s: float = START_LIMIT_S) -> dict[str, Any]:
        """Wait until miners can connect without holding the loop."""
        return await asyncio.to_thread(self.wait_ready, limit_s)

    def is_over(self, subject: str) -> bool:
        """Tell whether a trouble of `subject` ended, for whatever reason it lasted at the end."""
        lines = self.output.read_text().splitlines()
        about = [line for line in lines if f": {subject}: " in line]
        return bool(about) and f"over: {subject}: " in about[-1]

    def tail(self, lines: int = 30) -> str:
        """The end of what the runtime and each service printed."""
        parts = []
        logs = sorted((self.data / "logs").glob("*.log")) if self.data.exists() else []
        for path in (self.output, *logs):
            if path.exists():
                text = path.read_text(errors="replace").splitlines()[-lines:]
                parts.append(f"--- {path.name}\n" + "\n".join(text))
        return "\n".join(parts)
