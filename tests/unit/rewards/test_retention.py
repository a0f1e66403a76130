"""The block log is let go behind what rewards has committed."""

from pathlib import Path

import pytest

from pithead.config import KeepSettings
from pithead.log.file_log import FileLog
from pithead.log.topics import blocks_topic
from pithead.rewards.consumer import BlockConsumer
from pithead.rewards.retention import BlockRetention
from tests.unit.rewards.support import (
    GENESIS,
    PARAMS,
    POOL,
    WATCHED,
    record,
    rewards_database,
    solve,
)

pytestmark = pytest.mark.databases


async def test_blocks_that_were_read_go_and_others_stay(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log", chunk_bytes=1)
    topic = blocks_topic(POOL)
    reader = log.reader(topic)
    writer = await log.writer(topic, "home-0")
    async with rewards_database(tmp_path) as database:
        keep = KeepSettings(bytes=0)
        retention = BlockRetention(database, log, reader, POOL, keep, lambda: 0)
        first = await writer.append(record(solve(GENESIS, 7)).SerializeToString())
        await writer.append(record(solve(GENESIS, 8)).SerializeToString())
        await retention.step()
        assert await reader.start("home-0") == 0
        assert await BlockConsumer(database, reader, PARAMS, WATCHED).step() == 2
        await writer.append(record(solve(GENESIS, 9)).SerializeToString())
        await retention.step()
        assert await reader.start("home-0") > first
        assert await BlockConsumer(database, reader, PARAMS, WATCHED).step() == 1
    await writer.close()
    await reader.close()
