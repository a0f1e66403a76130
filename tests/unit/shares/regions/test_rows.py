"""What the hub remembers of regions, on both databases."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.regions.arrivals import Arrival, topics_of
from pithead.shares.regions.begin import Found
from pithead.shares.regions.rows import (
    ASIDE_ROWS_MAX,
    Brought,
    Progress,
    RegionRows,
    Superseded,
    Told,
    ask,
    read_far,
)
from pithead.store import reading
from tests.support.shares import POOL, make_store, producer_id

pytestmark = pytest.mark.databases

TOPIC = shares_topic(POOL)
PLACE = (TOPIC, "0")


async def test_only_the_newest_connection_stores_anything(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    first = RegionRows(engine, "eu", [pool.id], b"first")
    await first.take_over("far", {PLACE: Found("far", 0, 9)}, {TOPIC: "hub"}, 1)
    await first.store(Brought({PLACE: Progress(5, 50)}, {producer_id(1): (pool.id, 7)}), 1)
    second = RegionRows(engine, "eu", [pool.id], b"second")
    begins = await second.take_over("far", {PLACE: Found("far", 0, 9)}, {TOPIC: "hub"}, 2)
    assert begins[PLACE].position == 5
    for refused in (
        first.store(Brought({PLACE: Progress(9, 90)}), 3),
        first.tell(Told({pool.id: 1}, {pool.id: 1}, {}), 3),
        first.release(list(topics_of([POOL]).values()), {}),
        first.asked(),
    ):
        with pytest.raises(Superseded):
            await refused
    other = RegionRows(engine, "us", [pool.id], b"third")
    assert (await other.take_over("far", {PLACE: Found("far", 0, 9)}, {TOPIC: "hub"}, 2))[
        PLACE
    ].position == 0, "another region has its own"
    async with reading(engine) as connection:
        regions = await read_far(connection, pool.id, TOPIC, ["eu", "asia"])
    there = regions["eu"].partitions["0"]
    assert (there.position, there.told_end) == (5, 9)
    assert regions["asia"].partitions == {}
    assert await second.strangers([producer_id(1)]) == {}
    assert await other.strangers([producer_id(1)]) == {producer_id(1): "eu"}
    await engine.dispose()


async def test_a_question_is_answered_by_what_was_told_after_it(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    assert await ask(engine, pool.id, ["eu"]) == {"eu": 1}, "before it ever came"
    rows = RegionRows(engine, "eu", [pool.id], b"first")
    await rows.take_over("far", {PLACE: Found("far", 0, 9)}, {TOPIC: "hub"}, 1)
    assert await ask(engine, pool.id, ["eu"]) == {"eu": 2}
    assert await rows.asked() == {pool.id: 2}
    await rows.tell(Told({pool.id: 2}, {pool.id: 70}, {PLACE: 12}), 5)
    async with reading(engine) as connection:
        eu = (await read_far(connection, pool.id, TOPIC, ["eu"]))["eu"]
    assert (eu.answered, eu.told_ms, eu.heard_ms, eu.moved_ms) == (2, 5, 70, 5)
    assert eu.partitions["0"].told_end == 12
    await rows.tell(Told({pool.id: 2}, {pool.id: 70}, {PLACE: 12}), 9)
    # Answers of a log that was exchanged answer nothing about the new one.
    await rows.take_over("new", {PLACE: Found("new", 0, 3)}, {TOPIC: "hub"}, 10)
    async with reading(engine) as connection:
        eu = (await read_far(connection, pool.id, TOPIC, ["eu"]))["eu"]
    assert (eu.answered, eu.told_ms, eu.heard_ms, eu.moved_ms) == (0, 0, 0, 5)
    assert await rows.asked() == {pool.id: 2}
    await engine.dispose()


async def test_garbage_of_a_region_fills_no_database(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    topic = topics_of([POOL])[TOPIC]
    rows = RegionRows(engine, "eu", [pool.id], b"first")
    await rows.take_over("far", {PLACE: Found("far", 0, 9)}, {TOPIC: "hub"}, 1)
    for start in (0, 600, 1200):
        records = [
            (topic, "0", Arrival(position, position + 1, b"x", fault="odd"))
            for position in range(start, start + 600)
        ]
        await rows.store(Brought({PLACE: Progress(start + 600, 0)}, {}, records), 1)
    async with reading(engine) as connection:
        kept = await connection.scalar(select(func.count()).select_from(schema.set_aside))
    assert kept == ASIDE_ROWS_MAX
    await engine.dispose()
