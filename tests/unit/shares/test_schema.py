"""The tables, as migrated."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pithead.shares.decisions import record
from pithead.shares.schema import METADATA, REVISION
from pithead.store import open_store, transaction
from tests.support.databases import DATABASES
from tests.support.schema import assert_schema_is_migrated

pytestmark = pytest.mark.databases


async def test_migrations_make_the_tables_that_the_code_describes(tmp_path: Path) -> None:
    await assert_schema_is_migrated(tmp_path, "pithead.shares", METADATA, REVISION)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE decisions SET reason = 'other'", "DELETE FROM decisions"],
    ids=["update", "delete"],
)
async def test_the_database_itself_keeps_decisions_as_they_are(
    tmp_path: Path, statement: str
) -> None:
    engine = open_store(await DATABASES.migrated(tmp_path, "shares"))
    async with transaction(engine) as connection:
        await record(connection, who="a", action="b", subject="c", reason="d", now_ms=1)
    with pytest.raises(DBAPIError, match="append-only"):
        async with transaction(engine) as connection:
            await connection.execute(text(statement))
    await engine.dispose()


async def test_a_sum_beyond_63_bits_is_an_error_and_never_a_float(tmp_path: Path) -> None:
    engine = open_store(await DATABASES.migrated(tmp_path, "shares"))
    add = text(
        "INSERT INTO cells VALUES (1, 1, 0, 1, 0, 1, 1, :weight, 1) ON CONFLICT "
        "(pool, height, seal, segment, minute, revision, account) DO UPDATE "
        "SET weight = cells.weight + excluded.weight"
    )
    async with transaction(engine) as connection:
        await connection.execute(add, {"weight": (1 << 63) - 1})
    with pytest.raises(DBAPIError, match=r"ck_cells_weight|bigint out of range"):
        async with transaction(engine) as connection:
            await connection.execute(add, {"weight": 1})
    await engine.dispose()
