"""What every share log must do; one class to inherit for each implementation.

A subclass gives the fixture `share_log`: an empty log that nobody else uses.
"""

import asyncio

import pytest

from pithead.log.errors import BadName, LogBusy, LogClosed, LogPositionInvalid, RecordTooLarge
from pithead.log.share_log import LogReader, LogRecord, ShareLog

TOPIC = "shares.default.example"
PARTITION = "eu-0"


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

    async def test_appended_records_come_back_in_order_with_their_bytes(
        self, share_log: ShareLog
    ) -> None:
        payloads = [b"", b"a", bytes(range(256)) * 40, b"\x00" * 1000]
        writer = await share_log.writer(TOPIC, PARTITION)
        for payload in payloads:
            await writer.append(payload)
        reader = share_log.reader(TOPIC)
        found = await read_all(reader, PARTITION)
        assert [record.payload for record in found] == payloads
        await reader.close()
        await writer.close()

    async def test_append_returns_the_position_that_follows_the_record(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        ends = [await writer.append(payload) for payload in (b"one", b"two", b"three")]
        reader = share_log.reader(TOPIC)
        found = await read_all(reader, PARTITION)
        assert [record.next_position for record in found] == ends
        assert [record.position for record in found] == [0, *ends[:-1]]
        assert await reader.end(PARTITION) == ends[-1]
        await reader.close()
        await writer.close()

    async def test_records_of_concurrent_appends_keep_the_order_of_the_calls(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        payloads = [str(number).encode() for number in range(500)]
        ends = await asyncio.gather(*(writer.append(payload) for payload in payloads))
        assert ends == sorted(set(ends))
        reader = share_log.reader(TOPIC)
        assert [record.payload for record in await read_all(reader, PARTITION)] == payloads
        await reader.close()
        await writer.close()

    async def test_a_reader_begins_at_any_record_and_takes_about_what_it_asked_for(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        payloads = [bytes([number]) * 100 for number in range(20)]
        ends = [await writer.append(payload) for payload in payloads]
        reader = share_log.reader(TOPIC)
        for index, position in enumerate([0, *ends[:-1]]):
            few = await reader.read(PARTITION, position, 250)
            assert 1 <= len(few) <= 3
            assert few[0].payload == payloads[index]
        await reader.close()
        await writer.close()

    async def test_a_record_larger_than_asked_for_comes_all_the_same(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        large = b"x" * 900_000
        await writer.append(large)
        reader = share_log.reader(TOPIC)
        assert [record.payload for record in await reader.read(PARTITION, 0, 1)] == [large]
        await reader.close()
        await writer.close()

    async def test_several_readers_have_their_own_positions(self, share_log: ShareLog) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        middle = await writer.append(b"early")
        end = await writer.append(b"late")
        first, second = share_log.reader(TOPIC), share_log.reader(TOPIC)
        assert [r.payload for r in await read_all(first, PARTITION)] == [b"early", b"late"]
        assert [r.payload for r in await read_all(second, PARTITION, middle)] == [b"late"]
        assert await first.read(PARTITION, end, 100) == []
        for reader in (first, second):
            await reader.close()
        await writer.close()

    async def test_partitions_and_topics_are_apart(self, share_log: ShareLog) -> None:
        reader = share_log.reader(TOPIC)
        assert await reader.partitions() == []
        writers = [
            await share_log.writer(topic, partition)
            for topic, partition in ((TOPIC, "us-0"), (TOPIC, "eu-0"), ("blocks.p", "eu-0"))
        ]
        for number, writer in enumerate(writers):
            await writer.append(b"%d" % number)
        assert await reader.partitions() == ["eu-0", "us-0"]
        assert [r.payload for r in await read_all(reader, "us-0")] == [b"0"]
        assert [r.payload for r in await read_all(reader, "eu-0")] == [b"1"]
        await reader.close()
        for writer in writers:
            await writer.close()

    async def test_an_unknown_partition_is_empty(self, share_log: ShareLog) -> None:
        reader = share_log.reader(TOPIC)
        assert await reader.end("nowhere-9") == 0
        assert await reader.start("nowhere-9") == 0
        assert await reader.read("nowhere-9", 0, 1000) == []
        await reader.close()

    async def test_a_second_writer_is_refused_until_the_first_closes(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        end = await writer.append(b"first")
        with pytest.raises(LogBusy):
            await share_log.writer(TOPIC, PARTITION)
        await writer.close()
        second = await share_log.writer(TOPIC, PARTITION)
        assert await second.append(b"second") > end
        await second.close()

    async def test_a_closed_writer_refuses_and_closes_twice(self, share_log: ShareLog) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        pending = [asyncio.ensure_future(writer.append(b"%d" % number)) for number in range(5)]
        await asyncio.sleep(0)
        await writer.close()
        await writer.close()
        assert all(future.result() for future in pending)
        with pytest.raises(LogClosed):
            await writer.append(b"late")

    async def test_a_closed_reader_refuses(self, share_log: ShareLog) -> None:
        reader = share_log.reader(TOPIC)
        await reader.close()
        await reader.close()
        with pytest.raises(LogClosed):
            await reader.partitions()

    async def test_waiting_ends_with_the_next_record_or_the_time(self, share_log: ShareLog) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        reader = share_log.reader(TOPIC)
        assert await reader.wait(PARTITION, 0, 0) is False
        waiting = asyncio.ensure_future(reader.wait(PARTITION, 0, 5000))
        await writer.append(b"news")
        assert await waiting is True
        await reader.close()
        await writer.close()

    async def test_a_position_past_the_end_belongs_to_another_log(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        end = await writer.append(b"only")
        reader = share_log.reader(TOPIC)
        with pytest.raises(LogPositionInvalid) as caught:
            await reader.read(PARTITION, end + 10_000, 100)
        assert caught.value.end == end
        await reader.close()
        await writer.close()

    async def test_an_oversized_record_is_refused_and_the_log_goes_on(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        with pytest.raises(RecordTooLarge):
            await writer.append(bytes(16 * 1024 * 1024 + 1))
        await writer.append(b"small")
        await writer.close()

    @pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 201, "ä"])
    async def test_a_name_that_could_leave_its_place_is_refused(
        self, share_log: ShareLog, name: str
    ) -> None:
        with pytest.raises(BadName):
            await share_log.writer(name, PARTITION)
        with pytest.raises(BadName):
            await share_log.writer(TOPIC, name)

    async def test_deleting_keeps_what_lies_at_and_after_the_position(
        self, share_log: ShareLog
    ) -> None:
        writer = await share_log.writer(TOPIC, PARTITION)
        ends = [await writer.append(bytes([number]) * 500) for number in range(40)]
        start = await share_log.delete_before(TOPIC, PARTITION, ends[25])
        assert start <= ends[25]
        reader = share_log.reader(TOPIC)
        assert await reader.start(PARTITION) == start
        found = await read_all(reader, PARTITION, start)
        assert [r.payload[0] for r in found][-14:] == list(range(26, 40))
        assert await writer.append(b"goes on") > ends[-1]
        await reader.close()
        await writer.close()
