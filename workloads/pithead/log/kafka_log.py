"""KafkaLog: the share log in a Kafka cluster.

Topics have the prefix `pithead.` there and are made beforehand (`topics_admin`);
a partition's name is its number. A record is durable when all in-sync replicas
have it. Any number of producers share a partition: a new one proves nothing of
an earlier one. Positions are offsets and belong to the cluster whose id
`LogReader.log_id` tells.
"""

import hashlib
import time

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError

from pithead.log.errors import LogNotAllowed
from pithead.log.kafka_client import (
    Catalog,
    KafkaAccess,
    place_of,
    start_admin,
    start_producer,
    stop_admin,
)
from pithead.log.kafka_errors import translated
from pithead.log.kafka_reader import KafkaReader, partition_number
from pithead.log.kafka_sizes import sizes
from pithead.log.kafka_writer import KafkaWriter
from pithead.log.names import check_name
from pithead.log.share_log import Held
from pithead.log.topics import kafka_topic

SAMPLED_S = 600.0
"""A sample counts so long: brokers send a megabyte for each partition looked at."""

SAMPLE = 100
SAMPLE_BYTES = 256 * 1024

RECORD_OVERHEAD_BYTES = 70
"""Of a batch of one record, which an edge's appends are."""


class KafkaLog:
    """The log in one Kafka cluster; implements `ShareLog`."""

    def __init__(self, access: KafkaAccess) -> None:
        """Use a cluster; nothing is opened before the first use."""
        self._access = access
        self._means: dict[tuple[str, str], tuple[float, int]] = {}
        """When the records of a partition were sampled, and their mean size."""

    async def partition_for(self, topic: str, producer: bytes) -> str:
        """Return a partition by the hash of the producer's id over those that exist now."""
        name = kafka_topic(check_name("topic", topic))
        return str(chosen(producer, await self._partitions(name)))

    async def writer(self, topic: str, partition: str) -> KafkaWriter:
        """Open a writer of a partition, which others may write too; raises LogError."""
        name = kafka_topic(check_name("topic", topic))
        check_name("partition", partition)
        # A producer would make a missing topic by asking for it, with settings that lose records.
        place = place_of(self._access, name)
        number = partition_number(place, partition, await self._partitions(name))
        producer = await start_producer(self._access)
        return KafkaWriter(producer, name, number, place_of(self._access, name, number))

    def reader(self, topic: str) -> KafkaReader:
        """Return a reader of a topic; nothing is opened before its first use."""
        return KafkaReader(self._access, kafka_topic(check_name("topic", topic)))

    async def delete_before(self, topic: str, partition: str, position: int) -> int:
        """Delete the records before `position`; return the new start.

        Nothing is deleted when there is no such position: it is one of another cluster, which stood
        in the place of this one, or of a copy that was restored.
        """
        name = kafka_topic(check_name("topic", topic))
        reader = self.reader(topic)
        try:
            end = await reader.end(partition)
            if position > end:
                return await reader.start(partition)
        finally:
            await reader.close()
        target = TopicPartition(name, int(partition))
        admin = await start_admin(self._access)
        try:
            starts = await admin.delete_records({target: RecordsToDelete(position)})
        except (KafkaError, OSError, TimeoutError) as error:
            raise translated(error, place_of(self._access, name, target.partition)) from error
        finally:
            await stop_admin(admin)
        return int(starts[target])

    async def held(self, topic: str) -> dict[str, Held]:
        """Return what each partition holds, at a cost that suits a few times a minute.

        Brokers tell what is on their disks, to users who may describe the cluster;
        that falls only when whole segments are gone, which takes minutes. So what
        the records that are left should take is reckoned from a sample, by users
        who may read it, and the smaller one counts. LogNotAllowed to those who may
        do neither.
        """
        name = kafka_topic(check_name("topic", topic))
        partitions = await self._partitions(name)
        admin = await start_admin(self._access)
        try:
            found = await sizes(admin, name, partitions)
        except (KafkaError, OSError, TimeoutError) as error:
            raise translated(error, place_of(self._access, name)) from error
        finally:
            await stop_admin(admin)
        reader = self.reader(topic)
        try:
            return {
                str(number): await self._held(reader, number, found.get(number))
                for number in range(partitions)
            }
        finally:
            await reader.close()

    async def _held(self, reader: KafkaReader, number: int, size: int | None) -> Held:
        partition = str(number)
        start = await reader.start(partition)
        end = await reader.end(partition)
        try:
            reckoned = (end - start) * await self._mean(reader, partition, start, end)
        except LogNotAllowed:
            if size is None:
                raise
            reckoned = size
        return Held(start, end, reckoned if size is None else min(size, reckoned))

    async def _mean(self, reader: KafkaReader, partition: str, start: int, end: int) -> int:
        """Return the bytes of a record, by samples of some time ago of the beginning, the middle
        and the end: edges of one pool write records alike, if not at all hours."""
        topic = reader.topic
        sampled_s, mean = self._means.get((topic, partition), (0.0, 0))
        now_s = time.monotonic()
        if mean and now_s - sampled_s < SAMPLED_S:
            return mean
        records = []
        for position in {start, (start + end) // 2, max(start, end - SAMPLE)} - {end}:
            records += (await reader.read(partition, position, SAMPLE_BYTES))[:SAMPLE]
        if not records:
            return 0
        size = sum(len(record.payload) + RECORD_OVERHEAD_BYTES for record in records)
        mean = size // len(records)
        self._means[topic, partition] = (now_s, mean)
        return mean

    async def _partitions(self, name: str) -> int:
        catalog = Catalog(self._access)
        try:
            return await catalog.partitions(name)
        finally:
            await catalog.close()


def chosen(producer: bytes, partitions: int) -> int:
    """Return the partition of a producer: ids of one moment are alike, their hashes are not."""
    return int.from_bytes(hashlib.sha256(producer).digest()[:8], "big") % partitions
