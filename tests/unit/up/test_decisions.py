"""What people ask of accounting with its settings alone, as from a pod of a cluster."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.cli import main
from pithead.config import store
from pithead.shares import schema
from pithead.shares.pools import register
from pithead.shares.states import SegmentState
from pithead.store import open_store, transaction
from pithead.store.migrate import migrate
from tests.support.shares import BITS, COIN, POOL, parent, producer_id
from tests.unit.shares.test_service import settings_in

pytestmark = pytest.mark.gate


async def fill(connection: AsyncConnection) -> None:
    await connection.execute(
        insert(schema.segments).values(
            coin=COIN,
            parent=parent(10),
            height=10,
            bits=BITS,
            aux=[],
            value=1,
            state=SegmentState.DISPUTED,
            first_seen_ms=0,
        )
    )
    await connection.execute(
        insert(schema.check_failures).values(
            pool=1,
            producer=producer_id(7),
            sequence=3,
            region="eu",
            share=1,
            fault="work",
            detail="too little",
            header=b"",
            at_ms=5,
            seen=False,
        )
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    settings = settings_in(tmp_path)
    path = tmp_path / "shares.json"
    store(path, settings)

    async def make() -> None:
        await migrate(settings.database, "pithead.shares")
        engine = open_store(settings.database)
        await register(engine, settings.pools, settings.coins)
        async with transaction(engine) as connection:
            await fill(connection)
        await engine.dispose()

    asyncio.run(make())
    return path


def ask(*arguments: str, config: Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["shares", *arguments, "--config", str(config)])
    return done.exit_code, done.output


def decisions(config: Path) -> list[tuple[str, str]]:
    async def read() -> list[tuple[str, str]]:
        engine = open_store(settings_in(config.parent).database)
        async with transaction(engine) as connection:
            rows = (await connection.execute(select(schema.decisions))).all()
        await engine.dispose()
        return [(row.who, row.action) for row in rows]

    return asyncio.run(read())


def test_everything_is_asked_and_decided_without_a_running_service(config: Path) -> None:
    code, output = ask("waiting", "-o", "json", config=config)
    assert code == 0
    (document,) = json.loads(output)
    assert document["pool"] == POOL
    number = document["disputedSegments"][0]["segment"]
    code, output = ask("checks", config=config)
    assert (code, output.splitlines()[-1]) == (
        0,
        f"  batch 3 of {producer_id(7).hex()}: work: too little",
    )
    producer = producer_id(7).hex()
    who = ("--who", "ann", "--reason", "seen")
    assert ask("seen", producer, *who, config=config)[0] == 0
    code, output = ask("decide", str(number), "wrong", *who, config=config)
    assert (code, output) == (0, f"segment {number} is wrong and earns nothing\n")
    assert decisions(config) == [("ann", "checks are seen"), ("ann", "segment is wrong")]
    code, output = ask("seen", producer, *who, config=config)
    assert code == 1
    assert "has no failed check to be seen" in output
    code, output = ask("withholding", "--pool", "nobody", config=config)
    assert (code, "pool nobody is unknown" in output) == (1, True)


def test_a_database_that_cannot_be_used_and_settings_that_are_not_there_are_one_sentence(
    config: Path,
) -> None:
    async def spoil() -> None:
        engine = open_store(settings_in(config.parent).database)
        async with transaction(engine) as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        await engine.dispose()

    asyncio.run(spoil())
    code, output = ask("waiting", config=config)
    assert code == 1
    assert "of revision 0001" in output
    assert len(output.splitlines()) == 1
    code, output = ask("waiting", config=config.parent / "nothing.json")
    assert (code, "no such settings file" in output) == (1, True)
