"""Readers of Kafka topics: positions are given by the caller, there is no group.

A consumer fetches ahead of each partition that was asked for; a read hands out
what has come, and moves the consumer only when the caller is somewhere else.
"Nothing there" is said only after the broker has answered a fetch at that very
position with its end. A position outside of the log raises, and nothing ever
goes to the newest by itself. Answers that stay away make the reader open a new
consumer from the bootstrap addresses at the next call.
"""

import asyncio
import time
from collections import deque

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
)

from pithead.log.errors import (
    LogClosed,
    LogError,
    LogPartitionUnknown,
    LogPositionInvalid,
    LogTruncated,
    LogUnavailable,
)
from pithead.log.kafka_client import Catalog, KafkaAccess, place_of, start_consumer, stop_consumer
from pithead.log.kafka_errors import translated
from pithead.log.share_log import LogRecord

ANSWER_S = 5.0
"""Beyond it a partition that has not answered is taken for away."""

LOOK_MS = 20
"""How often it is looked for an answer while one is waited for."""

WAIT_S = 0.05
"""How often `wait` asks for the end."""

APPEND_TIME = 1
"""Timestamp type of records that carry the broker's clock."""


class _View:
    """What is known of one partition between two reads."""

    def __init__(self, topic: str, number: int) -> None:
        self.name = TopicPartition(topic, number)
        self.lock = asyncio.Lock()
        self.position = -1
        """Where the next record handed out must stand; -1: the consumer is nowhere."""
        self.records: deque[ConsumerRecord] = deque()
        """Fetched and not yet handed out."""
        self.answered_before: int | None = None
        """Time of the last answer before the consumer was moved here."""

    @property
    def fetched(self) -> int:
        """Where the consumer stands."""
        return int(self.records[-1].offset) + 1 if self.records else self.position

    def take(self, bytes_max: int) -> list[LogRecord]:
        """Hand out about `bytes_max`, at least one record."""
        taken: list[LogRecord] = []
        size = 0
        while self.records and (not taken or size < bytes_max):
            record = self.records.popleft()
            payload = record.value or b""
            appended_ms = record.timestamp if record.timestamp_type == APPEND_TIME else None
            taken.append(LogRecord(record.offset, record.offset + 1, payload, appended_ms))
            size += len(payload)
        self.position = taken[-1].next_position
        return taken

    def forget(self) -> None:
        """Stand nowhere."""
        self.position = -1
        self.records.clear()


