"""DurableAccept and UniqueWork when things die: the edge itself, its node, its start."""

import asyncio
import random
from pathlib import Path

import pytest

from pithead.coins.block import parse_block
from pithead.coins.job import parse_coinbase_mark
from pithead.coins.registry import chain_params
from pithead.stratum.service import run
from tests.support.devchain import DevchainProcess, DevchainTask, devchain_settings
from tests.support.edge import (
    EdgeProcess,
    RunningEdge,
    address,
    edge_settings,
    running_edge,
)
from tests.support.litecoind import Litecoind
from tests.support.stratum_client import StratumClient

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
KILLS = 5


async def test_every_true_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    heard: set[tuple[bytes, int, int]] = set()
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)) as node:
        settings = edge_settings(tmp_path, PARAMS, node.access)
        edge = EdgeProcess(settings)
        for _ in range(KILLS):
            await edge.start()
            async with asyncio.TaskGroup() as group:
                miners = [
                    group.create_task(mine_until_cut(settings.listeners[0].port, number, heard))
                    for number in range(4)
                ]
                await asyncio.sleep(source.uniform(0.05, 0.4))
                edge.kill()
            assert all(miner.done() for miner in miners)
        await edge.start()
        assert edge.terminate() == 0
        batches = await RunningEdge(settings).batches()
    credited: dict[tuple[bytes, int], int] = {}
    sequences: dict[bytes, list[int]] = {}
    for batch in batches:
        sequences.setdefault(batch.producer, []).append(batch.sequence)
        sessions = {session.extranonce1 for session in batch.sessions}
        assert all(len(extranonce1) == 5 for extranonce1 in sessions)
        for login, serial in zip(batch.login, batch.serial, strict=True):
            worker = int(batch.worker[login])
            key = (batch.producer, worker)
            credited[key] = credited.get(key, 0) + 1
            assert serial >= 0
    assert len(sequences) == KILLS + 1
    for numbers in sequences.values():
        assert numbers == list(range(len(numbers)))
    trues: dict[tuple[bytes, int], int] = {}
    for salt, worker, _ in heard:
        trues[salt, worker] = trues.get((salt, worker), 0) + 1
    assert len(heard) > 20
    for key, count in trues.items():
        # What was durable when its answer was cut off counts for the miner too: at most one each.
        assert count <= credited.get(key, 0) <= count + 1


async def mine_until_cut(port: int, worker: int, heard: set[tuple[bytes, int, int]]) -> None:
    """Mine with one share in flight; note each `true` under the process that gave it."""
    try:
        async with StratumClient(PARAMS, port) as client:
            await client.login(f"{address(PARAMS, worker + 1)}.{worker}")
            job = await client.job()
            salt = job.coinb1[-20:-4]
            for number in range(1_000_000):
                newest = client.jobs[-1]
                answer = await client.submit(client.solve(newest, number))
                if answer["result"] is True:
                    heard.add((salt, worker, number))
    except ConnectionError:
        return


async def test_the_edge_waits_for_its_node_and_outlives_it(tmp_path: Path) -> None:
    chain = devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)
    node = DevchainProcess(chain)
    settings = edge_settings(tmp_path, PARAMS, node.access)
    edge = RunningEdge(settings)
    edge.task = asyncio.create_task(run(settings, edge.stop))
    try:
        status = await edge.status()
        assert not status.ready
        assert "node" in status.trouble
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", edge.port)
        await node.start()
        await edge.until_ready()
        async with StratumClient(PARAMS, edge.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            node.kill()
            assert (await client.submit(client.solve(job)))["result"] is True
            await node.start()
            assert (await client.submit(client.solve(job, 1)))["result"] is True
    finally:
        node.kill()
        await edge.end()


async def test_an_edge_without_a_node_stops_at_once(tmp_path: Path) -> None:
    node = DevchainProcess(devchain_settings(tmp_path / "chain"))
    settings = edge_settings(tmp_path, PARAMS, node.access)
    edge = RunningEdge(settings)
    edge.task = asyncio.create_task(run(settings, edge.stop))
    assert not (await edge.status()).ready
    async with asyncio.timeout(3):
        await edge.end()
    assert (await edge.batches())[-1].end


@pytest.mark.needs("litecoind")
async def test_litecoind_accepts_a_block_of_the_edge(tmp_path: Path) -> None:
    params = chain_params("litecoin", "regtest")
    node = Litecoind(tmp_path / "litecoin")
    await node.start()
    try:
        settings = edge_settings(tmp_path, params, node.access, start_weight=64)
        async with (
            running_edge(settings) as edge,
            StratumClient(params, edge.port) as client,
        ):
            await client.login(address(params, 1) + ".w")
            for _ in range(3):
                job = await client.job()
                assert (await client.submit(client.solve(job)))["result"] is True
                await client.until(lambda known=job: client.jobs[-1].parent != known.parent)
            # The record is written beside the submission: new work may come before it.
            async with asyncio.timeout(10):
                while not (records := await edge.blocks()) or (
                    records[-1].hash != client.jobs[-1].parent
                ):
                    await asyncio.sleep(0.05)
            mark = parse_coinbase_mark(params, parse_block(params, records[-1].block).coinbase)
            assert mark is not None
            assert (mark.extranonce1, mark.slot) == (client.extranonce1, 3)
            assert mark.salt == records[-1].producer
    finally:
        node.stop()
