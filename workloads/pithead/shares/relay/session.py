"""One connection of the relay to the hub.

Hello tells what is there, Welcome says where to read on. Each topic is read in
rotation over its partitions; records of one partition keep their order. What is
under way is bounded for each partition by the hub's window, and Stored opens it
again. When anything is in doubt (another log, more partitions, a position that can
not be read) the connection ends, and the next Hello tells.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc.aio

from pithead.contracts import relay_pb2 as pb
from pithead.log.errors import LogError, LogPositionInvalid, LogTruncated
from pithead.log.share_log import LogReader, LogRecord, ShareLog
from pithead.log.topics import blocks_topic, shares_topic
from pithead.shares.pace import Trouble
from pithead.shares.relay import metrics
from pithead.shares.relay.waiting import Backlog, Place

if TYPE_CHECKING:
    from pithead.contracts.relay_pb2_grpc import RegionsAsyncStub

logger = logging.getLogger(__name__)

FORMAT = 1

READ_BYTES_MAX = 512 * 1024

IDLE_S = 0.05
"""Between looks at a log that had nothing new."""

WELCOME_S = 30.0

PARTITIONS_S = 2.0
"""How often more partitions are looked for."""

RELEASE_PAUSE_S = 30.0
"""Between two rounds of deleting: each costs a broker some requests."""


class SessionOver(Exception):
    """Raised when this connection is of no more use; the next one tells the hub why."""


@dataclass(slots=True)
class Region:
    """What outlives a connection."""

    name: str
    log: ShareLog
    readers: Mapping[str, LogReader]
    """By topic."""
    pool_of: Mapping[str, str]
    """By topic."""
    backlog: Backlog = field(default_factory=Backlog)
    unreadable: dict[Place, str] = field(default_factory=dict)
    """Why a partition could not be read at the position that the hub gave."""


def region_of(name: str, pools: Sequence[str], log: ShareLog) -> Region:
    """The topics of a region's pools; nothing is opened yet."""
    pool_of = {shares_topic(pool): pool for pool in pools}
    pool_of |= {blocks_topic(pool): pool for pool in pools}
    return Region(name, log, {topic: log.reader(topic) for topic in pool_of}, pool_of)


@dataclass(slots=True)
class _Partition:
    """How far one partition was sent."""

    place: Place
    position: int
    under_way: deque[tuple[int, int]] = field(default_factory=deque)
    """(position after, bytes) of what was sent and is not stored."""
    under_way_bytes: int = 0

    def stored(self, position: int) -> None:
        while self.under_way and self.under_way[0][0] <= position:
            self.under_way_bytes -= self.under_way.popleft()[1]


