"""An edge without sockets: fake ports, a scripted log, virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pithead.coins.hashing import block_hash, pow_function
from pithead.coins.job import pool_tag
from pithead.coins.node import NodeAddress, Submission
from pithead.coins.notify import NotifiedJob
from pithead.coins.params import ChainParams
from pithead.log.share_log import LogWriter
from pithead.stratum.batcher import Batcher
from pithead.stratum.blocks import BlockKeeper
from pithead.stratum.edge import Edge
from pithead.stratum.jobs import JobBook
from pithead.stratum.miner import Miner
from tests.support.edge import address, edge_settings
from tests.unit.stratum.support import (
    DEVCHAIN,
    POOL,
    SALT,
    SCRIPT,
    Identity,
    ScriptedWriter,
    notified,
    parse_lines,
)

NODE = NodeAddress("n", "http://127.0.0.1:1", "u", "p")


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


@dataclass(eq=False)
class FakePort:
    """A connection's transport that fails on misuse."""

    heard: bytearray = field(default_factory=bytearray)
    closed: bool = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "written to after it was closed"
        self.heard += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def lines(self) -> list[dict[str, Any]]:
        return parse_lines(bytes(self.heard))

    def answers(self) -> dict[Any, dict[str, Any]]:
        return {line["id"]: line for line in self.lines() if "method" not in line}

    def jobs(self) -> list[NotifiedJob]:
        return [notified(m) for m in self.lines() if m.get("method") == "mining.notify"]

    def methods(self) -> list[str]:
        return [line["method"] for line in self.lines() if "method" in line]


@dataclass
class FakeMiner:
    """One scripted miner at the edge."""

    bench: "EdgeBench"
    port: FakePort
    miner: Miner
    user: str
    number: int = 10

    def send(self, data: bytes) -> None:
        self.bench.edge.received(self.miner, data)

    def ask(self, method: str, params: Any) -> int:
        self.number += 1
        line = json.dumps({"id": self.number, "method": method, "params": params})
        self.send(line.encode() + b"\n")
        return self.number

    def share(self, job: NotifiedJob, extra: int = 0, *, below: int, above: int = -1) -> list[str]:
        """Return parameters of a share whose hash lies in (`above`, `below`]."""
        extranonce2 = extra.to_bytes(8, "big")
        extranonce1 = self.miner.session.extranonce1
        header = job.header(extranonce1, extranonce2, job.ntime, 0, job.version)[:76]
        function = pow_function(self.bench.params)
        nonce = 0
        while not above < function(header + nonce.to_bytes(4, "little")) <= below:
            nonce += 1
        return [self.user, job.job_id, extranonce2.hex(), f"{job.ntime:08x}", f"{nonce:08x}"]

    def target(self, job: NotifiedJob) -> int:
        return self.miner.session.sent[job.job_id].target

    def submit(self, params: list[str]) -> int:
        return self.ask("mining.submit", params)

    async def answer(self, number: int) -> dict[str, Any]:
        await until(lambda: number in self.port.answers())
        return self.port.answers()[number]


@dataclass
class EdgeBench:
    params: ChainParams
    edge: Edge
    works: JobBook
    log: ScriptedWriter
    block_log: ScriptedWriter
    batcher: Batcher
    clock: Clock
    submitted: list[bytes]

    async def miner(self, number: int = 1, *, peer: str = "10.0.0.1") -> FakeMiner:
        """Connect and log in."""
        one = self.connect(number, peer=peer)
        one.ask("mining.subscribe", ["test"])
        request = one.ask("mining.authorize", [one.user, "x"])
        assert (await one.answer(request))["result"] is True
        return one

    def connect(self, number: int = 1, *, peer: str = "10.0.0.1") -> FakeMiner:
        port = FakePort()
        listener = self.edge.settings.listeners[0]
        miner = self.edge.connected(port, peer, listener)
        assert miner is not None
        return FakeMiner(self, port, miner, address(self.params, number) + ".w")


async def until(condition: Any, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def edge_bench(
    tmp_path: Path, params: ChainParams = DEVCHAIN, *, start_weight: int = 1, **changes: Any
) -> AsyncIterator[EdgeBench]:
    settings = edge_settings(tmp_path, params, NODE, start_weight=start_weight, **changes)
    works = JobBook(params, SCRIPT, pool_tag(POOL), SALT)
    log, block_log, clock = ScriptedWriter(), ScriptedWriter(), Clock()
    submitted: list[bytes] = []

    async def open_log() -> LogWriter:
        return log

    async def open_blocks() -> LogWriter:
        return block_log

    async def submit(block: bytes) -> Sequence[Submission]:
        submitted.append(block)
        return [Submission("n", block_hash(block[:80]), None, 1)]

    batcher = Batcher(Identity(), works, open_log, clock, shares_max=512, delay_ms=1)
    blocks = BlockKeeper(Identity(), open_blocks, submit, clock)
    edge = Edge(settings, params, works, batcher, blocks, clock)
    tasks = [asyncio.create_task(batcher.run()), asyncio.create_task(blocks.run())]
    await batcher.started.wait()
    try:
        yield EdgeBench(params, edge, works, log, block_log, batcher, clock, submitted)
    finally:
        edge.close_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
