"""Raw rows go after their days, rollups never."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares.analytics.reading import table
from pithead.shares.analytics.retention import DAY_S, drop_old_days, keep_days
from pithead.shares.analytics.standing import prepare
from pithead.shares.analytics.writer import Writer
from pithead.shares.pools import Pool
from pithead.store.columnar import Columnar
from tests.support.analytics import NOON_MS, append
from tests.support.columnar import COLUMNAR
from tests.support.shares import Share, make_batch, make_store, producer_id

pytestmark = pytest.mark.columnar


class World(NamedTuple):
    directory: Path
    engine: AsyncEngine
    door: Columnar
    pool: Pool

    async def write(self) -> None:
        reader = FileLog(self.directory).reader(shares_topic(self.pool.name))
        writer = Writer(self.engine, reader, self.door, self.pool, lambda: NOON_MS)
        while (await writer.step()).more:
            pass

    async def number(self, name: str, what: str = "count()") -> int:
        answer = await self.door.query(f"SELECT {what} AS n FROM {table(self.door.server, name)}")
        return int(answer.rows()[0][0])


@pytest.fixture
async def world(tmp_path: Path, columnar_kind: str) -> AsyncIterator[World]:
    door = await COLUMNAR.door(tmp_path)
    engine, pool = await make_store(tmp_path)
    await prepare(engine, door)
    yield World(tmp_path, engine, door, pool)
    await door.close()
    await engine.dispose()


async def test_old_raw_rows_go_and_their_sums_stay(world: World) -> None:
    await keep_days(world.door, 3650)
    batches = [
        make_batch(
            producer_id(1),
            sequence,
            [Share(1, 5, time_ms=NOON_MS - days * DAY_S * 1000)],
            time_ms=NOON_MS - days * DAY_S * 1000,
        )
        for sequence, days in enumerate((20, 16, 14, 2, 0))
    ]
    await append(world.directory, batches)
    await world.write()
    assert await world.number("shares") == 5
    if world.door.server.modern:
        # The server's own clock decides, and it is far beyond these days.
        await keep_days(world.door, 7)
        await world.door.command("OPTIMIZE TABLE shares FINAL")
        assert await world.number("shares") == 0
        await keep_days(world.door, 7)
    else:
        await drop_old_days(world.engine, world.door, 14, NOON_MS // 1000)
        assert await world.number("shares") == 3
        late = make_batch(
            producer_id(2),
            0,
            [Share(1, 5, time_ms=NOON_MS - 20 * DAY_S * 1000)],
            time_ms=NOON_MS - 20 * DAY_S * 1000,
        )
        await append(world.directory, [late], partition="us-0")
        await world.write()
        assert await world.number("shares") == 3
    assert await world.number("worker_d", "sum(shares)") == 5
    assert await world.number("pool_d", "sum(shares)") == 5
