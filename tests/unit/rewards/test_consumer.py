"""Block records from a real FileLog into the database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pithead.contracts.share_log_pb2 import BlockRecord
from pithead.log.file_log import FileLog
from pithead.log.topics import blocks_topic
from pithead.rewards.consumer import BlockConsumer
from pithead.rewards.database import (
    BlockRow,
    Database,
    Recorded,
    block_bytes,
    find_block,
    log_positions,
    record_block,
    set_log_position,
)
from pithead.rewards.metrics import CONSERVED_MONEY, RECORDS_REFUSED
from pithead.rewards.solved import read_solved
from pithead.rewards.states import State
from pithead.rewards.watcher import watched_block
from tests.unit.rewards.support import (
    COIN,
    GENESIS,
    OTHER_SCRIPT,
    PARAMS,
    POOL,
    SCRIPT,
    VALUE,
    WATCHED,
    hash_of,
    record,
    rewards_database,
    solve,
)

pytestmark = pytest.mark.databases

BLOCK = solve(GENESIS, 7)


@dataclass
class Bench:
    database: Database
    log: FileLog
    consumer: BlockConsumer

    async def append(self, *payloads: bytes, partition: str = "home-0") -> None:
        writer = await self.log.writer(blocks_topic(POOL), partition)
        for payload in payloads:
            await writer.append(payload)
        await writer.close()

    async def block(self, raw: bytes = BLOCK) -> BlockRow | None:
        async with self.database.read() as connection:
            return await find_block(connection, COIN, hash_of(raw))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    log = FileLog(tmp_path / "log")
    reader = log.reader(blocks_topic(POOL))
    async with rewards_database(tmp_path) as database:
        yield Bench(database, log, BlockConsumer(database, reader, PARAMS, WATCHED))
    await reader.close()


async def test_a_record_becomes_a_candidate_with_its_finder_and_bytes(bench: Bench) -> None:
    await bench.append(record(BLOCK).SerializeToString())
    assert await bench.consumer.step() == 1
    block = await bench.block()
    assert block is not None
    assert (block.state, block.height, block.value) == (State.CANDIDATE, 7, VALUE)
    assert (block.login, block.worker, block.from_watcher) == ("alice", "rig1", False)
    async with bench.database.read() as connection:
        assert await block_bytes(connection, block) == BLOCK


async def test_reading_goes_on_where_it_stopped_in_every_partition(bench: Bench) -> None:
    other = solve(GENESIS, 7, serial=2)
    await bench.append(record(BLOCK).SerializeToString())
    await bench.append(record(other).SerializeToString(), partition="away-0")
    assert await bench.consumer.step() == 2
    assert await bench.consumer.step() == 0
    third = solve(GENESIS, 7, serial=3)
    await bench.append(record(third).SerializeToString())
    assert await bench.consumer.step() == 1
    assert await bench.block(third) is not None
    async with bench.database.read() as connection:
        topic = blocks_topic(POOL)
        assert set(await log_positions(connection, topic, "file")) == {"home-0", "away-0"}
        assert await log_positions(connection, topic, "another") == {}


@pytest.mark.parametrize(
    "place", [("another", 1), ("file", 1 << 40)], ids=["of-another-log", "past-the-end"]
)
async def test_a_position_that_is_not_of_this_log_is_read_again_from_the_beginning(
    bench: Bench, place: tuple[str, int]
) -> None:
    await bench.append(record(BLOCK).SerializeToString())
    topic = blocks_topic(POOL)
    async with bench.database.write() as connection:
        await set_log_position(connection, topic, "home-0", *place)
    assert await bench.consumer.step() == 1
    assert await bench.block() is not None
    assert await bench.consumer.step() == 0


async def test_the_same_block_twice_is_one_block(bench: Bench) -> None:
    first = record(BLOCK)
    again = record(BLOCK, account="bob")
    await bench.append(first.SerializeToString(), again.SerializeToString())
    await bench.consumer.step()
    block = await bench.block()
    assert block is not None
    assert block.login == "alice"


async def test_a_record_completes_what_the_watcher_wrote(bench: Bench) -> None:
    solved = read_solved(PARAMS, BLOCK, {SCRIPT})
    assert solved is not None
    async with bench.database.write() as connection:
        watched = watched_block(COIN, POOL, solved)
        assert await record_block(connection, watched, None) is Recorded.NEW
    await bench.append(record(BLOCK).SerializeToString())
    await bench.consumer.step()
    block = await bench.block()
    assert block is not None
    assert (block.login, block.from_watcher) == ("alice", False)
    async with bench.database.read() as connection:
        assert await block_bytes(connection, block) == BLOCK


async def test_value_and_height_come_from_the_bytes_not_from_the_record(bench: Bench) -> None:
    violations = CONSERVED_MONEY._value.get()
    await bench.append(record(BLOCK, value=VALUE + 1, height=99).SerializeToString())
    await bench.consumer.step()
    block = await bench.block()
    assert block is not None
    assert (block.value, block.height) == (VALUE, 7)
    assert CONSERVED_MONEY._value.get() == violations + 1


def changed(**values: object) -> BlockRecord:
    made = record(BLOCK)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff\xff\xff", id="no protobuf"),
        pytest.param(changed(format=9).SerializeToString(), id="a later format"),
        pytest.param(changed(pool="other").SerializeToString(), id="another pool's"),
        pytest.param(changed(coin="x/y").SerializeToString(), id="another chain's"),
        pytest.param(changed(hash=bytes(32)).SerializeToString(), id="another hash"),
        pytest.param(changed(block=BLOCK[:90]).SerializeToString(), id="cut off"),
        pytest.param(changed(found_ms=1 << 63).SerializeToString(), id="a time beyond 63 bits"),
        pytest.param(
            record(BLOCK, account="al\0ice").SerializeToString(), id="a text that no database keeps"
        ),
        pytest.param(record(solve(GENESIS, 7, pool="other")).SerializeToString(), id="another tag"),
        pytest.param(record(solve(GENESIS, 7, pool=None)).SerializeToString(), id="no tag"),
    ],
)
async def test_a_record_that_is_no_block_of_ours_holds_nothing_up(
    bench: Bench, payload: bytes
) -> None:
    refused = RECORDS_REFUSED.labels(POOL)._value.get()
    good = solve(GENESIS, 7, serial=5)
    await bench.append(payload, record(good).SerializeToString())
    assert await bench.consumer.step() == 2
    assert await bench.block() is None
    assert await bench.block(good) is not None
    assert RECORDS_REFUSED.labels(POOL)._value.get() == refused + 1


async def test_a_block_that_does_not_pay_us_is_worth_nothing(bench: Bench) -> None:
    unpaid = solve(GENESIS, 7, script=OTHER_SCRIPT)
    await bench.append(record(unpaid).SerializeToString())
    await bench.consumer.step()
    block = await bench.block(unpaid)
    assert block is not None
    assert block.value == 0
