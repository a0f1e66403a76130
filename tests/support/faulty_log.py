"""A share log that goes away and comes back, in the ways that real ones do."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from pithead.log.errors import LogBroken, LogFull, LogUnavailable
from pithead.log.file_log import FileLog
from pithead.log.share_log import Held, LogReader, LogWriter

PLACE = "log"
DEADLINE_S = 0.2
"""Of the writer itself, as Kafka's has one."""


class Fault(Enum):
    """What is wrong with the log."""

    NONE = auto()
    FULL = auto()
    """A disk without space: nothing is kept, the writer stays."""
    UNAVAILABLE = auto()
    """Brokers that do not answer: the writer gives up by its own deadline and stays."""
    BROKEN = auto()
    """The writer is of no more use, and a new one can not be opened."""
    HANGING = auto()
    """A disk or network file system that answers nothing at all."""


class Attempt(NamedTuple):
    """One append, by the number of its writer."""

    writer: int
    payload: bytes


class FaultyLog:
    """A FileLog behind faults; implements `ShareLog`."""

    def __init__(self, inner: FileLog, partition: str) -> None:
        """All producers write `partition`."""
        self.fault = Fault.NONE
        self.attempts: list[Attempt] = []
        self.writers = 0
        self._inner = inner
        self._partition = partition

    async def partition_for(self, topic: str, producer: bytes) -> str:
        return self._partition

    async def writer(self, topic: str, partition: str) -> LogWriter:
        await self.pass_through(until=self.opened)
        self.writers += 1
        return FaultyWriter(self, await self._inner.writer(topic, partition), self.writers)

    def reader(self, topic: str) -> LogReader:
        return self._inner.reader(topic)

    async def delete_before(self, topic: str, partition: str, position: int) -> int:
        return await self._inner.delete_before(topic, partition, position)

    async def held(self, topic: str) -> dict[str, Held]:
        return await self._inner.held(topic)

    def opened(self) -> bool:
        return self.fault is not Fault.HANGING

    async def pass_through(self, until: Callable[[], bool]) -> None:
        """Raise or wait as the present fault does."""
        if self.fault is Fault.FULL:
            raise LogFull(PLACE, "no space left")
        if self.fault is Fault.UNAVAILABLE:
            await asyncio.sleep(DEADLINE_S)
            raise LogUnavailable(PLACE, "no confirmation in time")
        if self.fault is Fault.BROKEN:
            raise LogBroken(PLACE, "connection lost")
        while not until():
            await asyncio.sleep(0.005)


class FaultyWriter:
    """One writer of it."""

    def __init__(self, log: FaultyLog, inner: LogWriter, number: int) -> None:
        self._log = log
        self._inner = inner
        self._number = number

    async def append(self, payload: bytes) -> int:
        self._log.attempts.append(Attempt(self._number, payload))
        await self._log.pass_through(until=self._log.opened)
        return await self._inner.append(payload)

    async def close(self) -> None:
        await self._inner.close()
