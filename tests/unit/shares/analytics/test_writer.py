"""The log into the columnar tables, each row once whatever happens on the way."""

import random
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.analytics.plans import PlanMoved, read_plan
from pithead.shares.analytics.standing import StoreConflict, prepare, rebuild
from pithead.shares.analytics.writer import Writer
from pithead.shares.pools import Pool
from pithead.store import reading
from pithead.store.columnar import Column, Columnar, ColumnarAway
from tests.support.analytics import append, expected, keep_for_ever, mixed_batch
from tests.support.columnar import COLUMNAR
from tests.support.recount import differences, read_all
from tests.support.shares import address, make_batch, make_store, producer_id

pytestmark = pytest.mark.columnar

NOW_MS = int(time.time() * 1000)


@dataclass
class World:
    """One log, both databases, and what was put into the log."""

    directory: Path
    engine: AsyncEngine
    door: Columnar
    pool: Pool

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def writer(self, door: Columnar | None = None) -> Writer:
        reader = FileLog(self.log).reader(shares_topic(self.pool.name))
        return Writer(self.engine, reader, door or self.door, self.pool, lambda: NOW_MS)

    async def check(self, batches: list[ShareBatch]) -> None:
        want = await expected(self.engine, self.pool, batches)
        assert differences(want, await read_all(self.door)) == []


@pytest.fixture
async def world(tmp_path: Path, columnar_kind: str) -> AsyncIterator[World]:
    door = await COLUMNAR.door(tmp_path)
    engine, pool = await make_store(tmp_path)
    await prepare(engine, door)
    yield World(tmp_path, engine, door, pool)
    await door.close()
    await engine.dispose()


def some(seed: int, count: int, *, producer: int = 1, start_ms: int = NOW_MS) -> list[ShareBatch]:
    dice = random.Random(seed)
    return [
        mixed_batch(dice, producer_id(producer), sequence, start_ms - 7_200_000 + sequence * 40_000)
        for sequence in range(count)
    ]


async def drain(writer: Writer) -> None:
    while (await writer.step()).more:
        pass


async def test_every_share_and_reject_is_in_raw_rows_and_all_rollups(world: World) -> None:
    batches = some(1, 60)
    await append(world.log, batches)
    writer = world.writer()
    await drain(writer)
    await world.check(batches)
    assert writer.lag_ms() == 0


async def test_a_batch_that_lies_twice_in_the_log_counts_once(world: World) -> None:
    batches = some(2, 12)
    await append(world.log, batches[:8])
    writer = world.writer()
    await drain(writer)
    await append(world.log, [*batches[4:], *batches[6:10]])
    await append(world.log, batches[:10], partition="us-0")
    await drain(writer)
    await world.check(batches)


async def test_late_shares_count_in_their_own_minute(world: World) -> None:
    early, late = some(3, 10), some(4, 10, producer=2, start_ms=NOW_MS - 5 * 86_400_000)
    await append(world.log, early)
    writer = world.writer()
    await drain(writer)
    await append(world.log, late, partition="us-0")
    await drain(writer)
    await world.check([*early, *late])


class Interrupted(Exception):
    """Stands for a crash."""


class Breaking:
    """A door that breaks off at the n-th statement, before or after it took effect."""

    def __init__(self, door: Columnar, at: int, *, after: bool) -> None:
        self._door = door
        self._left = at
        self._after = after
        self.server = door.server
        self.broke = False

    async def insert(self, table: str, columns: dict[str, Column], *, token: str = "") -> None:
        await self._step(lambda: self._door.insert(table, columns, token=token))

    async def command(self, text: str, params: None = None) -> None:
        await self._step(lambda: self._door.command(text, params))

    async def _step(self, work: object) -> None:
        self._left -= 1
        here = self._left == 0
        self.broke |= here
        if here and not self._after:
            raise Interrupted
        await work()  # type: ignore[operator]
        if here:
            raise Interrupted


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_plan_that_broke_off_is_repeated_to_the_row(world: World, after: bool) -> None:
    batches: list[ShareBatch] = []
    for at in (1, 2, 3, 4, 9, 17):
        new = some(100 + at, 4, producer=100 + at)
        batches += new
        await append(world.log, new)
        breaking = Breaking(world.door, at, after=after)
        try:
            await drain(world.writer(breaking))  # type: ignore[arg-type]
        except Interrupted:
            # More comes before it is repeated, and the repeat must not take it in.
            batches += (more := some(200 + at, 2, producer=200 + at))
            await append(world.log, more)
        await drain(world.writer())
        if not breaking.broke:
            break
    await world.check(batches)


