"""What every share log must do; one class to inherit for each implementation.

A subclass gives the fixture `share_log`: an empty log that nobody else uses; and
`names`, where the log does not take any name for a topic or partition.
"""

import asyncio
import time
from typing import NamedTuple

import pytest

from pithead.log.errors import BadName, LogClosed, LogPositionInvalid, RecordTooLarge
from pithead.log.share_log import LogReader, LogRecord, ShareLog

TOPIC = "shares.default.example"
PARTITION = "eu-0"


class Names(NamedTuple):
    """Topics and partitions that the log takes."""

    topic: str
    other_topic: str
    partition: str
    other_partition: str


async def read_all(
    reader: LogReader, partition: str, position: int = 0, bytes_max: int = 1 << 20
) -> list[LogRecord]:
    """Read from `position` to the end."""
    found: list[LogRecord] = []
    while records := await reader.read(partition, position, bytes_max):
        found += records
        position = records[-1].next_position
    return found


class ShareLogContract:
    """The suite."""

    @pytest.fixture
    def names(self) -> Names:
        return Names(TOPIC, "blocks.p", PARTITION, "us-0")

    async def test_a_log_has_a_name_that_all_its_readers_tell(
        self, share_log: ShareLog, names: Names
    ) -> None:
        readers = [share_log.reader(names.topic), share_log.reader(names.other_topic)]
        first, second = [await reader.log_id() for reader in readers]
        assert first == second != ""
        for reader in readers:
            await reader.close()

    async def test_what_is_held_is_told_by_partition_and_in_bytes(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        first = await writer.append(bytes(1000))
        last = await writer.append(bytes(2000))
        held = (await share_log.held(names.topic))[names.partition]
        assert held.start < first < last == held.end
        assert 3000 <= held.bytes < 5000
        await writer.close()

    async def test_records_are_found_by_the_time_at_which_the_log_took_them(
        self, share_log: ShareLog, names: Names
    ) -> None:
        reader = share_log.reader(names.topic)
        before_ms = time.time_ns() // 1_000_000 - 60_000
        writer = await share_log.writer(names.topic, names.partition)
        end = await writer.append(b"first")
        end = await writer.append(b"last")
        assert await reader.since(names.partition, before_ms) == 0
        assert await reader.since(names.partition, before_ms + 120_000) == end
        await writer.close()
        await reader.close()

    async def test_appended_records_come_back_in_order_with_their_bytes(
        self, share_log: ShareLog, names: Names
    ) -> None:
        payloads = [b"", b"a", bytes(range(256)) * 40, b"\x00" * 1000]
        writer = await share_log.writer(names.topic, names.partition)
        for payload in payloads:
            await writer.append(payload)
        reader = share_log.reader(names.topic)
        found = await read_all(reader, names.partition)
        assert [record.payload for record in found] == payloads
        await reader.close()
        await writer.close()

    async def test_append_returns_the_position_that_follows_the_record(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        ends = [await writer.append(payload) for payload in (b"one", b"two", b"three")]
        reader = share_log.reader(names.topic)
        found = await read_all(reader, names.partition)
        assert [record.next_position for record in found] == ends
        assert [record.position for record in found] == [0, *ends[:-1]]
        assert await reader.end(names.partition) == ends[-1]
        await reader.close()
        await writer.close()

    async def test_records_of_concurrent_appends_keep_the_order_of_the_calls(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        payloads = [str(number).encode() for number in range(500)]
        ends = await asyncio.gather(*(writer.append(payload) for payload in payloads))
        assert ends == sorted(set(ends))
        reader = share_log.reader(names.topic)
        assert [record.payload for record in await read_all(reader, names.partition)] == payloads
        await reader.close()
        await writer.close()

    async def test_a_reader_begins_at_any_record_and_takes_about_what_it_asked_for(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        payloads = [bytes([number]) * 100 for number in range(20)]
        ends = [await writer.append(payload) for payload in payloads]
        reader = share_log.reader(names.topic)
        for index, position in enumerate([0, *ends[:-1]]):
            few = await reader.read(names.partition, position, 250)
            assert 1 <= len(few) <= 3
            assert few[0].payload == payloads[index]
        await reader.close()
        await writer.close()

    async def test_a_record_larger_than_asked_for_comes_all_the_same(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        large = b"x" * 900_000
        await writer.append(large)
        reader = share_log.reader(names.topic)
        assert [record.payload for record in await reader.read(names.partition, 0, 1)] == [large]
        await reader.close()
        await writer.close()

    async def test_several_readers_have_their_own_positions(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        middle = await writer.append(b"early")
        end = await writer.append(b"late")
        first, second = share_log.reader(names.topic), share_log.reader(names.topic)
        assert [r.payload for r in await read_all(first, names.partition)] == [b"early", b"late"]
        assert [r.payload for r in await read_all(second, names.partition, middle)] == [b"late"]
        assert await first.read(names.partition, end, 100) == []
        for reader in (first, second):
            await reader.close()
        await writer.close()

    async def test_partitions_and_topics_are_apart(self, share_log: ShareLog, names: Names) -> None:
        reader = share_log.reader(names.topic)
        writers = [
            await share_log.writer(topic, partition)
            for topic, partition in (
                (names.topic, names.other_partition),
                (names.topic, names.partition),
                (names.other_topic, names.partition),
            )
        ]
        for number, writer in enumerate(writers):
            await writer.append(b"%d" % number)
        assert await reader.partitions() == [names.partition, names.other_partition]
        assert [r.payload for r in await read_all(reader, names.other_partition)] == [b"0"]
        assert [r.payload for r in await read_all(reader, names.partition)] == [b"1"]
        await reader.close()
        for writer in writers:
            await writer.close()

    async def test_a_closed_writer_refuses_and_closes_twice(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        pending = [asyncio.ensure_future(writer.append(b"%d" % number)) for number in range(5)]
        await asyncio.sleep(0)
        await writer.close()
        await writer.close()
        assert all(future.result() for future in pending)
        with pytest.raises(LogClosed):
            await writer.append(b"late")

    async def test_a_closed_reader_refuses(self, share_log: ShareLog, names: Names) -> None:
        reader = share_log.reader(names.topic)
        await reader.close()
        await reader.close()
        with pytest.raises(LogClosed):
            await reader.partitions()

    async def test_waiting_ends_with_the_next_record_or_the_time(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        reader = share_log.reader(names.topic)
        assert await reader.wait(names.partition, 0, 0) is False
        waiting = asyncio.ensure_future(reader.wait(names.partition, 0, 5000))
        await writer.append(b"news")
        assert await waiting is True
        await reader.close()
        await writer.close()

    async def test_a_position_past_the_end_belongs_to_another_log(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        end = await writer.append(b"only")
        reader = share_log.reader(names.topic)
        with pytest.raises(LogPositionInvalid) as caught:
            await reader.read(names.partition, end + 10_000, 100)
        assert caught.value.end == end
        await reader.close()
        await writer.close()

    async def test_an_oversized_record_is_refused_and_the_log_goes_on(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        with pytest.raises(RecordTooLarge):
            await writer.append(bytes(16 * 1024 * 1024 + 1))
        await writer.append(b"small")
        await writer.close()

    @pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 201, "ä"])
    async def test_a_name_that_could_leave_its_place_is_refused(
        self, share_log: ShareLog, names: Names, name: str
    ) -> None:
        with pytest.raises(BadName):
            await share_log.writer(name, names.partition)
        with pytest.raises(BadName):
            await share_log.writer(names.topic, name)

    async def test_deleting_keeps_what_lies_at_and_after_the_position(
        self, share_log: ShareLog, names: Names
    ) -> None:
        writer = await share_log.writer(names.topic, names.partition)
        ends = [await writer.append(bytes([number]) * 500) for number in range(40)]
        start = await share_log.delete_before(names.topic, names.partition, ends[25])
        assert start <= ends[25]
        reader = share_log.reader(names.topic)
        assert await reader.start(names.partition) == start
        found = await read_all(reader, names.partition, start)
        assert [r.payload[0] for r in found][-14:] == list(range(26, 40))
        assert await writer.append(b"goes on") > ends[-1]
        await reader.close()
        await writer.close()
