"""The columnar schema on both databases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pithead.shares.analytics.ddl import NEWEST, VERSIONS
from pithead.shares.analytics.ddl.v0001 import KEYS
from pithead.shares.analytics.reading import table
from pithead.store.columnar import Columnar
from pithead.store.columnar.migrate import check_columnar, migrate_columnar
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
