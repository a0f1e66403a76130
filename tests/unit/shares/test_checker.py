"""The checker beside booking: sums, kept failures, bounds, a database that is away."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares import checker as checker_module
from pithead.shares import schema
from pithead.shares.checker import CHUNK, FAILURES_KEPT_MAX, Checker
from pithead.shares.checks import Fault, Share
from pithead.shares.consume import Consumer
from pithead.shares.decisions import DecisionRefused, see_checks
from pithead.shares.suspects import read_checks
from pithead.store import reading, transaction
from tests.support.accounting import Bench
from tests.support.shares import POOL, address, make_batch, make_store, payload, producer_id
from tests.support.shares import Share as Line
from tests.unit.shares.test_checks import HONEST

pytestmark = pytest.mark.databases


def batch(sequence: int, producer: int = 1, *, honest: bool = True) -> Share:
    """The share that a batch is to show; one that is not honest shows no header."""
    share = HONEST._replace(producer=producer_id(producer), sequence=sequence)
    return share if honest else share._replace(shown=None, header=b"")


async def settle(checker: Checker) -> None:
    while await checker.step():
        pass


async def sums(engine: AsyncEngine) -> dict[int, tuple[int, int, int]]:
    async with reading(engine) as connection:
        rows = await connection.execute(select(schema.checks))
        return {
            int.from_bytes(row.producer, "big"): (row.batches, row.checked, row.failed)
            for row in rows
        }


async def test_what_was_checked_and_what_failed_is_told_by_producer(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    checker = Checker(engine, pool, 100, lambda: 5)
    checker.offer([batch(0), batch(1), batch(2, honest=False), batch(0, producer=2)])
    await settle(checker)
    checker.offer([batch(3)])
    await settle(checker)
    assert await sums(engine) == {1: (4, 4, 1), 2: (1, 1, 0)}
    async with reading(engine) as connection:
        checks = await read_checks(connection, POOL)
    assert [row.failed for row in checks.producers] == [1, 0]
    (failure,) = checks.failures
    assert (failure.producer, failure.sequence, failure.region) == (producer_id(1), 2, "eu")
    assert (failure.fault, failure.at_ms, failure.header) == (Fault.MISSING, 5, b"")
    await engine.dispose()


async def test_failures_are_listed_until_a_person_has_seen_them(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    checker = Checker(engine, pool, 100, lambda: 5)
    checker.offer([batch(number, honest=False) for number in range(FAILURES_KEPT_MAX + 5)])
    checker.offer([batch(0, producer=2, honest=False)])
    await settle(checker)

    async def listed() -> list[int]:
        async with reading(engine) as connection:
            failures = (await read_checks(connection, POOL)).failures
            return sorted({int.from_bytes(row.producer, "big") for row in failures})

    assert await listed() == [1, 2]
    count = await see_checks(engine, producer_id(1), who="ann", reason="a bug", now_ms=9)
    assert count == FAILURES_KEPT_MAX
    assert await listed() == [2]
    assert (await sums(engine))[1] == (105, 105, 105)
    with pytest.raises(DecisionRefused, match="has no failed check"):
        await see_checks(engine, producer_id(1), who="ann", reason="a bug", now_ms=9)
    async with reading(engine) as connection:
        decisions = (await connection.execute(select(schema.decisions))).all()
    assert [(row.who, row.action, row.reason) for row in decisions] == [
        ("ann", "checks are seen", "a bug")
    ]
    await engine.dispose()


async def test_what_does_not_fit_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, pool = await make_store(tmp_path)
    monkeypatch.setattr(checker_module, "WAITING_MAX", CHUNK + 1)
    name, labels = "pithead_accounting_checks_dropped_total", {"pool": POOL}
    before = REGISTRY.get_sample_value(name, labels) or 0
    checker = Checker(engine, pool, 100, lambda: 5)
    checker.offer([batch(number) for number in range(CHUNK + 4)])
    assert (REGISTRY.get_sample_value(name, labels) or 0) - before == 3
    assert await checker.step() == CHUNK
    assert await checker.step() == 1
    assert await sums(engine) == {1: (CHUNK + 4, CHUNK + 1, 0)}
    await engine.dispose()


async def test_only_the_fraction_asked_for_is_checked(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    none, some = Checker(engine, pool, 0, lambda: 5), Checker(engine, pool, 20, lambda: 5)
    none.offer([batch(number) for number in range(100)])
    await settle(none)
    assert await sums(engine) == {1: (100, 0, 0)}
    some.offer([batch(number) for number in range(100)])
    await settle(some)
    (found,) = (await sums(engine)).values()
    assert found[0] == 200
    assert 5 < found[1] < 40
    await engine.dispose()


async def test_nothing_is_forgotten_while_the_database_is_away(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    checker = Checker(engine, pool, 100, lambda: 5)
    async with transaction(engine) as connection:
        await connection.execute(text("ALTER TABLE checks RENAME TO away"))
    checker.offer([batch(0), batch(1, honest=False)])
    for _ in range(3):
        with pytest.raises(DBAPIError):
            await checker.step()
    checker.offer([batch(2)])
    async with transaction(engine) as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO checks"))
    await settle(checker)
    await checker.step()
    assert await sums(engine) == {1: (3, 3, 1)}
    async with reading(engine) as connection:
        assert len((await read_checks(connection, POOL)).failures) == 1
    await engine.dispose()


async def test_a_booked_batch_counts_its_blocks_once_and_shows_the_share_that_is_due(
    tmp_path: Path,
) -> None:
    lines = [Line(1, 20), Line(2, 20), Line(1, 21), Line(1, 21)]
    booked = make_batch(producer_id(1), 0, lines)
    for index in (0, 2, 3):
        booked.flags[index] = 1
    async with await Bench.make(tmp_path) as bench:
        checker = Checker(bench.engine, bench.pool, 100, lambda: 1)
        consumer = Consumer(bench.engine, bench.reader, bench.pool, lambda: 1, checker)
        for partition in ("eu-0", "eu-1"):
            # The second one is a copy that was sent again.
            await bench.write(partition, payload(booked))
            await consumer.poll()
        assert await checker.step() == 1
        assert await sums(bench.engine) == {1: (1, 1, 1)}
        segments, accounts, finds = schema.segments.c, schema.accounts.c, schema.finds.c
        async with reading(bench.engine) as connection:
            found = await connection.execute(
                select(segments.height, accounts.login, finds.solved)
                .where(segments.id == finds.segment, accounts.id == finds.account)
                .order_by(segments.height)
            )
            assert [tuple(row) for row in found] == [(20, address(1), 1), (21, address(1), 2)]
