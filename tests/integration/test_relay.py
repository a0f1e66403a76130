"""A relay and a share processor as real processes, over logs of chunk files, killed and paused.

Batches are written into the region's log all the time. Both processes are killed
(SIGKILL) and paused in turns and the wire between them is cut; then it must
converge: each share is in a cell once, and a recount from the hub's log agrees.
"""

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.config import (
    IntakeSettings,
    LogSettings,
    PeerSettings,
    RelayedRegion,
    RelaySettings,
    ServeSettings,
    SharesSettings,
)
from pithead.config.share_log import open_log
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.audit import recount
from pithead.store import open_store, reading
from pithead.store.migrate import migrate
from tests.support.doors import served
from tests.support.litecoind import free_port
from tests.support.services import ServiceProcess
from tests.support.shares import (
    COIN_SETTINGS,
    POOL,
    POOL_SETTINGS,
    Share,
    make_batch,
    payload,
    producer_id,
    store_url,
)
from tests.support.wire import Wire

pytestmark = [pytest.mark.gate, pytest.mark.timeout(90)]

SEED = 20
FAULTS = 10
CONVERGE_S = 45


async def mine(log: LogSettings, partition: str, producer: int, stop: asyncio.Event) -> int:
    """Write batches of two shares into a region's log until told to stop; how many shares."""
    writer = await open_log(log).writer(shares_topic(POOL), partition)
    sequence = 0
    while not stop.is_set():
        shares = [Share(1, 20), Share(2, 20, weight=3)]
        batch = make_batch(producer_id(producer), sequence, shares, promise=20)
        await writer.append(payload(batch))
        sequence += 1
        await asyncio.sleep(0.002)
    await writer.close()
    return 2 * sequence


async def test_everything_counts_once_though_both_ends_die_again_and_again(tmp_path: Path) -> None:
    door = ServeSettings(address=f"127.0.0.1:{free_port()}")
    hub_log, region_log = (LogSettings(directory=tmp_path / name) for name in ("hub", "region"))
    shares = SharesSettings(
        database=store_url(tmp_path),
        serve=served(tmp_path / "s"),
        log=hub_log,
        pools=(POOL_SETTINGS,),
        coins=(COIN_SETTINGS,),
        intake=IntakeSettings(serve=door, regions=(RelayedRegion(region="eu", pools=(POOL,)),)),
    )
    await migrate(shares.database, "pithead.shares")
    chance = random.Random(SEED)
    async with Wire(int(door.address.rpartition(":")[2])) as wire:
        relay = RelaySettings(
            region="eu",
            pools=(POOL,),
            log=region_log,
            hub=PeerSettings(address=f"127.0.0.1:{wire.port}"),
        )
        processes = [
            ServiceProcess("shares", shares, tmp_path),
            ServiceProcess("relay", relay, tmp_path),
        ]
        engine = open_store(shares.database)
        try:
            for process in processes:
                process.start()
            done = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                mined = [
                    group.create_task(mine(region_log, f"eu-{number}", number + 1, done))
                    for number in range(2)
                ]
                await until_counted(engine, 100)
                for _ in range(FAULTS):
                    await fault(chance, processes, wire)
                done.set()
            total = sum(task.result() for task in mined)
            await until_counted(engine, total)
            async with reading(engine) as connection:
                weight = await connection.scalar(select(func.sum(schema.cells.c.weight)))
                assert int(weight or 0) == total * 2
                assert not (await connection.execute(select(schema.missing))).all()
                assert not (await connection.execute(select(schema.set_aside))).all()
            assert [process.terminate() for process in reversed(processes)] == [0, 0]
            assert await recount(engine, open_log(hub_log)) == []
        finally:
            for process in processes:
                process.kill()
            await engine.dispose()


async def until_counted(engine: AsyncEngine, total: int) -> None:
    """Wait until so many shares are in cells; more are never there at the end."""
    async with asyncio.timeout(CONVERGE_S):
        while await counted(engine) < total:
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.3)


async def counted(engine: AsyncEngine) -> int:
    async with reading(engine) as connection:
        return int(await connection.scalar(select(func.sum(schema.cells.c.shares))) or 0)


async def fault(chance: random.Random, processes: list[ServiceProcess], wire: Wire) -> None:
    """One fault, and some time in which things may or may not get going again."""
    kind = chance.choice(["kill", "kill", "kill", "pause", "cut"])
    process = chance.choice(processes)
    if kind == "kill":
        process.kill()
        await asyncio.sleep(chance.uniform(0, 0.3))
        process.start()
    elif kind == "pause":
        await process.pause(chance.uniform(0.1, 0.5))
    else:
        wire.cut()
        await asyncio.sleep(chance.uniform(0.1, 0.5))
        wire.mend()
    await asyncio.sleep(chance.uniform(0, 1.2))
