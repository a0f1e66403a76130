"""CalmMoves at the socket: who is sent away is told first, and nothing answered is lost."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from pithead.coins.registry import chain_params
from pithead.config import DrainSettings, HealthSettings
from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.stratum import metrics
from pithead.stratum.service import run
from tests.support.devchain import DevchainProcess, DevchainTask, devchain_settings
from tests.support.edge import EdgeProcess, RunningEdge, address, edge_settings, running_edge
from tests.support.litecoind import free_port
from tests.support.stratum_client import StratumClient

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
MINERS = 12
LONG_MS = 600_000


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DevchainTask]:
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)) as running:
        yield running


@dataclass
class Miner:
    """Mines one share after another until its connection ends."""

    port: int
    number: int
    leaves: bool
    """Whether it does what client.reconnect asks for; some firmware ignores it."""
    trues: int = 0
    refused: list[object] = field(default_factory=list)
    asked_s: list[float] = field(default_factory=list)
    closed_s: float = 0.0

    async def mine(self) -> None:
        async with StratumClient(PARAMS, self.port) as client:
            await client.login(f"{address(PARAMS, self.number)}.rig")
            job = await client.job()
            share = 0
            try:
                while not (self.leaves and self._asked(client)):
                    answer = await client.submit(client.solve(job, share))
                    share += 1
                    if answer["result"] is True:
                        self.trues += 1
                    else:
                        self.refused.append(answer["error"])
                    await asyncio.sleep(0.01)
            except ConnectionError:
                self._asked(client)
            self.closed_s = time.monotonic()

    def _asked(self, client: StratumClient) -> bool:
        asked = [note.get("method") for note in client.notices].count("client.reconnect")
        self.asked_s += [time.monotonic()] * (asked - len(self.asked_s))
        return asked > 0


async def readyz(port: int) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/readyz") as answer,
    ):
        return answer.status, await answer.text()


def credited(batches: list[ShareBatch]) -> dict[str, int]:
    shares: dict[str, int] = {}
    for batch in batches:
        for index in batch.login:
            account = batch.account[index]
            shares[account] = shares.get(account, 0) + 1
    return shares


async def test_a_drain_loses_no_share_and_closes_nobody_who_was_not_asked(
    tmp_path: Path, node: DevchainTask
) -> None:
    settings = edge_settings(
        tmp_path,
        PARAMS,
        node.access,
        drain=DrainSettings(linger_ms=600, reconnect_ms=900, slices=3),
        health=HealthSettings(host="127.0.0.1", port=free_port()),
    )
    assert settings.health is not None
    broken = metrics.CALM_MOVES_BROKEN._value.get()
    async with running_edge(settings) as edge:
        miners = [Miner(edge.port, number, number % 2 == 0) for number in range(1, MINERS + 1)]
        tasks = [asyncio.create_task(miner.mine()) for miner in miners]
        await asyncio.sleep(0.3)
        stopped_s = time.monotonic()
        edge.stop.ask()
        await asyncio.sleep(0.2)
        # A load balancer that has not heard of it yet still sends miners here.
        late = Miner(edge.port, MINERS + 1, leaves=True)
        miners.append(late)
        tasks.append(asyncio.create_task(late.mine()))
        assert await readyz(settings.health.port) == (200, "ready\n")
        await asyncio.sleep(0.7)
        assert await readyz(settings.health.port) == (200, "ready\n")
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", edge.port)
        await asyncio.gather(*tasks)
        await edge.end()
        batches = await edge.batches()
    assert all(len(miner.asked_s) == 1 for miner in miners), "told once, nobody forgotten"
    assert all(miner.asked_s[0] <= miner.closed_s for miner in miners)
    assert all(miner.asked_s[0] - stopped_s > 0.55 for miner in miners), "not before the linger"
    assert max(miner.asked_s[0] for miner in miners) - min(m.asked_s[0] for m in miners) > 0.5
    stubborn = [miner for miner in miners if not miner.leaves]
    assert all(miner.closed_s - stopped_s > 1.4 for miner in stubborn), "credited until the end"
    assert not any(miner.refused for miner in miners if miner.leaves)
    assert late.trues > 0
    assert metrics.CALM_MOVES_BROKEN._value.get() == broken
    assert [batch.end for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert [batch.sequence for batch in batches] == list(range(len(batches)))
    shares = credited(batches)
    for miner in miners:
        # The last share of one that is cut off may be durable while its answer is not heard.
        heard, found = miner.trues, shares[address(PARAMS, miner.number)]
        assert heard <= found <= heard + (not miner.leaves)


async def test_a_drain_ends_when_everybody_has_left(tmp_path: Path, node: DevchainTask) -> None:
    drain = DrainSettings(linger_ms=100, reconnect_ms=LONG_MS)
    async with running_edge(edge_settings(tmp_path, PARAMS, node.access, drain=drain)) as edge:
        miner = Miner(edge.port, 1, leaves=True)
        task = asyncio.create_task(miner.mine())
        await asyncio.sleep(0.2)
        edge.stop.ask()
        async with asyncio.timeout(5):
            await task
            await edge.end()
        assert credited(await edge.batches()) == {address(PARAMS, 1): miner.trues}


@pytest.mark.parametrize(
    "drain",
    [DrainSettings(linger_ms=LONG_MS), DrainSettings(reconnect_ms=LONG_MS, slices=5)],
    ids=["lingering", "sending away"],
)
async def test_a_second_signal_shortens_the_drain_to_the_flush(
    tmp_path: Path, node: DevchainTask, drain: DrainSettings
) -> None:
    settings = edge_settings(tmp_path, PARAMS, node.access, drain=drain)
    edge = EdgeProcess(settings)
    await edge.start()
    miners = [Miner(settings.listeners[0].port, number, leaves=False) for number in range(1, 7)]
    tasks = [asyncio.create_task(miner.mine()) for miner in miners]
    await asyncio.sleep(0.3)
    os.kill(edge.pid, signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in tasks)
    began = time.monotonic()
    assert await asyncio.to_thread(edge.terminate) == 0
    assert time.monotonic() - began < 5
    await asyncio.gather(*tasks)
    assert all(len(miner.asked_s) == 1 for miner in miners)
    batches = await RunningEdge(settings).batches()
    assert batches[-1].end
    shares = credited(batches)
    for miner in miners:
        assert miner.trues <= shares[address(PARAMS, miner.number)] <= miner.trues + 1


async def test_an_edge_that_never_opened_does_not_linger(tmp_path: Path) -> None:
    node = DevchainProcess(devchain_settings(tmp_path / "chain"))
    drain = DrainSettings(linger_ms=LONG_MS, reconnect_ms=LONG_MS)
    settings = edge_settings(tmp_path, PARAMS, node.access, drain=drain)
    edge = RunningEdge(settings)
    edge.task = asyncio.create_task(run(settings, edge.stop))
    assert not (await edge.status()).ready
    async with asyncio.timeout(3):
        await edge.end()
    assert (await edge.batches())[-1].end
