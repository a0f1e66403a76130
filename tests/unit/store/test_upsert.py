"""Adding up rows of integers, the same on both databases."""

from pathlib import Path

import pytest
from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, Table, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.store import add_up, make_metadata, open_store, reading, transaction
from tests.support.databases import DATABASES

pytestmark = pytest.mark.databases

Rows = dict[str, int | list[int]]

METADATA = make_metadata()
SUMS = Table(
    "sums",
    METADATA,
    Column("a", BigInteger, primary_key=True),
    Column("order", Integer, primary_key=True),
    Column("weight", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    CheckConstraint("weight >= 0", name="weight"),
)
"""A column's name is a word of SQL."""


async def opened(directory: Path) -> AsyncEngine:
    return open_store(await DATABASES.with_tables(directory, "sums", METADATA))


async def rows(engine: AsyncEngine) -> list[tuple[int, ...]]:
    async with reading(engine) as connection:
        query = select(SUMS).order_by(SUMS.c.a, SUMS.c.order)
        return [tuple(row) for row in await connection.execute(query)]


async def test_new_rows_are_inserted_and_known_ones_added_to(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    try:
        async with transaction(engine) as connection:
            first: Rows = {"a": [1, 2], "order": 7, "weight": [10, (1 << 63) - 2], "count": 1}
            await add_up(connection, SUMS, first, ("weight", "count"))
            second: Rows = {"a": [2, 3], "order": [7, 8], "weight": [1, 0], "count": [2, 5]}
            await add_up(connection, SUMS, second, ("weight", "count"))
        assert await rows(engine) == [(1, 7, 10, 1), (2, 7, (1 << 63) - 1, 3), (3, 8, 0, 5)]
    finally:
        await engine.dispose()


async def test_no_rows_are_no_statement(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    try:
        async with transaction(engine) as connection:
            none: Rows = {"a": [], "order": 1, "weight": [], "count": []}
            await add_up(connection, SUMS, none, ("weight",))
        assert await rows(engine) == []
    finally:
        await engine.dispose()


async def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    try:
        async with transaction(engine) as connection:
            uneven: Rows = {"a": [1], "order": [1, 2], "weight": 1, "count": 1}
            with pytest.raises(ValueError, match="differ in length"):
                await add_up(connection, SUMS, uneven, ("weight",))
    finally:
        await engine.dispose()


@pytest.mark.parametrize("weight", [-1, 1 << 63], ids=["below-the-check", "beyond-63-bits"])
async def test_a_row_that_may_not_be_undoes_the_transaction(tmp_path: Path, weight: int) -> None:
    engine = await opened(tmp_path)
    try:
        with pytest.raises((DBAPIError, OverflowError)):
            await add_good_and_bad(engine, weight)
        assert await rows(engine) == []
    finally:
        await engine.dispose()


async def add_good_and_bad(engine: AsyncEngine, weight: int) -> None:
    async with transaction(engine) as connection:
        for number in (1, weight):
            row: Rows = {"a": [1], "order": 1, "weight": [number], "count": 1}
            await add_up(connection, SUMS, row, ("weight",))
