"""KafkaLog on a real broker: the contract, several producers, kills, and another cluster."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from pithead.log import kafka_writer
from pithead.log.errors import (
    LogBroken,
    LogError,
    LogPartitionUnknown,
    LogPositionInvalid,
    LogTopicMissing,
    LogTruncated,
    LogUnavailable,
)
from pithead.log.kafka_client import look, start_admin, stop_admin
from pithead.log.kafka_log import KafkaLog, chosen
from pithead.log.share_log import LogReader, LogWriter, ShareLog
from tests.support.kafka import KafkaBroker, KafkaFiles, make_topics, running_broker
from tests.unit.log.contract import Names, ShareLogContract, read_all

pytestmark = [pytest.mark.full, pytest.mark.needs("kafka"), pytest.mark.timeout(120)]

BACK_S_MAX = 10.0
"""A killed broker that is back is used again within this time."""

NUMBERS = count()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with running_broker(KafkaFiles(tmp_path_factory.mktemp("kafka"))) as running:
        yield running


@pytest.fixture
async def topic(broker: KafkaBroker) -> str:
    """A topic of two partitions that nobody else uses."""
    name = f"shares.default.test-{next(NUMBERS)}"
    await make_topics(broker, name)
    return name


@pytest.fixture
def log(broker: KafkaBroker) -> KafkaLog:
    return KafkaLog(broker.settings)


class TestContract(ShareLogContract):
    """The contract."""

    @pytest.fixture
    def share_log(self, log: KafkaLog) -> ShareLog:
        return log

    @pytest.fixture
    async def names(self, broker: KafkaBroker) -> Names:
        number = next(NUMBERS)
        names = Names(f"shares.test-{number}", f"blocks.test-{number}", "0", "1")
        await make_topics(broker, names.topic, names.other_topic)
        return names


@asynccontextmanager
async def opened(
    log: KafkaLog, topic: str, partition: str = "0"
) -> AsyncIterator[tuple[LogWriter, LogReader]]:
    writer, reader = await log.writer(topic, partition), log.reader(topic)
    try:
        yield writer, reader
    finally:
        await reader.close()
        await writer.close()


async def until_appended(writer: LogWriter, payload: bytes, limit_s: float) -> int:
    """Append with the same bytes until it is confirmed."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return await writer.append(payload)
        except LogUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def until_read(reader: LogReader, number: int, limit_s: float) -> list[bytes]:
    """Read partition 0 from its beginning until so many records are there."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = await read_all(reader, "0")
        except LogUnavailable:
            found = []
        if len(found) >= number:
            return [record.payload for record in found]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_several_writers_share_a_partition_and_each_keeps_its_order(
    log: KafkaLog, topic: str
) -> None:
    async with opened(log, topic) as (first, reader), opened(log, topic) as (second, _):
        for number in range(20):
            await asyncio.gather(first.append(b"a%d" % number), second.append(b"b%d" % number))
        found = [record.payload for record in await read_all(reader, "0")]
        for name in (b"a", b"b"):
            assert [each for each in found if each[:1] == name] == [
                b"%s%d" % (name, number) for number in range(20)
            ]
        assert not reader.exclusive


async def test_a_record_carries_the_brokers_time(log: KafkaLog, topic: str) -> None:
    async with opened(log, topic) as (writer, reader):
        before = time.time() * 1000
        await writer.append(b"x")
        (record,) = await reader.read("0", 0, 100)
        assert record.appended_ms is not None
        assert before - 1 <= record.appended_ms <= time.time() * 1000 + 1


async def test_a_producer_always_gets_the_same_partition_and_many_get_all(
    log: KafkaLog, topic: str
) -> None:
    producers = [number.to_bytes(16, "big") for number in range(64)]
    partitions = {chosen(producer, 8) for producer in producers}
    assert partitions == set(range(8))
    assert await log.partition_for(topic, producers[3]) == str(chosen(producers[3], 2))


async def test_a_topic_is_never_made_by_use(broker: KafkaBroker, log: KafkaLog) -> None:
    reader = log.reader("shares.nobody")
    for attempt in (
        log.writer("shares.nobody", "0"),
        log.partition_for("shares.nobody", bytes(16)),
        reader.partitions(),
        reader.end("0"),
        reader.read("0", 0, 100),
    ):
        with pytest.raises(LogTopicMissing, match="pithead wire topics"):
            await attempt
    await reader.close()
    admin = await start_admin(broker.settings)
    assert "pithead.shares.nobody" not in (await look(admin)).partitions
    await stop_admin(admin)


@pytest.mark.parametrize("partition", ["2", "eu-0", "٣", "00000000000000000009"])
async def test_an_unknown_partition_is_refused(log: KafkaLog, topic: str, partition: str) -> None:
    reader = log.reader(topic)
    with pytest.raises(LogPartitionUnknown, match="use 0 to 1"):
        await reader.end(partition)
    with pytest.raises(LogError):
        await log.writer(topic, partition)
    await reader.close()


async def test_a_deleted_position_is_told_with_the_earliest(log: KafkaLog, topic: str) -> None:
    async with opened(log, topic) as (writer, reader):
        for number in range(10):
            await writer.append(b"%d" % number)
        assert len(await reader.read("0", 2, 1)) == 1
        assert await log.delete_before(topic, "0", 5) == 5
        for fresh in (reader, log.reader(topic)):
            with pytest.raises(LogTruncated) as caught:
                await fresh.read("0", 1, 100)
            assert caught.value.earliest == 5
            assert [r.payload for r in await fresh.read("0", 5, 1)] == [b"5"]
            await fresh.close()
        # A position of another cluster, which stood in this one's place, deletes nothing.
        assert await log.delete_before(topic, "0", 11) == 5
        assert await log.delete_before(topic, "0", 10) == 10


async def test_partitions_that_were_added_are_seen(broker: KafkaBroker, log: KafkaLog) -> None:
    name = f"shares.test-{next(NUMBERS)}"
    await make_topics(broker, name, partitions=1)
    async with opened(log, name) as (writer, reader):
        assert await reader.partitions() == ["0"]
        await writer.append(b"old")
        assert len(await read_all(reader, "0")) == 1
        await make_topics(broker, name, partitions=3)
        await asyncio.sleep(1.1)
        assert await reader.partitions() == ["0", "1", "2"]
        async with opened(log, name, "2") as (other, _):
            await other.append(b"new")
        await writer.append(b"more")
        assert [r.payload for r in await read_all(reader, "2")] == [b"new"]
        assert [r.payload for r in await read_all(reader, "0", 1)] == [b"more"]


async def test_a_killed_broker_loses_nothing_and_is_used_again_soon(
    broker: KafkaBroker, log: KafkaLog, topic: str
) -> None:
    async with opened(log, topic) as (writer, reader):
        await writer.append(b"before")
        assert await until_read(reader, 1, 5) == [b"before"]
        broker.kill()
        started = time.monotonic()
        with pytest.raises(LogUnavailable, match="no confirmation"):
            await writer.append(b"during")
        assert time.monotonic() - started < 3
        broker.start()
        await broker.until_ready()
        back = time.monotonic()
        # The record that was given up is the one that is repeated: no second copy.
        await until_appended(writer, b"during", BACK_S_MAX)
        await writer.append(b"after")
        wanted = [b"before", b"during", b"after"]
        assert await until_read(reader, 3, BACK_S_MAX) == wanted
        assert time.monotonic() - back < BACK_S_MAX
        fresh = log.reader(topic)
        assert [record.payload for record in await read_all(fresh, "0")] == wanted
        await fresh.close()


async def test_a_frozen_broker_holds_nobody_up(
    broker: KafkaBroker, log: KafkaLog, topic: str
) -> None:
    async with opened(log, topic) as (writer, reader):
        await writer.append(b"before")
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(LogUnavailable):
                await writer.append(b"during")
            assert time.monotonic() - started < 3
            with pytest.raises(LogUnavailable):
                await reader.end("0")
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        assert await until_appended(writer, b"during", BACK_S_MAX) == 2
        assert await until_read(reader, 2, BACK_S_MAX) == [b"before", b"during"]


async def test_closing_while_the_broker_is_away_ends_soon_and_leaves_nothing(
    broker: KafkaBroker, log: KafkaLog, topic: str
) -> None:
    troubles: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
    async with opened(log, topic) as (writer, _):
        broker.kill()
        try:
            with pytest.raises(LogUnavailable):
                await asyncio.gather(*(writer.append(b"lost %d" % each) for each in range(3)))
            await asyncio.sleep(1)  # Sent again meanwhile, without success.
            started = time.monotonic()
            await writer.close()
            assert time.monotonic() - started < 5
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not others, "the producer's tasks have ended"
            gc.collect()
            assert not troubles
        finally:
            broker.start()
            await broker.until_ready()


async def test_a_cancelled_append_that_is_repeated_is_one_record(log: KafkaLog, topic: str) -> None:
    async with opened(log, topic) as (writer, reader):
        appending = asyncio.ensure_future(writer.append(b"once"))
        await asyncio.sleep(0)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert await writer.append(b"once") == 1
        assert await writer.append(b"once") == 2, "after an answer the same bytes are new"
        assert len(await read_all(reader, "0")) == 2


async def test_a_writer_that_heard_nothing_for_long_is_replaced(
    broker: KafkaBroker, log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_writer, "RENEW_S", 0.5)
    async with opened(log, topic) as (writer, reader):
        broker.kill()
        with pytest.raises(LogBroken):
            await writer.append(b"repeated")
        with pytest.raises(LogBroken):
            await writer.append(b"another")
        with pytest.raises(LogUnavailable):
            await log.writer(topic, "0")
        broker.start()
        await broker.until_ready()
        second = await log.writer(topic, "0")
        await second.append(b"repeated")
        await second.close()
        assert set(await until_read(reader, 1, BACK_S_MAX)) == {b"repeated"}


async def test_another_cluster_has_another_name_and_no_position_of_the_old_one(
    broker: KafkaBroker, log: KafkaLog, topic: str
) -> None:
    reader = log.reader(topic)
    async with opened(log, topic) as (writer, _):
        end = [await writer.append(b"%d" % number) for number in range(5)][-1]
    name = await reader.log_id()
    assert len(await read_all(reader, "0")) == 5
    broker.stop()
    broker.files.wipe()
    broker.start()
    await broker.until_ready()
    await make_topics(broker, topic)
    async with opened(log, topic) as (writer, _):
        await writer.append(b"anew")
        await asyncio.sleep(1.1)
        assert await reader.log_id() not in {name, ""}
        with pytest.raises(LogPositionInvalid) as caught:
            await reader.read("0", end, 100)
        assert caught.value.end == 1
        assert [record.payload for record in await read_all(reader, "0")] == [b"anew"]
    await reader.close()
