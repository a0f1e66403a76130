"""A service as the process that it is in production, to be killed and paused."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from pithead.config import Settings, store

STOP_LIMIT_S = 20


class ServiceProcess:
    """`pithead NAME --config FILE`, over and over."""

    def __init__(self, name: str, settings: Settings, folder: Path) -> None:
        self.name = name
        self._config = folder / f"{name}.json"
        self._log = folder / f"{name}.log"
        store(self._config, settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it says goes to a file beside its settings."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pithead.cli", self.name),
                    *("--config", str(self._config), "--supervisor", str(os.getpid())),
                ],
                stderr=log,
                stdout=log,
            )

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """What it said up to now."""
        return self._log.read_text()

    def kill(self) -> None:
        """SIGKILL it; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_LIMIT_S)
            self._process = None

    async def pause(self, seconds: float) -> None:
        """Stop its clock for a while."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM it; its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(STOP_LIMIT_S)
        self._process = None
        return code