class KafkaReader:
    """Reads the partitions of one topic; implements `LogReader`."""

    exclusive = False

    def __init__(self, access: KafkaAccess, topic: str) -> None:
        """Read a topic by its name in Kafka."""
        self._access = access
        self.topic = topic
        self._place = place_of(access, topic)
        self._catalog = Catalog(access)
        self._views: dict[int, _View] = {}
        self._consumer: AIOKafkaConsumer | None = None
        # Fetches are held by the broker when there is nothing new; questions go beside them.
        self._asker: AIOKafkaConsumer | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def log_id(self) -> str:
        """Return the id of the Kafka cluster, at most a second old."""
        self._check_open()
        return (await self._catalog.cluster()).id

    async def partitions(self) -> list[str]:
        """Return the partitions that exist now, by number; `LogTopicMissing` without the topic."""
        self._check_open()
        return [str(number) for number in range(await self._catalog.partitions(self.topic))]

    async def read(self, partition: str, position: int, bytes_max: int) -> list[LogRecord]:
        """Return the records from `position` on, about `bytes_max` of them, [] at the end.

        `LogTruncated`: retention has deleted it. `LogPositionInvalid`: it lies
        past the end. `LogUnavailable`: no broker answers for the partition.
        """
        number = await self._number(partition)
        if position < 0:
            raise LogPositionInvalid(self._place_of(number), position, await self.end(partition))
        view = self._views.setdefault(number, _View(self.topic, number))
        async with view.lock:
            try:
                return await self._read(view, position, bytes_max)
            except OffsetOutOfRangeError as error:
                view.forget()
                raise await self._outside(number, position) from error
            except (KafkaError, OSError, TimeoutError, IllegalStateError) as error:
                view.forget()
                raise translated(error, self._place_of(number)) from error
            except BaseException:
                view.forget()
                raise

    async def start(self, partition: str) -> int:
        """Return the earliest position that is left."""
        return (await self._bounds(await self._number(partition)))[0]

    async def end(self, partition: str) -> int:
        """Return the position after the last record that all in-sync replicas have."""
        return (await self._bounds(await self._number(partition)))[1]

    async def since(self, partition: str, time_ms: int) -> int:
        """Return the offset of the first record that brokers took at or after `time_ms`."""
        number = await self._number(partition)
        name = TopicPartition(self.topic, number)
        asker = await self._asking()
        try:
            async with asyncio.timeout(ANSWER_S):
                found = (await asker.offsets_for_times({name: max(0, time_ms)}))[name]
        except (KafkaError, OSError, TimeoutError, ConsumerStoppedError) as error:
            async with self._opening:
                await self._drop()
            raise translated(error, self._place_of(number)) from error
        return int(found.offset) if found is not None else (await self._bounds(number))[1]

    async def wait(self, partition: str, position: int, timeout_ms: int) -> bool:
        """Wait until there is a record at `position` (True) or the time is over (False)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while await self.end(partition) <= position:
            left = deadline - loop.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(left, WAIT_S))
        return True

    async def close(self) -> None:
        """Close all connections; a second call does nothing."""
        self._closed = True
        async with self._opening:
            await self._drop()
        await self._catalog.close()

    async def _read(self, view: _View, position: int, bytes_max: int) -> list[LogRecord]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_S
        consumer = await self._standing(view, position)
        while not view.records:
            at_end = self._at_end(consumer, view)
            found = await consumer.getmany(view.name, timeout_ms=0 if at_end else LOOK_MS)
            if view.name in found:
                view.records.extend(found[view.name])
            elif at_end:
                return []
            elif loop.time() > deadline:
                async with self._opening:
                    await self._drop()
                raise LogUnavailable(
                    self._place_of(view.name.partition), f"no answer within {ANSWER_S:g} s"
                )
        return view.take(bytes_max)

    def _at_end(self, consumer: AIOKafkaConsumer, view: _View) -> bool:
        """Tell whether the broker has said, here and not long ago, that nothing follows."""
        answered_ms = consumer.last_poll_timestamp(view.name)
        if answered_ms is None or answered_ms == view.answered_before:
            return False
        end = consumer.highwater(view.name)
        fresh = time.time() * 1000 - answered_ms < ANSWER_S * 1000
        return end is not None and end <= view.fetched and fresh

    async def _standing(self, view: _View, position: int) -> AIOKafkaConsumer:
        """Return the consumer, which fetches from where the caller reads."""
        consumer = await self._opened()
        if view.name not in consumer.assignment():
            view.position = position
            view.records.clear()
            self._assign(consumer)
        elif view.position != position:
            view.records.clear()
            view.position = position
            view.answered_before = consumer.last_poll_timestamp(view.name)
            consumer.seek(view.name, position)
        return consumer

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        """Assign what is read, which moves every partition to nowhere, and move it back."""
        views = [view for view in self._views.values() if view.position >= 0]
        consumer.assign([view.name for view in views])
        for view in views:
            view.answered_before = None
            consumer.seek(view.name, view.fetched)

    async def _opened(self) -> AIOKafkaConsumer:
        async with self._opening:
            self._check_open()
            if self._consumer is None:
                self._consumer = await start_consumer(self._access)
            return self._consumer

    async def _asking(self) -> AIOKafkaConsumer:
        async with self._opening:
            self._check_open()
            if self._asker is None:
                self._asker = await start_consumer(self._access)
            return self._asker

    async def _drop(self) -> None:
        """Close the consumers; the next call opens new ones."""
        consumers = (self._consumer, self._asker)
        self._consumer = self._asker = None
        for view in self._views.values():
            view.position = -1
        await asyncio.gather(*(stop_consumer(each) for each in consumers if each is not None))

    async def _bounds(self, number: int) -> tuple[int, int]:
        name = TopicPartition(self.topic, number)
        asker = await self._asking()
        try:
            async with asyncio.timeout(ANSWER_S):
                start = await asker.beginning_offsets([name])
                end = await asker.end_offsets([name])
        except (KafkaError, OSError, TimeoutError, ConsumerStoppedError) as error:
            async with self._opening:
                await self._drop()
            raise translated(error, self._place_of(number)) from error
        return start[name], end[name]

    async def _outside(self, number: int, position: int) -> LogError:
        start, end = await self._bounds(number)
        if position < start:
            return LogTruncated(self._place_of(number), position, start)
        return LogPositionInvalid(self._place_of(number), position, end)

    async def _number(self, partition: str) -> int:
        self._check_open()
        return partition_number(self._place, partition, await self._catalog.partitions(self.topic))

    def _place_of(self, number: int) -> str:
        return place_of(self._access, self.topic, number)

    def _check_open(self) -> None:
        if self._closed:
            raise LogClosed(self._place)


def partition_number(place: str, partition: str, partitions: int) -> int:
    """Return the number that a partition's name is; raises LogPartitionUnknown."""
    if not (partition.isascii() and partition.isdecimal()) or int(partition) >= partitions:
        raise LogPartitionUnknown(place, partition, partitions)
    return int(partition)
