"""Audits of cells and archive, while the log is whole, truncated, repeated or exchanged.

Hypothesis plays a pool: batches with promises as edges give them, sent again and in
other partitions, seals, archive, merged minutes, a truncated log and partitions that
are read again. Whatever happened, nothing differs; then one number is changed, and
that is named.
"""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.archive.archiver import Archiver
from pithead.shares.archive.compactor import Compactor, write_bounds
from pithead.shares.audit import PoolAudit, audit_pools, describe, sentence
from pithead.shares.progress import Gap
from pithead.shares.recount import PROMISE_SLACK, Taken, lost_of
from pithead.store import reading, transaction
from tests.support.accounting import Bench
from tests.support.databases import DATABASES
from tests.support.shares import POOL, Share, make_batch, make_store, payload, producer_id

pytestmark = pytest.mark.databases

CHUNK_BYTES = 512


async def make(directory: Path) -> Bench:
    engine, pool = await make_store(directory)
    return Bench(directory, engine, pool, FileLog(directory / "log", chunk_bytes=CHUNK_BYTES))


async def archive(bench: Bench) -> None:
    archiver = Archiver(bench.engine, bench.pool, lambda: 0)
    while await archiver.step():
        pass


async def compact(bench: Bench) -> None:
    async with transaction(bench.engine) as connection:
        await write_bounds(connection, POOL, {"pplns": 1, "solo": 1})
    compactor = Compactor(bench.engine, bench.pool)
    while await compactor.step():
        pass


async def truncate(bench: Bench) -> None:
    """Delete what accounting has read."""
    async with reading(bench.engine) as connection:
        rows = (await connection.execute(select(schema.positions))).all()
    for row in rows:
        await bench.log.delete_before(shares_topic(POOL), row.partition, row.position)


async def read_again(bench: Bench) -> None:
    """Let accounting find its positions beyond what the log has, as after a restored disk."""
    async with transaction(bench.engine) as connection:
        await connection.execute(update(schema.positions).values(position=1 << 40))
    bench.restart()


async def audit(bench: Bench) -> PoolAudit:
    (found,) = await audit_pools(bench.engine, bench.log)
    return found


async def tamper(engine: AsyncEngine, table: str, statement: str) -> None:
    """Change what triggers guard."""
    async with transaction(engine) as connection:
        if engine.dialect.name == "sqlite":
            await connection.execute(text(f"DROP TRIGGER IF EXISTS {table}_refuse_update"))
        else:
            await connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        await connection.execute(text(statement))


async def mined(bench: Bench, heights: range, first: int = 0) -> None:
    """One batch a height with three shares, and seals up to three heights below the last."""
    for number, height in enumerate(heights, start=first):
        shares = [
            Share(1, height, weight=3, time_ms=height * 60_000),
            Share(2, height, weight=4, time_ms=height * 60_000),
            Share(2, height, weight=5, time_ms=(height + 1) * 60_000, slot=1),
        ]
        batch = make_batch(producer_id(1), number, shares, promise=height - 1)
        await bench.write("eu-0", payload(batch))
        await bench.consumer.poll()
        await bench.settle_segments()
        await bench.sealer.step(height)


async def test_a_log_truncated_behind_the_archive_leaves_the_archive_to_stand_in(
    tmp_path: Path,
) -> None:
    async with await make(tmp_path) as bench:
        await mined(bench, range(20, 32))
        await archive(bench)
        await truncate(bench)
        found = await audit(bench)
        assert (found.cells, found.archive) == ([], [])
        assert found.lost > 8
        assert found.archived_height == 29
        assert found.bounded_up_to <= 33
        assert "the archive stands in" in describe([found])
        await mined(bench, range(32, 44), first=12)
        await archive(bench)
        await compact(bench)
        found = await audit(bench)
        assert (found.cells, found.archive) == ([], [])
        assert found.compacted_height > 35


CHANGES: dict[str, tuple[str, str, set[tuple[str, str]]]] = {
    "a cell of long ago": (
        "cells",
        "UPDATE cells SET weight = weight + 1 WHERE height = 22 AND account = 1",
        {("archive", "table")},
    ),
    "a cell that is not archived": (
        "cells",
        "UPDATE cells SET shares = shares + 1 WHERE height = 30 AND account = 1",
        {("log", "table")},
    ),
    "a cell that is gone": (
        "cells",
        "DELETE FROM cells WHERE height = 23 AND account = 2",
        {("archive", "table")},
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("truncated", [False, True], ids=["whole log", "truncated log"])
async def test_a_falsified_cell_is_named(
    tmp_path: Path, change: tuple[str, str, set[tuple[str, str]]], *, truncated: bool
) -> None:
    table, statement, sides = change
    async with await make(tmp_path) as bench:
        await mined(bench, range(20, 28))
        if truncated:
            await archive(bench)
            await truncate(bench)
        await mined(bench, range(28, 31), first=8)
        await archive(bench)
        await tamper(bench.engine, table, statement)
        found = await audit(bench)
        assert {one.sides for one in found.cells} == sides
        assert found.archive == []
        assert all(POOL in sentence(one) and one.login for one in found.cells)


OTHER = "SELECT a.{} FROM archives a WHERE a.first_height = 23"


@pytest.mark.gate
@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE archives SET hash = before WHERE first_height = 22", "its bytes have the hash"),
        ("UPDATE archives SET weights = '{}' WHERE first_height = 22", "its schemes weigh"),
        ("UPDATE archives SET cells = 9 WHERE first_height = 22", "holds 3 cells and says 9"),
        ("UPDATE archives SET body = hash WHERE first_height = 22", "cannot be unpacked"),
        (
            f"UPDATE archives SET body = ({OTHER.format('body')}) WHERE first_height = 22",
            "its bytes have the hash",
        ),
        (
            f"UPDATE archives SET ids = ({OTHER.format('ids')}) WHERE first_height = 22",
            "segment",
        ),
    ],
    ids=["hash", "weights", "cells", "no body", "another body", "ids"],
)
async def test_a_falsified_archive_is_named(tmp_path: Path, statement: str, told: str) -> None:
    async with await make(tmp_path) as bench:
        await mined(bench, range(20, 30))
        await archive(bench)
        await tamper(bench.engine, "archives", statement)
        found = await audit(bench)
        assert any("height 22" in fault and told in fault for fault in found.archive)


