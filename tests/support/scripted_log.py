"""A share log in memory whose brokers do what a test says: answer, be away, hang, lose answers.

It keeps what a Kafka log promises and no more: a partition is what many writers appended in the
order of their calls, and after `LogUnavailable` or a cancelled call a record may be there or come.
"""

import asyncio
from collections import defaultdict
from enum import Enum, auto

from pithead.log.errors import LogBroken, LogFull, LogUnavailable
from pithead.log.share_log import Held, LogReader, LogWriter

PLACE = "scripted"


class Mood(Enum):
    """What brokers do with a request."""

    WELL = auto()
    AWAY = auto()
    """Nothing is taken, which is told at once."""
    HANGING = auto()
    """Nothing is taken and nothing is told."""
    DEAF = auto()
    """Records are taken, and nothing is told."""
    LOSING = auto()
    """Records are taken, and the opposite is told."""
    BROKEN = auto()
    """The writer is of no more use; a new one can be had when the mood is better."""
    FULL = auto()


class ScriptedLog:
    """The log; implements `ShareLog`, without readers."""

    def __init__(self, partitions: int = 1) -> None:
        self.mood = Mood.WELL
        self.partitions = partitions
        self.records: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        """What the log holds, by topic and partition."""
        self.arrived: list[tuple[str, bytes]] = []
        """The same over all partitions, by topic, in the order of arrival."""
        self.opened = 0

    async def partition_for(self, topic: str, producer: bytes) -> str:
        await self.asked()
        return str(producer[-1] % self.partitions)

    async def writer(self, topic: str, partition: str) -> LogWriter:
        await self.asked()
        self.opened += 1
        return _Writer(self, topic, partition)

    def reader(self, topic: str) -> LogReader:
        raise NotImplementedError

    async def delete_before(self, topic: str, partition: str, position: int) -> int:
        raise NotImplementedError

    async def held(self, topic: str) -> dict[str, Held]:
        return {
            partition: Held(0, len(records), sum(map(len, records)))
            for (name, partition), records in self.records.items()
            if name == topic
        }

    async def asked(self) -> None:
        """Answer a question about the cluster, as the mood is."""
        await asyncio.sleep(0)
        if self.mood in (Mood.AWAY, Mood.BROKEN):
            raise LogUnavailable(PLACE, "no broker answers")
        while self.mood in (Mood.HANGING, Mood.DEAF):
            await asyncio.sleep(0.001)

    def take(self, topic: str, partition: str, payload: bytes) -> int:
        records = self.records[topic, partition]
        records.append(payload)
        self.arrived.append((topic, payload))
        return len(records)


class _Writer:
    def __init__(self, log: ScriptedLog, topic: str, partition: str) -> None:
        self._log = log
        self._topic = topic
        self._partition = partition
        self._broken = False

    async def append(self, payload: bytes) -> int:
        log = self._log
        await asyncio.sleep(0)
        if self._broken or log.mood is Mood.BROKEN:
            self._broken = True
            raise LogBroken(PLACE, "connection lost")
        if log.mood is Mood.AWAY:
            raise LogUnavailable(PLACE, "no confirmation in time")
        if log.mood is Mood.FULL:
            raise LogFull(PLACE, "no space left")
        if log.mood is Mood.HANGING:
            while log.mood is Mood.HANGING:
                await asyncio.sleep(0.001)
            return await self.append(payload)
        end = log.take(self._topic, self._partition, payload)
        if log.mood is Mood.LOSING:
            raise LogUnavailable(PLACE, "the answer was lost")
        while log.mood is Mood.DEAF:
            await asyncio.sleep(0.001)
        return end

    async def close(self) -> None:
        self._broken = True
