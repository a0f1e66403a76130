"""The log of shares is let go behind all its readers, and the audit says so."""

from pathlib import Path

import pytest

from pithead.config import KeepSettings
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares.analytics import plans
from pithead.shares.audit import audit_pools
from pithead.shares.retention import (
    NO_SAY,
    Floor,
    Retention,
    accounting_floor,
    analytics_floor,
)
from pithead.store import transaction
from tests.support.accounting import Bench
from tests.support.shares import POOL, Share, make_batch, make_store, payload, producer_id

pytestmark = pytest.mark.databases

TOPIC = shares_topic(POOL)


def fixed(position: int | None) -> Floor:
    async def floor(_topic: str, _partition: str, _log: str) -> int | None:
        return position

    return floor


async def start_of(bench: Bench) -> int:
    return await bench.reader.start("eu-0")


async def test_only_what_all_readers_are_past_goes(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    async with Bench(tmp_path, engine, pool, FileLog(tmp_path / "log", chunk_bytes=1)) as bench:

        async def trim(*floors: Floor) -> int:
            every = [accounting_floor(engine), *floors]
            keep = KeepSettings(bytes=0)
            retention = Retention(bench.log, bench.reader, TOPIC, every, keep, lambda: 0)
            await retention.step()
            return await start_of(bench)

        async def write(*sequences: int) -> int:
            for sequence in sequences:
                share = Share(1, 20, 5, time_ms=sequence)
                await bench.write(
                    "eu-0", payload(make_batch(producer_id(1), sequence, [share], promise=19))
                )
            return await bench.reader.end("eu-0")

        async def read_all() -> None:
            while (await bench.consumer.poll()).records:
                pass

        await write(0, 1)
        assert await trim() == 0, "accounting has read nothing yet"
        await read_all()
        counted = await bench.reader.end("eu-0")
        await write(2, 3)
        assert await trim(fixed(None)) == 0, "another reader can not tell where it is"
        assert await trim(fixed(5)) == 0
        assert await trim(fixed(1 << 40)) == counted, "never past accounting"
        await read_all()
        cells = await bench.cells()
        assert sum(weight for weight, _ in cells.values()) == 20
        (audit,) = await audit_pools(engine, bench.log)
        assert (audit.cells, audit.lost > 0) == ([], True)
        # A lost position means reading what is left again, which counts nothing twice.
        bench.restart()
        await write(4)
        await read_all()
        assert sum(weight for weight, _ in (await bench.cells()).values()) == 25


async def test_analytics_is_waited_for_until_it_is_too_far_behind(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    async with Bench(tmp_path, engine, pool, FileLog(tmp_path / "log", chunk_bytes=1)) as bench:
        ends = []
        for sequence in range(6):
            await bench.write("eu-0", payload(make_batch(producer_id(1), sequence)))
            ends.append(await bench.reader.end("eu-0"))
        log_id = await bench.reader.log_id()

        async def floor(behind_bytes_max: int = 1 << 30) -> int | None:
            told = analytics_floor(engine, bench.log, behind_bytes_max)
            return await told(TOPIC, "eu-0", log_id)

        assert await floor() == NO_SAY, "it was never there"
        async with transaction(engine) as connection:
            await plans.claim(connection, TOPIC, plans.NO_PLAN)
            plan = plans.Plan(1, log_id, 0, done=False, ranges={"eu-0": (ends[0], ends[1])})
            await plans.write_plan(connection, TOPIC, plan)
        assert await floor() == ends[0], "exactly this range is read again after a crash"
        async with transaction(engine) as connection:
            await plans.finish(connection, TOPIC, plan)
        assert await floor() == ends[1]
        assert await floor(behind_bytes_max=ends[5] - ends[1] - 10) == NO_SAY
