"""Consumers that share a pool: each partition is read by one, and none is forgotten."""

from pathlib import Path

import pytest
from sqlalchemy import select

from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.claims import LEASE_MS, RENEW_MS, Claims
from pithead.shares.consume import Consumer, Polled
from pithead.shares.intake import PositionMoved
from pithead.store import reading
from tests.support.accounting import Bench, SharedBench
from tests.support.shares import POOL, Share, make_batch, make_store, payload, producer_id

pytestmark = pytest.mark.databases


class Sharing:
    """Several consumers over one bench, and the clock that they are given."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.now_ms = 0
        self.claims: dict[str, Claims] = {}
        self.sequences: dict[int, int] = {}

    def consumer(self, name: str) -> Consumer:
        bench, clock = self.bench, lambda: self.now_ms
        topic = shares_topic(POOL)
        self.claims[name] = Claims(bench.engine, bench.pool.id, topic, name, clock)
        return Consumer(bench.engine, bench.reader, bench.pool, clock, claims=self.claims[name])

    async def write(self, number: int) -> None:
        """One more batch, of one share, into a partition of its own."""
        sequence = self.sequences.get(number, 0)
        self.sequences[number] = sequence + 1
        batch = make_batch(producer_id(number), sequence, [Share(number, 20)])
        await self.bench.write(str(number), payload(batch))

    async def owners(self) -> dict[str, str]:
        async with reading(self.bench.engine) as connection:
            rows = await connection.execute(select(schema.claims))
            return {row.partition: row.owner for row in rows}

    async def booked(self) -> int:
        return sum(shares for _, shares in (await self.bench.cells()).values())


async def test_partitions_are_divided_when_another_consumer_comes(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        it = Sharing(bench)
        for number in range(4):
            await it.write(number)
        first, second = it.consumer("a"), it.consumer("b")
        assert await first.poll() == Polled(4, 4, 4)
        assert await second.poll() == Polled(0, 0, 0)
        it.now_ms += RENEW_MS
        await first.poll()
        await second.poll()
        assert sorted((await it.owners()).values()) == ["a", "a", "b", "b"]
        # The newcomer looks again when its next renewal is due.
        for number in range(4):
            await it.write(number)
        assert (await first.poll()).batches + (await second.poll()).batches == 4
        assert await it.booked() == 8


async def test_claims_of_a_dead_consumer_are_taken_when_its_lease_ends(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        it = Sharing(bench)
        for number in range(4):
            await it.write(number)
        dead, heir = it.consumer("a"), it.consumer("b")
        await dead.poll()
        for number in range(4):
            await it.write(number)
        it.now_ms += LEASE_MS - 1
        assert await heir.poll() == Polled(0, 0, 0)
        it.now_ms += RENEW_MS
        assert await heir.poll() == Polled(4, 4, 4)
        assert await it.booked() == 8


async def test_a_consumer_that_ends_gives_its_claims_back_at_once(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        it = Sharing(bench)
        await it.write(0)
        first, second = it.consumer("a"), it.consumer("b")
        await first.poll()
        await first.release()
        await it.write(0)
        assert await second.poll() == Polled(1, 1, 1)
        assert await it.owners() == {"0": "b"}


async def test_a_sleeper_whose_claim_ran_out_counts_nothing_twice(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        it = Sharing(bench)
        await it.write(0)
        sleeper, heir = it.consumer("a"), it.consumer("b")
        await sleeper.poll()
        await it.write(0)
        awake = it.now_ms
        it.now_ms += LEASE_MS
        assert await heir.poll() == Polled(1, 1, 1)
        # It still believes in its claim, as no time has passed for it.
        it.now_ms = awake
        with pytest.raises(PositionMoved):
            await sleeper.poll()
        it.now_ms = awake + LEASE_MS
        assert await sleeper.poll() == Polled(0, 0, 0)
        assert await it.booked() == 2


async def test_partitions_that_are_added_are_divided_too(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        it = Sharing(bench)
        await it.write(0)
        consumers = [it.consumer(name) for name in "abc"]
        for _ in range(3):
            it.now_ms += RENEW_MS
            for consumer in consumers:
                await consumer.poll()
        for number in range(1, 7):
            await it.write(number)
        for _ in range(3):
            it.now_ms += RENEW_MS
            for consumer in consumers:
                await consumer.poll()
        owners = list((await it.owners()).values())
        assert sorted(owners.count(name) for name in "abc") == [2, 2, 3]
        assert await it.booked() == 7


async def test_who_comes_late_to_another_log_does_not_set_positions_back(tmp_path: Path) -> None:
    async with SharedBench(tmp_path, *await make_store(tmp_path)) as bench:
        it = Sharing(bench)
        for number in range(2):
            await it.write(number)
        consumers = [it.consumer(name) for name in "ab"]
        for _ in range(3):
            it.now_ms += RENEW_MS
            for consumer in consumers:
                await consumer.poll()
        bench.shared.name = "second"
        polled = [await consumer.poll() for consumer in consumers]
        # All of it was known: read again, each record once.
        assert [one.records for one in polled] == [1, 1]
        assert await it.booked() == 2
        await it.claims["a"].release()
        for number in range(2):
            await it.write(number)
        it.now_ms += RENEW_MS
        assert (await consumers[1].poll()).batches == 2
        assert await it.booked() == 4


def test_two_renewals_may_fail_before_the_lease_ends() -> None:
    assert 3 * RENEW_MS < LEASE_MS
