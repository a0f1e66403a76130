"""Consumption of a real log into a real database, against a naive model.

Hypothesis writes batches of several producers into several partitions, sent
again and out of order, polls, kills transactions, starts consumers anew, and
seals. The model keeps shares in a dictionary. In the end a recount from the log
must agree as well.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.config import SlotSettings
from pithead.shares import schema
from pithead.shares.audit import recount
from pithead.shares.consume import Polled
from pithead.shares.intake import PositionMoved
from pithead.shares.pools import PoolConflict, register
from pithead.shares.slots import SlotsMoved
from pithead.shares.states import ProducerState
from pithead.store import open_store, reading, transaction
from tests.support.accounting import Bench
from tests.support.databases import DATABASES
from tests.support.shares import (
    COIN_SETTINGS,
    MINUTE_MS,
    POOL_SETTINGS,
    Share,
    address,
    format_1,
    make_batch,
    payload,
    producer_id,
)

pytestmark = pytest.mark.databases

SHARES = st.builds(
    Share,
    account=st.integers(1, 3),
    height=st.integers(18, 24),
    weight=st.integers(1, 9) | st.just(1 << 50),
    time_ms=st.integers(0, 2 * MINUTE_MS),
    slot=st.integers(0, 1),
    fork=st.integers(0, 1),
)


class Write(NamedTuple):
    partition: str
    producer: int
    sequence: int


STEPS = st.lists(
    st.builds(Write, st.sampled_from(["eu-0", "eu-1"]), st.integers(1, 3), st.integers(0, 5))
    | st.sampled_from(["poll", "poll", "die", "restart", "seal"]),
    min_size=5,
    max_size=40,
)


class Model:
    """Every share once, where it counts when its batch is first read."""

    def __init__(self) -> None:
        self.unread: dict[str, list[Write]] = {}
        self.read: set[tuple[int, int]] = set()
        self.weights: Counter[tuple[object, ...]] = Counter()
        self.counts: Counter[tuple[object, ...]] = Counter()

    def poll(self, content: dict[tuple[int, int], list[Share]], sealed: int | None) -> None:
        taken = []
        for partition in sorted(self.unread):
            for write in self.unread[partition]:
                name = (write.producer, write.sequence)
                if name not in self.read:
                    self.read.add(name)
                    taken += content[name]
        self.unread.clear()
        if sealed is None:
            sealed = min((share.height for share in taken), default=1) - 1
        for share in taken:
            late = share.height <= sealed
            revision = "cc" if share.slot else "aa" if share.height < 20 else "bb"
            key = (
                address(share.account),
                revision,
                make_batch(b"", 0, [share]).segments[0].parent,
                share.time_ms // MINUTE_MS,
                sealed + 1 if late else share.height,
                sealed + 1 if late else 0,
            )
            self.weights[key] += share.weight
            self.counts[key] += 1

    def cells(self) -> dict[tuple[object, ...], tuple[int, int]]:
        return {key: (weight, self.counts[key]) for key, weight in self.weights.items()}


@pytest.mark.timeout(240)
@settings(max_examples=50, deadline=None)
@given(steps=STEPS, data=st.data())
def test_every_share_is_counted_once_whatever_happens(
    steps: list[Write | str], data: st.DataObject
) -> None:
    content: dict[tuple[int, int], list[Share]] = {}
    for step in steps:
        if isinstance(step, Write):
            name = (step.producer, step.sequence)
            content.setdefault(name, data.draw(st.lists(SHARES, max_size=4), label=str(name)))

    async def check(directory: Path) -> None:
        async with await Bench.make(directory) as bench:
            model = Model()
            for number, step in enumerate([*steps, "poll"]):
                if isinstance(step, Write):
                    name = (step.producer, step.sequence)
                    # A promise of 0, so that the first share starts the pool's sealing.
                    batch = make_batch(
                        producer_id(step.producer), step.sequence, content[name], promise=0
                    )
                    await bench.write(step.partition, payload(batch))
                    model.unread.setdefault(step.partition, []).append(step)
                elif step == "poll":
                    model.poll(content, await bench.sealed_height())
                    await bench.consumer.poll()
                elif step == "die":
                    await bench.poll_but_die()
                elif step == "restart":
                    bench.restart()
                else:
                    await bench.settle_segments()
                    await close_all(bench.engine)
                    await bench.sealer.step(20 + number // 8)
                assert (await bench.sealed_height() is None) == (not model.weights)
            assert await bench.cells() == model.cells()
            assert await recount(bench.engine, bench.log) == []
            await check_missing(bench.engine, model.read)

    with DATABASES.example() as directory:
        asyncio.run(check(directory))


async def close_all(engine: AsyncEngine) -> None:
    """Let no producer hold the seals back."""
    async with transaction(engine) as connection:
        await connection.execute(update(schema.producers).values(state=ProducerState.CLOSED))


async def check_missing(engine: AsyncEngine, read: set[tuple[int, int]]) -> None:
    async with reading(engine) as connection:
        rows = (await connection.execute(select(schema.missing))).all()
    found = {(row.producer, n) for row in rows for n in range(row.first, row.last + 1)}
    tops = {producer: max(n for p, n in read if p == producer) for producer, _ in read}
    expected = {
        (producer_id(producer), n)
        for producer, top in tops.items()
        for n in range(top)
        if (producer, n) not in read
    }
    assert found == expected


async def test_a_new_producer_in_a_partition_closes_the_earlier_one(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0)))
        await bench.write("eu-1", payload(make_batch(producer_id(2), 0)))
        await bench.consumer.poll()
        await bench.write("eu-0", payload(make_batch(producer_id(3), 0)))
        await bench.consumer.poll()
        assert (await bench.producer(1))[0] == ProducerState.CLOSED
        assert (await bench.producer(2))[0] == ProducerState.OPEN
        assert (await bench.producer(3))[0] == ProducerState.OPEN
        assert await bench.decisions() == [("close producer", producer_id(1).hex())]


async def test_a_producer_that_says_so_has_ended(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0, promise=5)))
        await bench.write("eu-0", payload(make_batch(producer_id(1), 1, promise=7, end=True)))
        await bench.consumer.poll()
        assert await bench.producer(1) == (ProducerState.ENDED, 1, 7)
        assert await bench.decisions() == []


async def test_records_that_cannot_be_booked_are_set_aside_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", b"\xff garbage")
        foreign = make_batch(producer_id(1), 0, [Share(1, 20)], pool="default.other")
        await bench.write("eu-0", payload(foreign))
        heavy = make_batch(producer_id(2), 0, [Share(1, 20, weight=1 << 62)])
        await bench.write("eu-0", payload(heavy))
        await bench.write("eu-0", payload(make_batch(producer_id(3), 0, [Share(1, 20, weight=4)])))
        assert await bench.consumer.poll() == Polled(4, 1, 1)
        assert list((await bench.cells()).values()) == [(4, 1)]
        async with reading(bench.engine) as connection:
            rows = (await connection.execute(select(schema.set_aside).order_by("position"))).all()
        assert [row.reason.split(":")[0] for row in rows] == ["record", "pool", "weight"]
        assert rows[0].payload == b"\xff garbage"
        assert await bench.consumer.poll() == Polled(0, 0, 0)
        assert await recount(bench.engine, bench.log) == []


@pytest.mark.parametrize("field", ["account", "worker", "agent", "region", "pool"])
async def test_a_text_that_no_database_keeps_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path, field: str
) -> None:
    async with await Bench.make(tmp_path) as bench:
        batch = make_batch(producer_id(1), 0, [Share(1, 20)], sessions=[(bytes(5), 1)])
        if field in ("account", "worker"):
            getattr(batch, field)[0] = "a\0b"
        else:
            setattr(batch.sessions[0] if field == "agent" else batch, field, "a\0b")
        await bench.write("eu-0", batch.SerializeToString())
        await bench.write("eu-0", payload(make_batch(producer_id(2), 0, [Share(1, 20, weight=4)])))
        assert await bench.consumer.poll() == Polled(2, 1, 1)
        assert list((await bench.cells()).values()) == [(4, 1)]
        async with reading(bench.engine) as connection:
            reason = await connection.scalar(select(schema.set_aside.c.reason))
        assert "NUL" in str(reason)


async def test_shares_of_an_unknown_slot_wait_until_it_is_known(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20, slot=9)])))
        await bench.write("eu-1", payload(make_batch(producer_id(2), 0, [Share(1, 20)])))
        assert (await bench.consumer.poll()).shares == 1
        assert (await bench.consumer.poll()).shares == 0
        slot = msgspec.structs.replace(
            POOL_SETTINGS,
            slots=(
                *POOL_SETTINGS.slots,
                SlotSettings(slot=9, scheme="late", revision="dd", effective_height=1),
            ),
        )
        (bench.pool,) = await register(bench.engine, [slot], [COIN_SETTINGS])
        with pytest.raises(SlotsMoved):
            await bench.consumer.poll()
        bench.restart()
        assert (await bench.consumer.poll()).shares == 1


async def test_a_process_that_knows_no_newer_revision_books_nothing_more(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        assert (await bench.consumer.poll()).shares == 1
        first = POOL_SETTINGS.slots[0]
        later = msgspec.structs.replace(first, revision="ee", effective_height=30)
        changed = msgspec.structs.replace(POOL_SETTINGS, slots=(*POOL_SETTINGS.slots, later))
        (bench.pool,) = await register(bench.engine, [changed], [COIN_SETTINGS])
        await bench.write("eu-0", payload(make_batch(producer_id(1), 1, [Share(1, 30)])))
        with pytest.raises(SlotsMoved, match="revisions were added"):
            await bench.consumer.poll()
        bench.restart()
        assert (await bench.consumer.poll()).shares == 1


async def test_a_left_over_consumer_changes_nothing(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        zombie = bench.consumer
        await zombie.poll()
        bench.restart()
        await bench.write("eu-0", payload(make_batch(producer_id(1), 1, [Share(1, 20)])))
        await bench.consumer.poll()
        before = await bench.cells()
        with pytest.raises(PositionMoved, match="another process reads this log"):
            await zombie.poll()
        assert await bench.cells() == before


async def test_a_log_that_was_replaced_is_read_again_without_counting_twice(
    tmp_path: Path,
) -> None:
    async with await Bench.make(tmp_path) as bench:
        first = payload(make_batch(producer_id(1), 0, [Share(1, 20)]))
        for data in (first, payload(make_batch(producer_id(1), 1, [Share(1, 20)]))):
            await bench.write("eu-0", data)
        await bench.consumer.poll()
    engine = open_store(await DATABASES.migrated(tmp_path, "shares"))
    async with Bench(tmp_path / "other", engine, bench.pool) as again:
        await again.write("eu-0", first)
        assert (await again.consumer.poll()).records == 0
        assert await again.consumer.poll() == Polled(1, 0, 0)
        await again.write("eu-0", payload(make_batch(producer_id(1), 2, [Share(1, 20)])))
        assert (await again.consumer.poll()).shares == 1
        assert list((await again.cells()).values()) == [(3, 3)]
        assert (await again.decisions())[0][0] == "replay partition"


async def test_batches_of_the_format_before_are_booked_alike(tmp_path: Path) -> None:
    shares = [Share(1, 20, weight=3), Share(2, 20), Share(1, 21, slot=1)]
    rejects, sessions = [(address(2), 2, 5)], [(bytes(5), 2)]
    async with await Bench.make(tmp_path) as bench:
        old = make_batch(producer_id(1), 0, shares, rejects=rejects, sessions=sessions)
        await bench.write("eu-0", format_1(old))
        assert await bench.consumer.poll() == Polled(1, 1, 3)
        once = await bench.cells()
        new = make_batch(producer_id(1), 1, shares, rejects=rejects, sessions=sessions)
        await bench.write("eu-0", payload(new))
        assert await bench.consumer.poll() == Polled(1, 1, 3)
        assert await bench.cells() == {
            cell: (2 * weight, 2 * count) for cell, (weight, count) in once.items()
        }
        async with reading(bench.engine) as connection:
            counts = await connection.scalars(
                select(schema.counters.c.count).where(schema.counters.c.reason == 2)
            )
            assert list(counts) == [10]
        assert await recount(bench.engine, bench.log) == []


async def test_spellings_of_one_address_are_one_account(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        batch = make_batch(producer_id(1), 0, [Share(1, 20), Share(2, 20)])
        batch.account[1] = batch.account[0].upper()
        await bench.write("eu-0", payload(batch))
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(2, 2)]


async def test_a_login_that_is_no_address_keeps_its_shares_without_a_script(
    tmp_path: Path,
) -> None:
    async with await Bench.make(tmp_path) as bench:
        batch = make_batch(producer_id(1), 0, [Share(1, 20)])
        batch.account[0] = "nobody"
        await bench.write("eu-0", payload(batch))
        await bench.consumer.poll()
        async with reading(bench.engine) as connection:
            row = (await connection.execute(select(schema.accounts))).one()
        assert (row.login, row.script) == ("nobody", b"")
        assert list((await bench.cells()).values()) == [(1, 1)]


async def test_rejects_are_counted_and_garbage_makes_no_account(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        rejects = [(address(1), 1, 3), (address(2), 1, 4), ("garbage", 4, 5)]
        batch = make_batch(producer_id(1), 0, [Share(1, 20, weight=6)], rejects=rejects)
        await bench.write("eu-0", payload(batch))
        await bench.consumer.poll()
        async with reading(bench.engine) as connection:
            accounts = await connection.scalar(select(func.count()).select_from(schema.accounts))
            rows = (await connection.execute(select(schema.counters))).all()
        assert accounts == 1
        assert {(row[1], row[2]): (row[3], row[4]) for row in rows} == {
            (1, 0): (1, 6),
            (1, 1): (3, 0),
            (0, 1): (4, 0),
            (0, 4): (5, 0),
        }


async def test_a_pool_cannot_change_its_coin_or_its_past_revisions(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        other = msgspec.structs.replace(COIN_SETTINGS, coin="litecoin")
        with pytest.raises(PoolConflict, match="cannot change to litecoin/regtest"):
            await register(bench.engine, [POOL_SETTINGS], [other])
        changed = msgspec.structs.replace(
            POOL_SETTINGS,
            slots=(SlotSettings(slot=0, scheme="pplns", revision="xx", effective_height=20),),
        )
        with pytest.raises(PoolConflict, match="append-only"):
            await register(bench.engine, [changed], [COIN_SETTINGS])
