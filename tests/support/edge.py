"""A whole edge inside the test's loop, in front of a real node, with its log to read."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pithead.coins.address import address_of_script
from pithead.coins.node import NodeAccess
from pithead.coins.params import ChainParams
from pithead.coins.script import p2wpkh
from pithead.config import (
    UNIX,
    CoinSettings,
    LimitSettings,
    ListenerSettings,
    LogSettings,
    NodeSettings,
    StratumSettings,
    VardiffSettings,
    store,
)
from pithead.config.share_log import open_log
from pithead.contracts import edge_pb2, edge_pb2_grpc
from pithead.contracts.share_log_pb2 import BlockRecord, ShareBatch
from pithead.log.codec import decode_batch, decode_block
from pithead.log.topics import blocks_topic, shares_topic
from pithead.process import Stop, run_service
from pithead.rpc import channel
from pithead.stratum.service import run
from tests.support.doors import peer_of, served
from tests.support.litecoind import free_port

POOL = "default.quick"
PARTITION = "local-0"
START_LIMIT_S = 15.0
READ_BYTES = 1 << 24


def address(params: ChainParams, number: int) -> str:
    """A valid address of the chain, one a number."""
    text = address_of_script(params, p2wpkh(number.to_bytes(20, "big")))
    assert text is not None
    return text


def edge_settings(
    data: Path, params: ChainParams, node: NodeAccess, *, start_weight: int = 1, **changes: Any
) -> StratumSettings:
    """Settings of an edge with one listener on a free port."""
    values: dict[str, Any] = {
        "pool": POOL,
        "region": "local",
        "coin": CoinSettings(
            name="coin",
            coin=params.coin,
            network=params.network,
            nodes=(
                NodeSettings(name=node.name, url=node.url, user=node.user, password=node.password),
            ),
            poll_interval_ms=100,
        ),
        "payout_script": p2wpkh(b"\x07" * 20).hex(),
        "listeners": (
            ListenerSettings(
                name="main",
                host="127.0.0.1",
                port=free_port(),
                slot=3,
                start_weight=start_weight,
                min_weight=1,
                max_weight=1 << 40,
            ),
        ),
        "slots": (),
        "vardiff": VardiffSettings(),
        "limits": LimitSettings(),
        "log": LogSettings(directory=data / "log"),
        "partition": PARTITION,
        "serve": served(data / "edge.sock"),
    }
    return StratumSettings(**{**values, **changes})


@dataclass
class RunningEdge:
    """An edge that serves."""

    settings: StratumSettings
    stop: Stop = field(default_factory=Stop)
    task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The first listener's port."""
        return self.settings.listeners[0].port

    async def status(self) -> edge_pb2.StatusReply:
        """Ask the edge about itself."""
        async with channel(peer_of(self.settings.serve)) as opened:
            stub = edge_pb2_grpc.EdgeStub(opened)
            return await stub.Status(edge_pb2.StatusRequest(), wait_for_ready=True, timeout=5)

    async def until_ready(self) -> None:
        """Wait until it is ready; its own failure is raised."""
        async with asyncio.timeout(START_LIMIT_S):
            while not (await self.status()).ready:
                if self.task is not None and self.task.done():
                    self.task.result()
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Stop it as SIGTERM would."""
        self.stop.set()
        assert self.task is not None
        await self.task

    async def batches(self) -> list[ShareBatch]:
        """Read the whole share log."""
        return [decode_batch(item) for item in await self._read(shares_topic(POOL))]

    async def blocks(self) -> list[BlockRecord]:
        """Read the whole block log."""
        return [decode_block(item) for item in await self._read(blocks_topic(POOL))]

    async def _read(self, topic: str) -> list[bytes]:
        reader = open_log(self.settings.log).reader(topic)
        payloads: list[bytes] = []
        position = 0
        try:
            while records := await reader.read(PARTITION, position, READ_BYTES):
                payloads += [record.payload for record in records]
                position = records[-1].next_position
        finally:
            await reader.close()
        return payloads


@asynccontextmanager
async def running_edge(settings: StratumSettings) -> AsyncIterator[RunningEdge]:
    """Run an edge for the length of the context."""
    edge = RunningEdge(settings)
    edge.task = asyncio.create_task(run(settings, edge.stop))
    try:
        await edge.until_ready()
        yield edge
    finally:
        edge.stop.set()
        await edge.task


class EdgeProcess:
    """An edge as a process of its own, to be killed."""

    def __init__(self, settings: StratumSettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it accepts connections."""
        config = Path(self.settings.serve.address.removeprefix(UNIX)).with_suffix(".json")
        store(config, self.settings)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.edge", str(config)],
            cwd=Path(__file__).resolve().parents[2],
        )
        await RunningEdge(self.settings).until_ready()

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def terminate(self) -> int:
        """SIGTERM it; its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(15)
        self._process = None
        return code


if __name__ == "__main__":
    sys.exit(
        run_service("stratum", Path(sys.argv[1]), StratumSettings, run, supervisor=os.getppid())
    )