async def test_rejects_of_a_login_without_an_account_are_nobodys(world: World) -> None:
    stranger = make_batch(
        producer_id(1), 0, time_ms=NOW_MS, rejects=[(address(7), 1, 5), ("garbage", 4, 2)]
    )
    await append(world.log, [stranger])
    await drain(world.writer())
    await world.check([stranger])
    # An account that it gets later changes nothing of what was counted.
    found = await world.door.query("SELECT sum(stale) AS n FROM account_d WHERE account = 0")
    assert found.rows() == [(5,)]


async def test_names_of_workers_and_regions_can_be_looked_up(world: World) -> None:
    batches = some(5, 6)
    await append(world.log, batches)
    await drain(world.writer())
    await drain(world.writer())
    rows = (await world.door.query("SELECT name, pool FROM workers FINAL ORDER BY name")).rows()
    assert rows == [("", world.pool.id)] * 4 + [("rig", world.pool.id)] * 4
    assert (await world.door.query("SELECT name FROM regions FINAL")).rows() == [("eu",)]


async def test_an_idle_log_makes_no_inserts(world: World) -> None:
    heartbeats = [make_batch(producer_id(1), n, time_ms=NOW_MS) for n in range(5)]
    await append(world.log, heartbeats)
    breaking = Breaking(world.door, 1, after=False)
    await drain(world.writer(breaking))  # type: ignore[arg-type]
    assert not breaking.broke
    async with reading(world.engine) as connection:
        assert (await read_plan(connection, shares_topic(world.pool.name))).done


async def test_a_second_process_can_not_plan_beside_the_first(world: World) -> None:
    batches = some(6, 4)
    await append(world.log, batches)
    first, second = world.writer(), world.writer()
    await drain(first)
    await drain(second)
    more = some(7, 4, producer=2)
    await append(world.log, more)
    await drain(first)
    with pytest.raises(PlanMoved):
        await second.step()
    await drain(second)
    await world.check([*batches, *more])


async def test_a_database_that_is_away_loses_nothing_and_lag_tells(world: World) -> None:
    class Away(Breaking):
        async def _step(self, work: object) -> None:
            raise ColumnarAway("it", "is away")

    batches = some(8, 4)
    await append(world.log, batches)
    writer = world.writer(Away(world.door, 1, after=False))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ColumnarAway):
            await writer.step()
        assert writer.lag_ms() == 7_200_000
    await drain(world.writer())
    await world.check(batches)


async def test_a_log_that_was_cut_off_is_read_on_with_a_note(world: World) -> None:
    batches = some(9, 6)
    await append(world.log, batches)
    writer = world.writer()
    await drain(writer)
    # Another log under the same name, shorter than what was read.
    shutil.rmtree(world.log / shares_topic(world.pool.name) / "eu-0")
    more = some(10, 2, producer=2)
    await append(world.log, more)
    await drain(world.writer())
    await world.check([*batches, *more])
    async with reading(world.engine) as connection:
        notes = (await connection.execute(select(schema.decisions))).all()
    assert [(note.who, note.action) for note in notes] == [("analytics", "skip for charts")]


async def test_filling_anew_gives_the_same_rows(world: World) -> None:
    batches = some(11, 12)
    await append(world.log, batches)
    await drain(world.writer())
    await world.door.command("ALTER TABLE worker_m DELETE WHERE slot = 0")
    for _ in range(2):
        await rebuild(world.engine, world.door)
        await drain(world.writer())
        await world.check(batches)


async def test_rows_that_the_sql_database_does_not_know_are_left_alone(
    world: World, tmp_path: Path
) -> None:
    batches = some(12, 3)
    await append(world.log, batches)
    await drain(world.writer())
    (tmp_path / "other").mkdir()
    other, _ = await make_store(tmp_path / "other")
    with pytest.raises(StoreConflict, match="another share database"):
        await prepare(other, world.door)
    await other.dispose()
    # A share database restored from before the newest plan.
    backup = tmp_path / "other" / "shares.db"
    await world.engine.dispose()
    saved = (tmp_path / "shares.db").read_bytes()
    await prepare(world.engine, world.door)
    more = some(13, 3, producer=2)
    await append(world.log, more)
    await drain(world.writer())
    await world.check([*batches, *more])
    await world.engine.dispose()
    backup.write_bytes(saved)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"shares.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "shares.db").write_bytes(saved)
    with pytest.raises(StoreConflict, match="restored backup"):
        await prepare(world.engine, world.door)
    await rebuild(world.engine, world.door)
    await drain(world.writer())
    await world.check([*batches, *more])


__all__ = ["keep_for_ever"]