async def test_a_changed_name_of_an_account_is_named(tmp_path: Path) -> None:
    async with await make(tmp_path) as bench:
        await mined(bench, range(20, 30))
        await archive(bench)
        await tamper(bench.engine, "accounts", "UPDATE accounts SET login = 'me' WHERE id = 1")
        found = await audit(bench)
        assert any("login='me'" in fault for fault in found.archive)


@pytest.mark.gate
def test_what_a_log_lacks_is_bounded_by_the_promise_of_the_next_batch() -> None:
    taken = Taken(top=5, gaps=(Gap(2, 2),), promise=50)
    promises = {number: 10 + number for number in range(6)}

    def there(kept: set[int]) -> dict[int, int]:
        return {number: promises[number] for number in kept}

    assert lost_of(taken, there({0, 1, 3, 4, 5})) == (0, -1)
    assert lost_of(taken, there({3, 4, 5})) == (2, 13 + PROMISE_SLACK)
    assert lost_of(taken, there({0, 1, 4, 5})) == (1, 14 + PROMISE_SLACK)
    assert lost_of(taken, there({0, 1, 3})) == (2, 50 + PROMISE_SLACK)
    assert lost_of(taken, {}) == (5, 50 + PROMISE_SLACK)


STEPS = st.lists(
    st.tuples(st.just("mine"), st.integers(1, 2), st.sampled_from(["eu-0", "eu-1"]))
    | st.tuples(st.just("again"), st.integers(0, 20), st.sampled_from(["eu-0", "eu-1"]))
    | st.tuples(
        st.sampled_from(["seal", "archive", "compact", "truncate", "reread", "poll"]),
        st.just(0),
        st.just(""),
    ),
    min_size=6,
    max_size=30,
)


@pytest.mark.gate
@pytest.mark.timeout(240)
@settings(max_examples=12, deadline=None)
@given(STEPS, st.integers(0, 99))
def test_nothing_differs_whatever_happened_to_the_log(
    steps: list[tuple[str, int, str]], chosen: int
) -> None:
    async def play(bench: Bench) -> None:
        height, sequence = 20, {1: 0, 2: 0}
        written: list[bytes] = []
        for step, number, partition in [*steps, ("poll", 0, ""), ("seal", 0, "")]:
            if step == "mine":
                shares = [
                    Share(1 + n, height - n % 2, weight=1 + n, time_ms=(height + n // 2) * 60_000)
                    for n in range(4)
                ]
                batch = make_batch(
                    producer_id(number), sequence[number], shares, promise=height - 1
                )
                sequence[number] += 1
                written.append(payload(batch))
                await bench.write(partition, written[-1])
            elif step == "again" and written:
                await bench.write(partition, written[number % len(written)])
            elif step == "poll":
                await bench.consumer.poll()
            elif step == "seal":
                height += 1
                await bench.consumer.poll()
                await bench.settle_segments()
                await bench.sealer.step(height + 2)
            elif step == "archive":
                await archive(bench)
            elif step == "compact":
                await compact(bench)
            elif step == "truncate":
                await truncate(bench)
            elif step == "reread":
                await read_again(bench)
        await bench.consumer.poll()
        await bench.consumer.poll()

    async def check(directory: Path) -> None:
        async with await make(directory) as bench:
            await play(bench)
            found = await audit(bench)
            assert ([sentence(one) for one in found.cells], found.archive) == ([], [])
            await archive(bench)
            assert (await audit(bench)).cells == []
            async with reading(bench.engine) as connection:
                keys = (await connection.execute(select(*schema.cells.primary_key))).all()
            if not keys:
                return
            key = keys[chosen % len(keys)]
            if key.height > found.archived_height and found.lost:
                # Where neither the log nor the archive reaches, nothing can tell.
                return
            async with transaction(bench.engine) as connection:
                same = [column == key[n] for n, column in enumerate(schema.cells.primary_key)]
                await connection.execute(
                    update(schema.cells).where(*same).values(weight=schema.cells.c.weight + 1)
                )
            (difference,) = (await audit(bench)).cells
            assert difference.kind.account == key.account
            assert difference.got[0] == difference.expected[0] + 1

    with DATABASES.example() as directory:
        asyncio.run(check(directory))
