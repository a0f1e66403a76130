"""The log of shares is let go behind all its readers, and the audit says so."""

from pathlib import Path

import pytest

from pithead.config import KeepSettings
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares.audit import audit_pools
from pithead.shares.retention import Floor, Retention, accounting_floor
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
