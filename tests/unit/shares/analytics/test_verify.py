"""The columnar tables against the log: sound ones are, and what differs is named."""

import shutil

import numpy as np
import pytest
from sqlalchemy import update

from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.analytics.reading import region_id
from pithead.shares.analytics.verify import ChartsMoving, PoolCharts, compare_charts
from pithead.store import transaction
from tests.support.analytics import append
from tests.support.shares import POOL, address
from tests.unit.shares.analytics.test_writer import World, drain, some, world

__all__ = ["world"]

pytestmark = pytest.mark.columnar

MINUTE_S = 60


async def compared(world: World) -> PoolCharts:
    (found,) = await compare_charts(world.engine, FileLog(world.log), world.door)
    return found


async def add(world: World, name: str, second: int, account: int) -> None:
    """One share more in a rollup, as a fault of the database could make it."""
    row = {
        "ts": second,
        "pool": world.pool.id,
        "account": account,
        "region": region_id("eu"),
        "slot": 7,
        "shares": 1,
        "work": 5,
        "stale": 0,
        "duplicate": 0,
        "low": 0,
        "invalid": 0,
        "best": 0,
        "last": second,
    }
    if not world.door.server.modern:
        row["ver"] = 1 << 40
    await world.door.insert(name, {key: np.array([value]) for key, value in row.items()})


async def test_tables_are_sound_up_to_where_analytics_has_read(world: World) -> None:
    batches = some(11, 40)
    await append(world.log, [*batches[:30], *batches[10:12]])
    await drain(world.writer())
    await append(world.log, batches[30:])
    found = await compared(world)
    assert (found.batches, found.differences) == (30, [])
    await drain(world.writer())
    assert (await compared(world)).batches == 40


async def test_a_rollup_that_differs_is_named_with_account_and_time(world: World) -> None:
    await append(world.log, some(12, 20))
    await drain(world.writer())
    second = some(12, 20)[0].time_base_ms // 86_400_000 * 86_400
    await add(world, "account_d", second, 1)
    (difference,) = (await compared(world)).differences
    assert (difference.pool, difference.account, difference.second) == (POOL, 1, second)
    assert difference.sides == ("account_m", "account_d")
    assert difference.got[0] == difference.expected[0] + 1
    assert difference.got[1] == difference.expected[1] + 5
    assert difference.login == address(1) or difference.login


async def test_a_log_that_lacks_what_was_written_must_not_hold_more(world: World) -> None:
    batches = some(13, 20)
    await append(world.log, batches)
    await drain(world.writer())
    shutil.rmtree(world.log / shares_topic(POOL))
    found = await compared(world)
    assert (found.batches, found.differences) == (0, [])
    # Longer than before, so that the positions of analytics lie in it.
    await append(world.log, [*batches[12:], *batches[12:], *batches[12:]])
    found = await compared(world)
    assert found.differences == []
    assert found.whole_from_s > batches[12].time_base_ms // 1000
    last = batches[-1].time_base_ms // 60_000 * MINUTE_S + 600
    await add(world, "account_m", last, 2)
    sides = {one.sides for one in (await compared(world)).differences}
    assert ("log", "account_m") in sides


async def test_nothing_is_said_in_the_middle_of_a_plan(world: World) -> None:
    await append(world.log, some(14, 5))
    await drain(world.writer())
    async with transaction(world.engine) as connection:
        await connection.execute(update(schema.analytics_plans).values(done=False))
    with pytest.raises(ChartsMoving, match="try again"):
        await compared(world)
