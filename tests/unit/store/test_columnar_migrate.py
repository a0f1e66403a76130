"""Versions of a columnar database: run twice, from two places at once, and after a crash."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from pithead.store.columnar import Columnar, ColumnarRefused, Server
from pithead.store.columnar.migrate import (
    ColumnarTooNew,
    ColumnarTooOld,
    check_columnar,
    migrate_columnar,
    version_of,
)
from tests.support.columnar import COLUMNAR

pytestmark = pytest.mark.columnar


def first(_server: Server) -> Sequence[str]:
    return [
        "CREATE TABLE IF NOT EXISTS one (a UInt8) ENGINE = MergeTree ORDER BY a",
        "CREATE TABLE IF NOT EXISTS two (a UInt8) ENGINE = MergeTree ORDER BY a",
    ]


def second(_server: Server) -> Sequence[str]:
    return ["CREATE TABLE IF NOT EXISTS three (a UInt8) ENGINE = MergeTree ORDER BY a"]


def broken(_server: Server) -> Sequence[str]:
    return [*second(_server), "CREATE NONSENSE"]


@pytest.fixture
async def door(tmp_path: Path, columnar_kind: str) -> AsyncIterator[Columnar]:
    door = await COLUMNAR.door(tmp_path)
    yield door
    await door.close()


async def test_versions_run_once_and_in_order(door: Columnar) -> None:
    assert await version_of(door) == 0
    with pytest.raises(ColumnarTooOld):
        await check_columnar(door, 1)
    assert await migrate_columnar(door, {1: first}) == 1
    await check_columnar(door, 1)
    assert await migrate_columnar(door, {1: broken, 2: second}) == 2
    assert await migrate_columnar(door, {1: broken, 2: broken}) == 2
    with pytest.raises(ColumnarTooNew):
        await migrate_columnar(door, {1: first})
    with pytest.raises(ColumnarTooNew):
        await check_columnar(door, 1)


async def test_two_places_at_once_reach_the_same_version(door: Columnar) -> None:
    versions = {1: first, 2: second}
    reached = await asyncio.gather(*(migrate_columnar(door, versions) for _ in range(4)))
    assert set(reached) == {2}
    await check_columnar(door, 2)


async def test_a_version_that_broke_off_is_run_again(door: Columnar) -> None:
    with pytest.raises(ColumnarRefused):
        await migrate_columnar(door, {1: first, 2: broken})
    assert await version_of(door) == 1
    assert await migrate_columnar(door, {1: first, 2: second}) == 2
