"""The share log goes away and comes back: refusals, blocks, readiness, and one producer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from pithead.coins.node import RpcNode
from pithead.coins.nodeset import NodeSet
from pithead.coins.registry import chain_params
from pithead.config import HealthSettings
from pithead.log.codec import decode_batch
from pithead.log.file_log import FileLog
from pithead.stratum import batcher, edge
from pithead.stratum.service import EdgeProcess, monotonic_ms
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import PARTITION, RunningEdge, address, edge_settings
from tests.support.faulty_log import Fault, FaultyLog
from tests.support.litecoind import free_port
from tests.support.stratum_client import StratumClient

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
BACK_S_MAX = 10.0

FAULTS = [Fault.FULL, Fault.UNAVAILABLE, Fault.BROKEN, Fault.HANGING]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make seconds of patience fractions; what is tested is their order."""
    monkeypatch.setattr(batcher, "HOLD_MS", 200)
    monkeypatch.setattr(edge, "LOG_AWAY_MS", 500)
    monkeypatch.setattr(edge, "RECONNECT_AFTER_MS", 2500)


@dataclass
class Scene:
    """An edge on a log with faults."""

    running: RunningEdge
    log: FaultyLog
    node: DevchainTask
    process: EdgeProcess

    async def get(self, path: str) -> tuple[int, str]:
        health = self.running.settings.health
        assert health is not None
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{health.port}/{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def until_readyz(self, status: int) -> str:
        async with asyncio.timeout(BACK_S_MAX):
            while (found := await self.get("readyz"))[0] != status:
                await asyncio.sleep(0.02)
        return found[1]


@asynccontextmanager
async def scene(
    tmp_path: Path, fault: Fault = Fault.NONE, bits: int = RARE_BLOCKS, start_weight: int = 1
) -> AsyncIterator[Scene]:
    log = FaultyLog(FileLog(tmp_path / "log"), PARTITION)
    log.fault = fault
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=bits)) as node:
        settings = edge_settings(
            tmp_path,
            PARAMS,
            node.access,
            start_weight=start_weight,
            health=HealthSettings(host="127.0.0.1", port=free_port()),
        )
        running = RunningEdge(settings)
        nodes = NodeSet(PARAMS, settings.coin.nodes, now_ms=monotonic_ms, poll_interval_ms=100)
        async with nodes:
            process = EdgeProcess(settings, nodes, PARAMS, log)
            running.task = asyncio.create_task(process.run(running.stop))
            try:
                yield Scene(running, log, node, process)
            finally:
                log.fault = Fault.NONE
                await running.end()


def reconnects(client: StratumClient) -> int:
    return [note.get("method") for note in client.notices].count("client.reconnect")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
async def test_an_outage_refuses_shares_and_ends_by_itself(tmp_path: Path, fault: Fault) -> None:
    async with scene(tmp_path) as it:
        await it.running.until_ready()
        async with (
            StratumClient(PARAMS, it.running.port) as client,
            StratumClient(PARAMS, it.running.port) as quiet,
        ):
            await client.login(address(PARAMS, 1))
            await quiet.login(address(PARAMS, 2))
            job = await client.job()
            assert (await client.submit(client.solve(job, 0)))["result"] is True
            assert (await it.get("readyz"))[0] == 200

            it.log.fault = fault
            first = await client.submit(client.solve(job, 1))
            second = await client.submit(client.solve(job, 2))
            for answer in (first, second):
                said = "is full" if fault is Fault.FULL else "does not confirm"
                text = f"the share log {said}: this share is not credited"
                assert answer["error"][:2] == [20, text]
            late = StratumClient(PARAMS, it.running.port)
            async with late:
                refused = await late.login(address(PARAMS, 3))
                assert refused["error"][0] == 20, "no work without a durable session record"
            reason = await it.until_readyz(503)
            assert reason.startswith("the share log has not confirmed for ")
            assert reconnects(client) == 0
            for one in (client, quiet):
                await one.until(lambda one=one: reconnects(one) == 1)
            await asyncio.sleep(1.5)
            assert (reconnects(client), reconnects(quiet)) == (1, 1), "once in an outage"
            assert "pithead_edge_log_away_seconds 0.0" not in (await it.get("metrics"))[1]

            it.log.fault = Fault.NONE
            began, number = time.monotonic(), 3
            while (await client.submit(client.solve(job, number)))["result"] is not True:
                number += 1
                await asyncio.sleep(0.05)
            assert time.monotonic() - began < BACK_S_MAX
            await it.until_readyz(200)
            await asyncio.sleep(0.3)  # The metric follows with the next look at the log.
            assert "pithead_edge_log_away_seconds 0.0" in (await it.get("metrics"))[1]
        await it.running.end()
        batches = await it.running.batches()
        # The last attempt before the log came back may be in it twice, as the same record.
        by_number = {batch.sequence: batch for batch in batches}
        assert list(by_number) == list(range(len(by_number)))
        assert {batch.producer for batch in batches} == {it.process.producer}
        assert all(batch == by_number[batch.sequence] for batch in batches)
        # Credited: before, after, and what was in flight when the log went away.
        assert sum(len(batch.weight) for batch in by_number.values()) in (2, 3)
    tries: dict[int, set[bytes]] = {}
    for attempt in it.log.attempts:
        tries.setdefault(decode_batch(attempt.payload).sequence, set()).add(attempt.payload)
    assert all(len(payloads) == 1 for payloads in tries.values()), "a number keeps its bytes"
    repeated = len(it.log.attempts) - len(tries)
    assert repeated >= (fault is not Fault.HANGING)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
