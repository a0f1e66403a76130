"""Plans in the SQL database: one at a time, and what is decided stays."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from pithead.shares.analytics.plans import (
    NO_PLAN,
    Plan,
    PlanMoved,
    begin_anew,
    claim,
    finish,
    floor,
    may_drop,
    read_marks,
    read_plan,
    read_positions,
    read_state,
    write_marks,
    write_plan,
)
from pithead.shares.progress import Gap, Progress
from pithead.shares.schema import REVISION
from pithead.store import reading, transaction
from pithead.store.migrate import migrate
from tests.support.shares import make_store, producer_id
from tests.support.upgrades import database_at

pytestmark = pytest.mark.databases

FIRST = Plan(
    1,
    "file",
    5,
    done=False,
    ranges={"eu-0": (0, 100), "us-0": (7, 9)},
    skip={"eu-0": frozenset({40, 60})},
    nobodies=frozenset({"it's nobody"}),
    floor_s=86_400,
)


async def test_a_plan_is_read_as_it_was_written_and_positions_move_when_it_is_done(
    tmp_path: Path,
) -> None:
    engine, _ = await make_store(tmp_path)
    async with transaction(engine) as connection:
        assert await read_plan(connection, "t") is NO_PLAN
        await claim(connection, "t", NO_PLAN)
        await write_plan(connection, "t", FIRST)
    async with reading(engine) as connection:
        assert await read_plan(connection, "t") == FIRST
        assert await read_positions(connection, "t", "file") == {}
    async with transaction(engine) as connection:
        await finish(connection, "t", FIRST)
    async with reading(engine) as connection:
        assert (await read_plan(connection, "t")).done
        assert await read_positions(connection, "t", "file") == {"eu-0": 100, "us-0": 9}
        assert await read_positions(connection, "t", "another log") == {}
    await engine.dispose()


async def test_of_many_that_claim_a_number_one_gets_it(tmp_path: Path) -> None:
    engine, _ = await make_store(tmp_path)

    async def attempt(before: Plan) -> bool:
        try:
            async with transaction(engine) as connection:
                await claim(connection, "t", before)
        except PlanMoved:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt(NO_PLAN) for _ in range(4)))) == 1
    # Nothing comes after a plan that is not done.
    undone = Plan(1, "file", 5, done=False, ranges={})
    assert not any(await asyncio.gather(*(attempt(undone) for _ in range(2))))
    async with transaction(engine) as connection:
        await finish(connection, "t", undone)
    with pytest.raises(PlanMoved):
        async with transaction(engine) as connection:
            await finish(connection, "t", undone)
    assert sum(await asyncio.gather(*(attempt(undone) for _ in range(4)))) == 1
    await engine.dispose()


async def test_marks_keep_what_is_missing(tmp_path: Path) -> None:
    engine, _ = await make_store(tmp_path)
    marks = {
        producer_id(1): Progress(top=9, gaps=(Gap(2, 3), Gap(5, 5))),
        producer_id(2): Progress(top=0),
    }
    for _ in range(2):
        async with transaction(engine) as connection:
            await write_marks(connection, "t", marks)
    async with reading(engine) as connection:
        wanted = [*marks, producer_id(3)]
        assert await read_marks(connection, "t", wanted) == marks
        assert await read_marks(connection, "other", wanted) == {}
    await engine.dispose()


async def test_days_go_only_when_no_plan_is_undone_and_later_plans_keep_to_it(
    tmp_path: Path,
) -> None:
    engine, _ = await make_store(tmp_path)
    async with transaction(engine) as connection:
        await begin_anew(connection, "store")
        await claim(connection, "t", NO_PLAN)
    async with transaction(engine) as connection:
        assert not await may_drop(connection, 500)
        await finish(connection, "t", Plan(1, "file", 0, done=False, ranges={}))
    for second in (500, 400):
        async with transaction(engine) as connection:
            assert await may_drop(connection, second)
            assert await floor(connection) == 500
    await engine.dispose()


async def test_beginning_anew_forgets_all_but_counts_the_generation(tmp_path: Path) -> None:
    engine, _ = await make_store(tmp_path)
    async with transaction(engine) as connection:
        await begin_anew(connection, "one")
        await claim(connection, "t", NO_PLAN)
        await write_plan(connection, "t", FIRST)
        await finish(connection, "t", FIRST)
        await write_marks(connection, "t", {producer_id(1): Progress(top=1)})
    async with transaction(engine) as connection:
        await begin_anew(connection, "two")
        assert await read_plan(connection, "t") is NO_PLAN
        assert await read_positions(connection, "t", "file") == {}
        assert await read_marks(connection, "t", [producer_id(1)]) == {}
        state = await read_state(connection)
        assert (state.store, state.generation, state.dropped_s) == ("two", 2, 0)
    await engine.dispose()


async def test_a_database_of_before_analytics_begins_at_the_start_of_the_log(
    tmp_path: Path,
) -> None:
    url, engine = await database_at(tmp_path, "shares", "0006")
    async with transaction(engine) as connection:
        await connection.execute(
            text("INSERT INTO positions VALUES ('shares.p', 'eu-0', 'file', 4096)")
        )
    assert await migrate(url, "pithead.shares") == REVISION
    async with reading(engine) as connection:
        assert await read_positions(connection, "shares.p", "file") == {}
        kept = await connection.execute(text("SELECT position FROM positions"))
        assert kept.scalars().all() == [4096]
    await engine.dispose()
