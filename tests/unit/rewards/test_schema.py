"""The tables in code and the tables in the migrations are the same, and history stays."""

from pathlib import Path

import pytest
from sqlalchemy import MetaData, delete, insert, update
from sqlalchemy.exc import DBAPIError

from pithead.rewards.schema import METADATA, REVISION, REVISIONS, SCHEMES
from pithead.rewards.splits import find_split
from pithead.store import open_store, reading, transaction
from pithead.store.migrate import migrate
from tests.support.schema import assert_schema_is_migrated, migrated_to
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


async def test_splits_of_before_the_archive_stay_and_name_none(tmp_path: Path) -> None:
    url = await migrated_to(tmp_path, "pithead.rewards", "0002")
    engine = open_store(url)
    old = MetaData()
    async with transaction(engine) as connection:
        await connection.run_sync(old.reflect)
        block = {"coin": "c/n", "hash": bytes(32)}
        await connection.execute(
            insert(old.tables["blocks"]).values(
                **block,
                **dict.fromkeys(("producer", "extranonce1"), b""),
                **dict.fromkeys(("pool", "login", "worker"), ""),
                **dict.fromkeys(("height", "bits", "state", "value", "slot", "serial"), 1),
                **dict.fromkeys(("found_ms", "money", "orphans"), 0),
                **dict.fromkeys(("from_watcher", "checked", "recheck"), False),
                parent=bytes(32),
            )
        )
        await connection.execute(
            insert(old.tables["splits"]).values(
                **block,
                revision="r",
                final=True,
                filled=True,
                weight=str(1 << 70) if engine.dialect.name == "sqlite" else 1 << 70,
                **dict.fromkeys(
                    ("group_weight", "needed"), "1" if engine.dialect.name == "sqlite" else 1
                ),
                **dict.fromkeys(("groups", "value", "fee"), 1),
                **dict.fromkeys(("carried", "remainder", "made_ms"), 0),
                first_group="a",
                last_group="b",
                window_hash=bytes(32),
            )
        )
    assert await migrate(url, "pithead.rewards") == REVISION
    assert await migrate(url, "pithead.rewards") == REVISION
    async with reading(engine) as connection:
        split = await find_split(connection, "c/n", bytes(32))
    assert split is not None
    assert (split.final, split.window.weight, split.window.archive) == (True, 1 << 70, b"")
    await engine.dispose()