async def test_a_block_solved_in_an_outage_reaches_the_chain_and_later_the_log(
    tmp_path: Path, fault: Fault
) -> None:
    easy = devchain_settings(tmp_path / "chain").bits
    async with scene(tmp_path, bits=easy, start_weight=64) as it, RpcNode(it.node.access) as rpc:
        await it.running.until_ready()
        async with StratumClient(PARAMS, it.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            it.log.fault = fault
            for height in (1, 2):
                assert (await client.submit(client.solve(job)))["error"][0] == 20
                await client.until(lambda known=job: client.jobs[-1].parent != known.parent)
                job = client.jobs[-1]
                assert (await rpc.chain_info()).blocks == height
            assert await it.running.blocks() == []
            assert "pithead_edge_block_records_waiting 2.0" in (await it.get("metrics"))[1]
            it.log.fault = Fault.NONE
            async with asyncio.timeout(BACK_S_MAX):
                while len(await it.running.blocks()) < 2:
                    await asyncio.sleep(0.02)
        records = await it.running.blocks()
        assert [record.height for record in records] == [1, 2]
        assert [record.sequence for record in records] == [0, 1]
        assert {record.producer for record in records} == {it.process.producer}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
async def test_no_listener_opens_before_batch_0_is_durable(tmp_path: Path, fault: Fault) -> None:
    async with scene(tmp_path, fault) as it:
        assert not (await it.running.status()).ready
        reason = await it.until_readyz(503)
        assert reason.startswith("the first batch is not in the share log: ")
        assert (await it.get("livez"))[0] == 200
        await asyncio.sleep(0.6)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", it.running.port)
        it.log.fault = Fault.NONE
        assert await it.until_readyz(200) == "ready\n"
        async with StratumClient(PARAMS, it.running.port) as client:
            assert (await client.login(address(PARAMS, 1)))["result"] is True


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    def value(text: str, name: str) -> float:
        lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        assert len(lines) == 1, name
        return float(lines[0].split()[1])

    async with scene(tmp_path) as it:
        await it.running.until_ready()
        before = (await it.get("metrics"))[1]
        stale = 'pithead_edge_shares_rejected_total{reason="stale"}'
        async with StratumClient(PARAMS, it.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            for number in range(5):
                assert (await client.submit(client.solve(job, number)))["result"] is True
            share = client.solve(job, 9)
            assert (await client.submit([share[0], "ffff", *share[2:]]))["error"][0] == 21
            await asyncio.sleep(1.2)
            after = (await it.get("metrics"))[1]
            assert value(after, "pithead_edge_connections") == 1
        accepted = "pithead_edge_shares_accepted_total"
        assert value(after, accepted) - value(before, accepted) == 5
        assert value(after, stale) >= 1
        batches = "pithead_edge_batches_total"
        assert value(after, batches) > value(before, batches)
        assert value(after, "pithead_edge_log_commit_seconds_count") > 0
        assert value(after, "pithead_edge_drain_state") == 0
