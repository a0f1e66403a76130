"""The columnar schema on both databases."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from pithead.shares.analytics.ddl import NEWEST, VERSIONS
from pithead.shares.analytics.ddl.v0001 import KEYS
from pithead.shares.analytics.reading import table
from pithead.shares.analytics.recompute import statements
from pithead.store.columnar import Column, Columnar
from pithead.store.columnar.migrate import check_columnar, migrate_columnar, version_of
from tests.support.columnar import COLUMNAR

pytestmark = pytest.mark.columnar

TABLES = {"shares", "rejects", "workers", "regions"} | {
    f"{name}_{unit}" for name in KEYS for unit in "mhd"
}


@pytest.fixture
async def door(tmp_path: Path, columnar_kind: str) -> AsyncIterator[Columnar]:
    door = await COLUMNAR.door(tmp_path)
    yield door
    await door.close()


async def test_all_tables_are_there_and_can_be_read(door: Columnar) -> None:
    await migrate_columnar(door, VERSIONS)
    await check_columnar(door, NEWEST)
    found = await door.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    assert {name for (name,) in found.rows()} >= TABLES
    for name in sorted(TABLES):
        answer = await door.query(f"SELECT count() AS n FROM {table(door.server, name)}")
        assert answer.rows() == [(0,)]


async def test_migrating_from_two_places_at_once_makes_one_schema(door: Columnar) -> None:
    await asyncio.gather(*(migrate_columnar(door, VERSIONS) for _ in range(3)))
    await check_columnar(door, NEWEST)


async def test_a_database_of_the_version_before_keeps_its_rows_and_takes_new_ones(
    door: Columnar,
) -> None:
    before = {number: VERSIONS[number] for number in VERSIONS if number < NEWEST}
    assert await migrate_columnar(door, before) == NEWEST - 1
    old, new = _rows(0, 500), _rows(500, 300)
    await _write(door, old, "old")
    assert await migrate_columnar(door, VERSIONS) == NEWEST
    # A writer that was killed behind its insert repeats it after the upgrade.
    for token, rows in (("old", old), ("new", new), ("new", new)):
        await _write(door, rows, token)
    raw = await door.query(f"SELECT count() AS n FROM {table(door.server, 'shares')}")
    assert raw.rows() == [(800,)]
    for name in sorted(KEYS):
        for unit in "mhd":
            source = table(door.server, f"{name}_{unit}")
            sums = await door.query(f"SELECT sum(shares) AS n, sum(work) AS w FROM {source}")
            assert sums.rows() == [(800, 5 * 800)], source
    heights = await door.query(
        f"SELECT height, sum(shares) AS n FROM {table(door.server, 'height_m')} "
        "GROUP BY height ORDER BY height"
    )
    # The repeat goes through the new views too, which have not seen it before.
    assert heights.rows() == [(7, 800)]
    quarters = await door.query(f"SELECT sum(shares) AS n FROM {table(door.server, 'worker_q')}")
    assert quarters.rows() == [(800,)]


def _rows(first: int, count: int) -> dict[str, Column]:
    """Shares of one worker, three a second, all within one hour."""
    now_s = int(time.time()) // 3600 * 3600 - 86_400
    number = np.arange(first, first + count)
    columns: dict[str, Column] = {
        "t": (now_s + number // 3).astype(np.uint32),
        "seq": number.astype(np.uint64),
    }
    for name, kind, value in (
        ("pool", np.uint32, 1),
        ("account", np.uint64, 2),
        ("worker", np.uint64, 3),
        ("height", np.uint32, 7),
        ("weight", np.uint64, 5),
    ):
        columns[name] = np.full(count, value, kind)
    return columns


async def _write(door: Columnar, rows: dict[str, Column], token: str) -> None:
    await door.insert("shares", rows, token=token)
    if door.server.modern:
        return
    minutes = np.unique(np.asarray(rows["t"], np.int64) // 60)
    newest = await version_of(door)
    for statement in statements(1, minutes, 1):
        if newest > 1 or statement.split()[2] not in ("height_m", "worker_q"):
            await door.command(statement)
