"""The devchain for tests: inside the test's loop, or as a process that can be killed.

    python -m tests.support.devchain SETTINGS.json

serves until SIGTERM.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from pithead.coins.node import NodeAddress, NodeError, RpcNode
from pithead.config import DevchainSettings, store
from tests.support.litecoind import free_port

USER = "pithead"
PASSWORD = "pithead"
EASY_BITS = 0x207FFFFF
"""Every second hash wins."""
START_TIMEOUT_S = 20.0


def devchain_settings(
    data_dir: Path, *, bits: int = EASY_BITS, port: int | None = None, maturity: int = 10
) -> DevchainSettings:
    """Settings of a private chain."""
    return DevchainSettings(
        data_dir=data_dir,
        port=port or free_port(),
        user=USER,
        password=PASSWORD,
        bits=bits,
        coinbase_maturity=maturity,
    )


def access_of(settings: DevchainSettings) -> NodeAddress:
    """How to reach the node of `settings`."""
    url = f"http://{settings.host}:{settings.port}"
    return NodeAddress("devchain", url, settings.user, settings.password)


async def until_serving(access: NodeAddress) -> None:
    """Wait until the node answers."""
    async with asyncio.timeout(START_TIMEOUT_S), RpcNode(access) as node:
        while True:
            try:
                await node.call("uptime")
                return
            except NodeError:
                await asyncio.sleep(0.02)


class DevchainTask:
    """A node inside the running loop."""

    def __init__(self, settings: DevchainSettings) -> None:
        self.settings = settings
        self.access = access_of(settings)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "DevchainTask":
        from pithead.devchain.service import run

        self._stop = asyncio.Event()
        self._task = asyncio.create_task(run(self.settings, self._stop))
        serving = asyncio.create_task(until_serving(self.access))
        await asyncio.wait({self._task, serving}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            serving.cancel()
            await self._task
        await serving
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task


class DevchainProcess:
    """A node as a process of its own."""

    def __init__(self, settings: DevchainSettings) -> None:
        self.settings = settings
        self.access = access_of(settings)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        config = self.settings.data_dir.with_suffix(".json")
        store(config, self.settings)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.devchain", str(config)],
            cwd=Path(__file__).resolve().parents[2],
        )
        await until_serving(self.access)

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def terminate(self) -> int:
        """SIGTERM it; its exit code."""
        if self._process is None:
            raise RuntimeError("it does not run")
        self._process.terminate()
        code = self._process.wait(10)
        self._process = None
        return code


def main() -> int:
    """The process."""
    from pithead.devchain.service import run
    from pithead.process import run_service

    return run_service(
        "devchain", Path(sys.argv[1]), DevchainSettings, run, supervisor=os.getppid()
    )


if __name__ == "__main__":
    sys.exit(main())
