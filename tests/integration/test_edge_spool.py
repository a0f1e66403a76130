"""`onLogOutage: spool`: while the share log is away an edge goes on, and says that it does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from pithead.coins.node import RpcNode
from pithead.coins.nodeset import NodeSet
from pithead.coins.registry import chain_params
from pithead.config import HealthSettings, LogSettings, SpoolSettings
from pithead.log import spooled
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.stratum import backlog, batcher
from pithead.stratum.service import EdgeProcess, monotonic_ms
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import PARTITION, POOL, RunningEdge, address, edge_settings
from tests.support.faulty_log import Fault, FaultyLog
from tests.support.litecoind import free_port
from tests.support.stratum_client import StratumClient

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
LIMIT_S = 10.0


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fractions of a second of patience."""
    monkeypatch.setattr(spooled, "SPOOL_AFTER_S", 0.15)
    monkeypatch.setattr(spooled, "OPEN_S", 0.3)
    monkeypatch.setattr(spooled, "RETRY_S_MAX", 0.1)
    # A busy machine's syncs are slow; what is tested is that nobody hears of the log.
    monkeypatch.setattr(batcher, "HOLD_MS", 6_000)


@dataclass
class Scene:
    """An edge with a spool, on a log with faults."""

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

    async def metric(self, name: str) -> float:
        lines = (await self.get("metrics"))[1].splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    async def until_drained(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self.process.told().spooling:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def scene(
    tmp_path: Path,
    log: FaultyLog,
    *,
    bits: int = RARE_BLOCKS,
    start_weight: int = 1,
    spool_bytes: int = 1 << 20,
    log_bytes: int | None = None,
    wait_ms: int = 5_000,
) -> AsyncIterator[Scene]:
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=bits)) as node:
        settings = edge_settings(
            tmp_path,
            PARAMS,
            node.access,
            start_weight=start_weight,
            log=LogSettings(directory=tmp_path / "log", bytes_max=log_bytes),
            health=HealthSettings(host="127.0.0.1", port=free_port()),
            spool=SpoolSettings(
                directory=tmp_path / "spool", bytes_max=spool_bytes, wait_ms=wait_ms
            ),
        )
        running = RunningEdge(settings)
        nodes = NodeSet(PARAMS, settings.coin.nodes, now_ms=monotonic_ms, poll_interval_ms=100)
        async with nodes:
            process = EdgeProcess(settings, nodes, PARAMS, log)
            running.task = asyncio.create_task(process.run(running.stop))
            try:
                yield Scene(running, log, node, process)
            finally:
                await running.end()


def faulty(tmp_path: Path) -> FaultyLog:
    return FaultyLog(FileLog(tmp_path / "log"), PARTITION)


