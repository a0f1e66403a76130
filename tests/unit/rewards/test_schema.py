"""The tables in code and the tables in the migrations are the same, and history stays."""

from pathlib import Path

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import DBAPIError

from pithead.rewards.schema import METADATA, REVISION, REVISIONS, SCHEMES
from tests.support.schema import assert_schema_is_migrated
from tests.unit.rewards.support import rewards_database

pytestmark = pytest.mark.databases


async def test_metadata_and_migrations_describe_the_same_tables(tmp_path: Path) -> None:
    await assert_schema_is_migrated(tmp_path, "pithead.rewards", METADATA, REVISION)


async def test_slots_and_revisions_can_not_be_changed_or_removed(tmp_path: Path) -> None:
    async with rewards_database(tmp_path) as database:
        async with database.write() as connection:
            await connection.execute(
                insert(SCHEMES).values(pool="p", scheme="s", slot=0, method="PPLNS", coin="c/n")
            )
            await connection.execute(
                insert(REVISIONS).values(
                    pool="p",
                    scheme="s",
                    effective_height=0,
                    revision="r",
                    parameters="{}",
                    applied_ms=1,
                )
            )
        for statement in (
            update(SCHEMES).values(slot=1),
            delete(REVISIONS),
            update(REVISIONS).values(effective_height=5),
        ):
            with pytest.raises(DBAPIError, match="keeps its history"):
                async with database.write() as connection:
                    await connection.execute(statement)
