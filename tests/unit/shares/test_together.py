"""Writers of accounting side by side: nothing is lost, counted twice or waited for in a circle."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.config import PoolSettings, SlotSettings
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares import booking, decisions, intake, schema
from pithead.shares.books import AccountBook
from pithead.shares.consume import Consumer
from pithead.shares.decisions import DecisionRefused, close_producer, decide_segment
from pithead.shares.intake import PositionMoved
from pithead.shares.pools import Pool, register
from pithead.shares.states import ProducerState, SegmentState
from pithead.store import open_store, reading, transaction
from tests.support.accounting import NOW_MS, Bench
from tests.support.databases import DATABASES
from tests.support.shares import (
    COIN,
    COIN_SETTINGS,
    PARAMS,
    Share,
    address,
    make_batch,
    payload,
    producer_id,
)

pytestmark = pytest.mark.databases

POOLS = tuple(
    PoolSettings(
        pool=f"default.p{number}",
        name=f"p{number}",
        coin="dev",
        regions=("eu",),
        slots=(SlotSettings(slot=0, scheme="pplns", revision="aa", effective_height=1),),
    )
    for number in range(3)
)


async def state_of(engine: AsyncEngine, producer: bytes) -> str:
    async with reading(engine) as connection:
        table = schema.producers
        query = select(table.c.state).where(table.c.producer == producer)
        return str(await connection.scalar(query))


async def test_a_producer_closed_while_its_batches_are_booked_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        await bench.consumer.poll()
        await bench.write("eu-0", payload(make_batch(producer_id(1), 1, [Share(1, 20)])))
        read, closing = asyncio.Event(), asyncio.Event()
        write = intake.write_producers

        async def slow(*arguments: object) -> None:
            read.set()
            await closing.wait()
            # Time enough to commit for a decision that does not wait for its turn.
            await asyncio.sleep(0.3)
            await write(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(booking, "write_producers", slow)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.consumer.poll())
            await read.wait()
            group.create_task(
                close_producer(bench.engine, producer_id(1), who="admin", reason="dead", now_ms=1)
            )
            closing.set()
        assert await state_of(bench.engine, producer_id(1)) == ProducerState.CLOSED
        assert [(weight, count) for weight, count in (await bench.cells()).values()] == [(2, 2)]


async def test_of_two_processes_on_one_log_one_books_and_one_gives_way(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        other = open_store(await DATABASES.migrated(tmp_path, "shares"))
        rival = Consumer(other, bench.reader, bench.pool, lambda: NOW_MS)
        await bench.consumer.poll()
        await rival.poll()
        moved = 0
        for sequence in range(8):
            batch = make_batch(producer_id(1), sequence, [Share(1, 20)])
            await bench.write("eu-0", payload(batch))
            polls = await asyncio.gather(
                bench.consumer.poll(), rival.poll(), return_exceptions=True
            )
            for failure in (poll for poll in polls if isinstance(poll, BaseException)):
                assert isinstance(failure, PositionMoved)
                moved += 1
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(8, 8)]
        assert moved
        await other.dispose()


class Crowd:
    """Pools of one coin over one database, each with its log and an engine of its own."""

    def __init__(self, directory: Path, url: str, pools: list[Pool]) -> None:
        self.log = FileLog(directory / "log")
        self.pools = pools
        self.engines = [open_store(url) for _ in pools]
        self.readers = [self.log.reader(shares_topic(pool.name)) for pool in pools]
        self.consumers = [
            Consumer(engine, reader, pool, lambda: NOW_MS)
            for engine, reader, pool in zip(self.engines, self.readers, pools, strict=True)
        ]

    @classmethod
    async def make(cls, directory: Path) -> "Crowd":
        url = await DATABASES.migrated(directory, "shares")
        engine = open_store(url)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(register(engine, POOLS, [COIN_SETTINGS])) for _ in range(3)]
        await engine.dispose()
        assert len({tuple(pool.id for pool in task.result()) for task in tasks}) == 1
        return cls(directory, url, tasks[0].result())

    async def write(self, pool: int, *batches: bytes) -> None:
        writer = await self.log.writer(shares_topic(self.pools[pool].name), "eu-0")
        for batch in batches:
            await writer.append(batch)
        await writer.close()

    async def close(self) -> None:
        for reader in self.readers:
            await reader.close()
        for engine in self.engines:
            await engine.dispose()


async def test_pools_that_share_accounts_and_segments_count_all_at_once(tmp_path: Path) -> None:
    crowd = await Crowd.make(tmp_path)
    rounds, each = 6, 12
    for number in range(3):
        batches = []
        for sequence in range(rounds):
            # The same accounts and segments in another order in each pool.
            shares = [
                Share(1 + (index * (number + 1) + sequence) % each, 20 + index % 4)
                for index in range(each)
            ]
            batch = make_batch(
                producer_id(number),
                sequence,
                shares,
                pool=POOLS[number].pool,
                sessions=[(bytes([sequence, 0, 0, 0, n]), n + 50) for n in range(3)],
            )
            for segment in batch.segments:
                segment.value = 1000 + sequence * 3 + number
            batches.append(payload(batch))
        await crowd.write(number, *batches)

    async def accounts() -> None:
        for number in range(40):
            async with transaction(crowd.engines[0]) as connection:
                book = AccountBook(COIN, PARAMS)
                await book.resolve(connection, [address(60 - number)], create=True)

    async def close_and_decide() -> None:
        for _ in range(10):
            async with transaction(crowd.engines[1]) as connection:
                await connection.execute(
                    text("UPDATE segments SET state = 'disputed' WHERE id = 1")
                )
            with contextlib.suppress(DecisionRefused):
                await decide_segment(crowd.engines[1], 1, right=True, who="a", reason="b", now_ms=1)
            await asyncio.sleep(0.01)

    async def drain(consumer: Consumer) -> None:
        taken = 0
        while taken < rounds:
            taken += (await consumer.poll()).batches

    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        group.create_task(accounts())
        group.create_task(close_and_decide())
        for consumer in crowd.consumers:
            group.create_task(drain(consumer))
    async with reading(crowd.engines[0]) as connection:
        for pool in crowd.pools:
            query = text("SELECT sum(shares) FROM cells WHERE pool = :pool")
            assert int(await connection.scalar(query, {"pool": pool.id}) or 0) == rounds * each
        logins = list(await connection.scalars(select(schema.accounts.c.login)))
        assert len(logins) == len(set(logins))
        assert set(map(address, range(1, each + 1))) < set(logins)
        segments = list(await connection.scalars(select(schema.segments.c.parent)))
        assert len(segments) == len(set(segments)) == 4
    await crowd.close()


async def test_a_producer_that_writes_for_two_pools_at_once_belongs_to_one(
    tmp_path: Path,
) -> None:
    crowd = await Crowd.make(tmp_path)
    for number in range(2):
        batch = make_batch(producer_id(7), 0, [Share(1, 20)], pool=POOLS[number].pool)
        await crowd.write(number, payload(batch))
    polled = await asyncio.gather(*(consumer.poll() for consumer in crowd.consumers[:2]))
    assert sorted(one.batches for one in polled) == [0, 1]
    async with reading(crowd.engines[0]) as connection:
        reasons = list(await connection.scalars(select(schema.set_aside.c.reason)))
        assert reasons == ["producer: it has written for another pool before"]
        states = await connection.scalars(select(schema.segments.c.state))
        assert list(states) == [SegmentState.UNKNOWN]
    await crowd.close()


async def test_ids_met_in_opposite_orders_are_given_without_waiting_in_a_circle(
    tmp_path: Path,
) -> None:
    crowd = await Crowd.make(tmp_path)

    async def give(engine: AsyncEngine, *numbers: int) -> dict[str, int]:
        ids: dict[str, int] = {}
        async with transaction(engine) as connection:
            for number in numbers:
                book = AccountBook(COIN, PARAMS)
                ids |= await book.resolve(connection, [address(number)], create=True)
                await asyncio.sleep(0.1)
        return ids

    async with asyncio.timeout(20):
        one, other = await asyncio.gather(
            give(crowd.engines[0], 1, 2), give(crowd.engines[1], 2, 1)
        )
    assert one == other
    await crowd.close()


async def test_no_height_is_sealed_while_a_decision_moves_cells_above_the_sealed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Bench.make(tmp_path) as bench:
        shares = [Share(1, 20, weight=3), Share(2, 21)]
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0, shares, promise=30)))
        await bench.consumer.poll()
        async with transaction(bench.engine) as connection:
            await connection.execute(text("UPDATE segments SET state = 'settled'"))
            await connection.execute(
                text("UPDATE segments SET state = 'disputed' WHERE height = 20")
            )
        assert await bench.sealer.step(26) == 24
        moving = asyncio.Event()
        move = decisions._move_sealed_cells

        async def slow(*arguments: object) -> None:
            moving.set()
            await asyncio.sleep(0.5)
            await move(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(decisions, "_move_sealed_cells", slow)
        deciding = asyncio.create_task(
            decide_segment(bench.engine, 1, right=True, who="a", reason="b", now_ms=1)
        )
        await moving.wait()
        assert await bench.sealer.step(29) == 27
        assert deciding.done()
        await deciding


async def test_no_pool_is_registered_while_a_decision_moves_cells_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Bench.make(tmp_path) as bench:
        await bench.write("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        await bench.consumer.poll()
        async with transaction(bench.engine) as connection:
            await connection.execute(text("UPDATE segments SET state = 'disputed'"))
        moving = asyncio.Event()

        async def slow(*_arguments: object) -> None:
            moving.set()
            await asyncio.sleep(0.5)

        monkeypatch.setattr(decisions, "_move_sealed_cells", slow)
        deciding = asyncio.create_task(
            decide_segment(bench.engine, 1, right=True, who="a", reason="b", now_ms=1)
        )
        await moving.wait()
        await register(bench.engine, POOLS, [COIN_SETTINGS])
        assert deciding.done()
        await deciding