@pytest.mark.parametrize(
    "fault", [Fault.UNAVAILABLE, Fault.BROKEN, Fault.HANGING], ids=lambda fault: fault.name.lower()
)
async def test_miners_hear_true_all_through_an_outage(tmp_path: Path, fault: Fault) -> None:
    log = faulty(tmp_path)
    async with scene(tmp_path, log) as it:
        await it.running.until_ready()
        async with StratumClient(PARAMS, it.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            assert (await client.submit(client.solve(job, 0)))["result"] is True
            assert not it.process.told().spooling
            log.fault = fault
            for number in range(1, 6):
                assert (await client.submit(client.solve(job, number)))["result"] is True
            late = StratumClient(PARAMS, it.running.port)
            async with late:
                assert (await late.login(address(PARAMS, 2)))["result"] is True
            told = it.process.told()
            assert told.spooling
            assert told.log == "ok"
            assert told.spool_bytes > 0
            assert told.spool_batches > 0
            status = await it.running.status()
            assert status.ready
            assert status.degraded.startswith("shares are kept on this machine")
            assert status.spool_bytes > 0
            assert (await it.get("readyz"))[0] == 200
            await asyncio.sleep(0.4)  # The metrics follow with the next look.
            assert await it.metric("pithead_edge_spooling") == 1
            assert await it.metric("pithead_edge_spool_bytes") > 0
            log.fault = Fault.NONE
            await it.until_drained()
            assert not (await it.running.status()).degraded
            assert (await client.submit(client.solve(job, 9)))["result"] is True
        await it.running.end()
        batches = await it.running.batches()
    by_number = {batch.sequence: batch for batch in batches}
    assert list(by_number) == list(range(len(by_number))), "in order, none missing"
    assert all(batch == by_number[batch.sequence] for batch in batches)
    assert sum(len(batch.weight) for batch in by_number.values()) == 7
    assert batches[-1].end


async def test_the_next_process_adopts_what_the_last_one_could_not_send(tmp_path: Path) -> None:
    log = faulty(tmp_path)
    async with scene(tmp_path, log, wait_ms=300) as first:
        await first.running.until_ready()
        async with StratumClient(PARAMS, first.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            log.fault = Fault.UNAVAILABLE
            for number in range(3):
                assert (await client.submit(client.solve(job, number)))["result"] is True
        first.running.stop.set()
    earlier = first.process.producer
    async with scene(tmp_path, log) as second:
        await second.running.until_ready()
        async with StratumClient(PARAMS, second.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            assert (await client.submit(client.solve(job, 0)))["result"] is True
        log.fault = Fault.NONE
        await second.until_drained()
        await second.running.end()
        batches = await second.running.batches()
    own = [batch.producer == second.process.producer for batch in batches]
    assert own == sorted(own), "nothing of its own before the adopted end"
    adopted = {batch.sequence: batch for batch in batches if batch.producer == earlier}
    assert list(adopted) == list(range(len(adopted)))
    assert adopted[max(adopted)].end
    assert sum(len(batch.weight) for batch in adopted.values()) == 3


async def test_a_full_spool_refuses_and_goes_on_when_it_is_drained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Below what settings allow, so that a few batches reach it.
    monkeypatch.setattr("pithead.config.edge.SPOOL_BYTES_MIN", 4_000)
    log = faulty(tmp_path)
    async with scene(tmp_path, log, spool_bytes=4_000) as it:
        await it.running.until_ready()
        async with StratumClient(PARAMS, it.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            log.fault = Fault.UNAVAILABLE
            number, refused = 0, None
            async with asyncio.timeout(LIMIT_S):
                while refused is None:
                    refused = (await client.submit(client.solve(job, number)))["error"]
                    number += 1
            assert refused[:2] == [20, "the share log is full: this share is not credited"]
            log.fault = Fault.NONE
            await it.until_drained()
            async with asyncio.timeout(LIMIT_S):
                while (await client.submit(client.solve(job, number)))["result"] is not True:
                    number += 1
                    await asyncio.sleep(0.02)


async def test_a_block_solved_while_spooling_is_submitted_and_its_record_kept(
    tmp_path: Path,
) -> None:
    easy = devchain_settings(tmp_path / "chain").bits
    log = faulty(tmp_path)
    async with (
        scene(tmp_path, log, bits=easy, start_weight=64) as it,
        RpcNode(it.node.access) as rpc,
    ):
        await it.running.until_ready()
        async with StratumClient(PARAMS, it.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            log.fault = Fault.UNAVAILABLE
            assert (await client.submit(client.solve(job)))["result"] is True
            await client.until(lambda: client.jobs[-1].parent != job.parent)
            assert (await rpc.chain_info()).blocks == 1
            async with asyncio.timeout(LIMIT_S):
                while "pithead_edge_block_records_waiting 0.0" not in (await it.get("metrics"))[1]:
                    await asyncio.sleep(0.02)
            assert await it.running.blocks() == []
            log.fault = Fault.NONE
            async with asyncio.timeout(LIMIT_S):
                while not (found := await it.running.blocks()):
                    await asyncio.sleep(0.02)
    assert [record.height for record in found] == [1]


async def test_at_the_logs_byte_bound_shares_are_refused_until_something_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MEASURE_S", 0.05)
    log = FaultyLog(FileLog(tmp_path / "log", chunk_bytes=1_000), PARTITION)
    async with scene(tmp_path, log, log_bytes=10_000) as it:
        await it.running.until_ready()
        async with StratumClient(PARAMS, it.running.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            number, refused, half_told = 0, None, False
            async with asyncio.timeout(LIMIT_S):
                while refused is None:
                    refused = (await client.submit(client.solve(job, number)))["error"]
                    half_told = half_told or "half" in (await it.running.status()).degraded
                    number += 1
            assert half_told
            assert refused[:2] == [20, "the share log is full: this share is not credited"]
            status = await it.running.status()
            assert not status.ready
            assert "the bound is 10000" in status.trouble
            assert await it.metric("pithead_edge_log_full") == 1
            reader = log.reader(shares_topic(POOL))
            end = await reader.end(PARTITION)
            # The promise goes on.
            assert await reader.wait(PARTITION, end, 3_000)
            await log.delete_before(shares_topic(POOL), PARTITION, end)
            await reader.close()
            async with asyncio.timeout(LIMIT_S):
                while (await client.submit(client.solve(job, number)))["result"] is not True:
                    number += 1
                    await asyncio.sleep(0.02)
            assert (await it.running.status()).ready
