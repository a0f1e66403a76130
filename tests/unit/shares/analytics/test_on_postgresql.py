"""The writer over each SQL database: plans, marks and accounts are where production has them."""

import random
import time
from pathlib import Path

import pytest

from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares.analytics.standing import prepare
from pithead.shares.analytics.writer import Writer
from pithead.store.columnar.embedded import open_embedded
from tests.support.analytics import append, expected, mixed_batch
from tests.support.recount import differences, read_all
from tests.support.shares import make_store, producer_id

pytestmark = [pytest.mark.databases, pytest.mark.needs("chdb")]

NOW_MS = int(time.time() * 1000)


async def test_all_that_lies_in_the_log_is_counted_once(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    door = await open_embedded(tmp_path / "columnar")
    dice = random.Random(1)
    try:
        await prepare(engine, door)
        batches = [
            mixed_batch(dice, producer_id(producer), sequence, NOW_MS - 600_000 + sequence * 9_000)
            for producer in (1, 2)
            for sequence in range(8)
        ]
        for cut in (5, 9, 16):
            await append(tmp_path / "log", batches[:cut])
            reader = FileLog(tmp_path / "log").reader(shares_topic(pool.name))
            writer = Writer(engine, reader, door, pool, lambda: NOW_MS)
            while (await writer.step()).more:
                pass
            await reader.close()
        await prepare(engine, door)
        assert differences(await expected(engine, pool, batches), await read_all(door)) == []
    finally:
        await door.close()
        await engine.dispose()
