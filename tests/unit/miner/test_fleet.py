"""Fleets: workers of different strength side by side."""

import asyncio
from collections import Counter

import pytest

from pithead.miner.endpoint import BadUrl
from pithead.miner.fleet import Fleet, run_fleet
from pithead.miner.record import Answer, SubmitRecord
from pithead.miner.worker import WorkerSpec
from tests.unit.miner.pool import TinyPool
from tests.unit.miner.test_worker import LIMIT_S, until

pytestmark = pytest.mark.gate


async def test_workers_find_shares_by_their_strength_each_on_its_own_connection() -> None:
    records: list[SubmitRecord] = []
    stop = asyncio.Event()
    specs = [WorkerSpec(f"addr.rig{rate}", hashrate=rate * 500.0) for rate in (8, 4, 2, 1)]
    async with TinyPool(weight=8) as pool:
        url = f"stratum+tcp://127.0.0.1:{pool.port}"
        task = asyncio.create_task(run_fleet(url, specs, stop, recorder=records.append))
        await until(lambda: len(pool.valid) >= 800)
        stop.set()
        tally = await asyncio.wait_for(task, LIMIT_S)
        assert pool.connections == 4
        assert sorted(pool.logins) == sorted(spec.login for spec in specs)
        assert pool.wrong == []
    assert len(records) == tally.submitted == tally.accepted == len(pool.valid)
    assert all(record.answer is Answer.TRUE for record in records)
    shares = Counter(record.login for record in records)
    by_strength = [shares[spec.login] for spec in specs]
    assert by_strength == sorted(by_strength, reverse=True)
    assert by_strength[0] > 4 * by_strength[3]


async def test_a_fleet_stops_though_its_pool_is_nowhere() -> None:
    stop = asyncio.Event()
    pool = TinyPool()
    await pool.listen()
    await pool.stop()
    fleet = Fleet(f"127.0.0.1:{pool.port}", [WorkerSpec("a"), WorkerSpec("b")])
    task = asyncio.create_task(fleet.run(stop))
    await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(task, 3)
    assert fleet.tally.connections == 0


async def test_a_fleet_of_none_waits_for_its_end() -> None:
    stop = asyncio.Event()
    stop.set()
    assert (await run_fleet("127.0.0.1:1", [], stop)).submitted == 0


def test_an_address_that_cannot_be_dialled_is_refused_at_once() -> None:
    with pytest.raises(BadUrl):
        Fleet("http://x", [WorkerSpec("a")])