class Session:
    """One connection, from Hello to its end."""

    def __init__(
        self, region: Region, stub: "RegionsAsyncStub", connected: Callable[[], None]
    ) -> None:
        """`connected` is called once the hub has welcomed us."""
        self._region = region
        self._stub = stub
        self._connected = connected
        self._log = ""
        self._window_bytes = 0
        self._partitions: dict[Place, _Partition] = {}
        self._release: dict[Place, int] = {}
        self._releasing = asyncio.Event()
        self._questions: asyncio.Queue[int] = asyncio.Queue(8)
        self._writing = asyncio.Lock()
        self._call: grpc.aio.StreamStreamCall[pb.RegionSays, pb.HubSays]

    async def run(self) -> None:
        """Push until something fails.

        Raises SessionOver, AioRpcError, LogError, TimeoutError; several in a group.
        """
        hello = await self._hello()
        self._call = self._stub.Relay()
        try:
            async with asyncio.timeout(WELCOME_S):
                await self._say(pb.RegionSays(hello=hello))
                self._welcome(await self._heard())
            self._connected()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._answer())
                group.create_task(self._cut())
                group.create_task(self._look())
                for topic in self._region.readers:
                    group.create_task(self._push(topic))
        finally:
            self._call.cancel()

    async def _hello(self) -> pb.Hello:
        region = self._region
        readers = list(region.readers.values())
        self._log = await readers[0].log_id()
        hello = pb.Hello(
            format=FORMAT,
            region=region.name,
            log=self._log,
            exclusive=readers[0].exclusive,
            pools=sorted(set(region.pool_of.values())),
        )
        for topic, reader in region.readers.items():
            for partition in await reader.partitions():
                start, end = await reader.start(partition), await reader.end(partition)
                hello.partitions.add(
                    topic=topic,
                    partition=partition,
                    start=start,
                    end=end,
                    unreadable=region.unreadable.get((topic, partition), ""),
                )
        return hello

    def _welcome(self, message: pb.HubSays) -> None:
        if message.WhichOneof("what") != "welcome":
            raise SessionOver("the hub did not answer Hello")
        self._window_bytes = message.welcome.window_bytes
        for each in message.welcome.places:
            place = (each.topic, each.partition)
            self._partitions[place] = _Partition(place, each.position)
            self._region.backlog.stored[place] = each.position
        self._region.unreadable.clear()

    async def _say(self, message: pb.RegionSays) -> None:
        async with self._writing:
            with _endings():
                await self._call.write(message)

    async def _heard(self) -> pb.HubSays:
        with _endings():
            message = await self._call.read()
        if not isinstance(message, pb.HubSays):
            raise SessionOver("the hub has ended the connection")
        return message

    async def _listen(self) -> None:
        while True:
            message = await self._heard()
            kind = message.WhichOneof("what")
            if kind == "stored":
                for each in message.stored.places:
                    self._region.backlog.stored[each.topic, each.partition] = each.position
                    self._partitions[each.topic, each.partition].stored(each.position)
            elif kind == "ask":
                if self._questions.full():
                    raise SessionOver("the hub asks faster than the log answers")
                self._questions.put_nowait(message.ask.question)
            elif kind == "release":
                for each in message.release.places:
                    self._release[each.topic, each.partition] = each.position
                self._releasing.set()

    async def _push(self, topic: str) -> None:
        """Send what is new of one topic, its partitions in turns."""
        trouble = Trouble(f"the region's log, {topic}")
        mine = [each for place, each in self._partitions.items() if place[0] == topic]
        while True:
            sent = 0
            try:
                for each in mine:
                    sent += await self._push_some(each)
                trouble.worked()
            except LogError as error:
                await asyncio.sleep(trouble.failed(error))
                continue
            if not sent:
                await asyncio.sleep(IDLE_S)

    async def _push_some(self, partition: _Partition) -> int:
        """Send the next records of a partition; returns how many."""
        room = self._window_bytes - partition.under_way_bytes
        if room <= 0 and partition.under_way:
            return 0
        topic, name = partition.place
        reader = self._region.readers[topic]
        try:
            records = await reader.read(name, partition.position, max(1, min(room, READ_BYTES_MAX)))
        except LogTruncated as error:
            raise SessionOver(str(error)) from error
        except LogPositionInvalid as error:
            self._region.unreadable[partition.place] = str(error)
            raise SessionOver(str(error)) from error
        if not records:
            return 0
        await self._check_log(reader)
        await self._say(pb.RegionSays(records=_message(topic, name, records)))
        size = sum(len(record.payload) for record in records)
        partition.position = records[-1].next_position
        partition.under_way.append((partition.position, size))
        partition.under_way_bytes += size
        self._region.backlog.read(topic, records)
        pool = self._region.pool_of[topic]
        metrics.RECORDS.labels(pool).inc(len(records))
        metrics.BYTES.labels(pool).inc(size)
        return len(records)

    async def _check_log(self, reader: LogReader) -> None:
        log = await reader.log_id()
        if log != self._log:
            raise SessionOver(f"{log} stands where {self._log} stood")

    async def _answer(self) -> None:
        """Tell where the log ends, each time that the hub asks."""
        trouble = Trouble("the region's log, asked for its ends")
        while True:
            question = await self._questions.get()
            backlog = self._region.backlog
            try:
                for topic, reader in self._region.readers.items():
                    await self._check_log(reader)
                    for place in self._partitions:
                        if place[0] == topic:
                            backlog.ends[place] = await reader.end(place[1])
                trouble.worked()
            except LogError as error:
                # The hub takes us for gone when it goes on, which is what we are to it.
                trouble.failed(error)
                continue
            ends = pb.Ends(question=question)
            for place in self._partitions:
                records, size = backlog.waiting(place)
                ends.ends.add(
                    topic=place[0],
                    partition=place[1],
                    end=backlog.ends[place],
                    waiting_records=records,
                    waiting_bytes=size,
                )
            await self._say(pb.RegionSays(ends=ends))

    async def _look(self) -> None:
        """End the connection when there are more partitions than it was opened for."""
        while True:
            await asyncio.sleep(PARTITIONS_S)
            for topic, reader in self._region.readers.items():
                try:
                    there = await reader.partitions()
                except LogError:
                    # Those who read say so.
                    continue
                more = [name for name in there if (topic, name) not in self._partitions]
                if more:
                    raise SessionOver(f"{topic} has more partitions: {', '.join(more)}")

    async def _cut(self) -> None:
        """Delete what the hub no longer needs."""
        trouble = Trouble("the region's log, cut behind accounting")
        while True:
            await self._releasing.wait()
            self._releasing.clear()
            try:
                for place in sorted(self._release):
                    await self._region.log.delete_before(*place, self._release[place])
                    del self._release[place]
                    metrics.RELEASED.labels(self._region.pool_of[place[0]]).inc()
                trouble.worked()
            except LogError as error:
                # The next Release tries again.
                trouble.failed(error)
            await asyncio.sleep(RELEASE_PAUSE_S)


@contextmanager
def _endings() -> Iterator[None]:
    """Give the ways in which the library tells that a call is over one name.

    It raises CancelledError in whoever waits for a call that was cancelled elsewhere,
    which a group of tasks would take for the quiet end of that task.
    """
    try:
        yield
    except asyncio.InvalidStateError as error:
        raise SessionOver("the connection has ended") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise SessionOver("the connection was closed") from error


def _message(topic: str, partition: str, records: Sequence[LogRecord]) -> pb.Records:
    return pb.Records(
        topic=topic,
        partition=partition,
        position=[record.position for record in records],
        next_position=[record.next_position for record in records],
        appended_ms=[record.appended_ms or 0 for record in records],
        payload=[record.payload for record in records],
    )
