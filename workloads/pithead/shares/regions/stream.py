"""One connection of a region's relay: records into the hub's log, positions into the database.

A task reads what comes, one for each partition appends in order, one stores what has
become durable and tells the relay, one asks for ends and lets go of what nobody
needs. What is under way is bounded by the window that the relay was told. A log
that is away makes the partition wait; a database that is away ends the connection,
and the relay dials again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pithead.contracts import relay_pb2 as pb
from pithead.log.chunk import RECORD_BYTES_MAX
from pithead.log.errors import WRITER_STAYS, LogError, LogPartitionUnknown
from pithead.log.share_log import LogReader, LogWriter, ShareLog
from pithead.shares.pace import Trouble
from pithead.shares.regions import metrics
from pithead.shares.regions.arrivals import Arrival, Topic, judge
from pithead.shares.regions.begin import Found
from pithead.shares.regions.rows import Brought, Place, Progress, RegionRows, Told
from pithead.shares.states import INT63_MAX

logger = logging.getLogger(__name__)

WINDOW_BYTES = 2 * 1024 * 1024
"""Records of a partition under way: over a distance of 100 ms that is 10 MB/s of each."""

GROUP_S = 0.05
"""Between two transactions that store positions: what came meanwhile shares one."""

PAIR_S = 10.0
"""Between pairs of positions that are kept: by so much later a region deletes than it could."""

LOOK_S = 0.25
"""How often sealers' questions are looked for."""

ASK_S = 1.0
"""How often ends are asked for when nobody else asks."""

ANSWER_S = 10.0
"""A relay that has not answered for this long is taken for gone."""

RELEASE_S = 5.0

ASIDE_TOLD_MAX = 100
"""Records set aside that the log tells of, a connection; garbage beyond is counted in a metric."""


class StreamBroken(Exception):
    """Raised when the relay breaks the contract; it may dial again."""


class StreamEnded(Exception):
    """Raised when the connection is of no more use; the relay is to dial again."""


@dataclass(slots=True)
class _Partition:
    """What came of one partition and is not stored yet."""

    topic: Topic
    partition: str
    arrivals: asyncio.Queue[list[Arrival]] = field(default_factory=asyncio.Queue)
    """Bounded by `waiting_bytes`."""
    waiting_bytes: int = 0
    next_position: int = 0
    hub_position: int = 0
    known: set[bytes] = field(default_factory=set)
    """Producers that are the region's own."""
    paired_s: float = 0.0

    @property
    def place(self) -> Place:
        return self.topic.name, self.partition


class _Question(NamedTuple):
    """A question under way."""

    number: int
    asked: dict[int, int]
    heard_ms: dict[int, int]
    at_s: float


class RegionStream:
    """One connection, from Welcome to its end."""

    def __init__(
        self,
        region: str,
        topics: Mapping[str, Topic],
        pools: Mapping[str, int],
        rows: RegionRows,
        log: ShareLog,
        buried: Callable[[], Awaitable[Mapping[str, int]]],
        now_ms: Callable[[], int],
    ) -> None:
        """`pools` are ids by poolId; `buried` tells up to which height its blocks are known."""
        self._region = region
        self._topics = topics
        self._pools = pools
        self._rows = rows
        self._log = log
        self._buried = buried
        self._now_ms = now_ms
        self._readers: dict[str, LogReader] = {name: log.reader(name) for name in topics}
        self._hub_logs: dict[str, str] = {}
        self._partitions: dict[Place, _Partition] = {}
        self._heard_ms: dict[int, int] = {}
        self._brought = Brought()
        self._aside = 0
        self._dirty = asyncio.Event()
        self._question: _Question | None = None
        self._answer: pb.Ends | None = None
        self._answered = asyncio.Event()
        self._writing = asyncio.Lock()
        self._write: Callable[[pb.HubSays], Awaitable[None]]

    async def run(
        self,
        hello: pb.Hello,
        read: Callable[[], Awaitable[pb.RegionSays | None]],
        write: Callable[[pb.HubSays], Awaitable[None]],
    ) -> None:
        """Serve until the relay goes (StreamEnded) or something fails.

        Raises Superseded, StreamBroken, errors of the log and the database; several at
        once come in a group.
        """
        self._write = write
        try:
            await self._welcome(hello)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(read))
                group.create_task(self._store())
                group.create_task(self._keep())
                for each in self._partitions.values():
                    group.create_task(self._bring(each))
        finally:
            for reader in self._readers.values():
                await reader.close()

    async def _welcome(self, hello: pb.Hello) -> None:
        found: dict[Place, Found] = {}
        for each in hello.partitions:
            if each.topic not in self._topics or max(each.start, each.end) > INT63_MAX:
                raise StreamBroken(f"{each.topic}/{each.partition} was not expected")
            found[each.topic, each.partition] = Found(
                hello.log, each.start, each.end, each.unreadable[:300]
            )
        self._hub_logs = {name: await each.log_id() for name, each in self._readers.items()}
        begins = await self._rows.take_over(hello.log, found, self._hub_logs, self._now_ms())
        self._heard_ms = await self._rows.heard_ms()
        welcome = pb.Welcome(window_bytes=WINDOW_BYTES)
        for (topic, partition), begin in sorted(begins.items()):
            place = _Partition(
                self._topics[topic],
                partition,
                next_position=begin.position,
                hub_position=begin.hub_position,
            )
            self._partitions[topic, partition] = place
            welcome.places.add(topic=topic, partition=partition, position=begin.position)
            if begin.action:
                metrics.DECIDED.labels(self._region, begin.action).inc()
                logger.error(
                    "region %s: %s of %s/%s: %s",
                    self._region,
                    begin.action,
                    topic,
                    partition,
                    begin.reason,
                )
        await self._say(pb.HubSays(welcome=welcome))

    async def _say(self, message: pb.HubSays) -> None:
        async with self._writing:
            await self._write(message)

    async def _read(self, read: Callable[[], Awaitable[pb.RegionSays | None]]) -> None:
        while (message := await read()) is not None:
            kind = message.WhichOneof("what")
            if kind == "records":
                self._take(message.records)
            elif kind == "ends":
                self._answer = message.ends
                self._answered.set()
            else:
                raise StreamBroken(f"{kind} was not expected")
        raise StreamEnded("the relay has gone")

    def _take(self, records: pb.Records) -> None:
        found = self._partitions.get((records.topic, records.partition))
        if found is None:
            raise StreamBroken(f"{records.topic}/{records.partition} was not in Hello")
        columns = (records.position, records.next_position, records.appended_ms, records.payload)
        if len({len(column) for column in columns}) != 1 or not records.payload:
            raise StreamBroken("columns of records differ in length")
        size = sum(map(len, records.payload))
        if found.waiting_bytes + size > WINDOW_BYTES + 2 * RECORD_BYTES_MAX:
            raise StreamBroken("more came than the window allows")
        arrivals = []
        for position, next_position, appended_ms, payload in zip(*columns, strict=True):
            if not found.next_position <= position < next_position <= INT63_MAX:
                raise StreamBroken(f"position {position} after {found.next_position}")
            found.next_position = next_position
            arrivals.append(
                judge(
                    found.topic,
                    self._region,
                    position=position,
                    next_position=next_position,
                    payload=payload,
                    time_ms=appended_ms,
                )
            )
        if not found.topic.blocks:
            pool = self._pools[found.topic.pool]
            times = (each.time_ms for each in arrivals if not each.fault)
            self._heard_ms[pool] = max(self._heard_ms.get(pool, 0), *times, 0)
        found.waiting_bytes += size
        found.arrivals.put_nowait(arrivals)

    async def _bring(self, place: _Partition) -> None:
        """Append what comes of one partition, in order, however long the log is away."""
        writer: LogWriter | None = None
        trouble = Trouble(f"{place.topic.name}/{place.partition} of region {self._region}")
        try:
            while True:
                arrivals = await place.arrivals.get()
                arrivals = await self._without_strangers(place, arrivals)
                left = [each for each in arrivals if not each.fault]
                while left:
                    try:
                        if writer is None:
                            writer = await self._opened(place)
                        left = await self._append(place, writer, left)
                        trouble.worked()
                    except LogError as error:
                        delay_s = trouble.failed(self._told(place, error))
                        if writer is not None and not isinstance(error, WRITER_STAYS):
                            await writer.close()
                            writer = None
                        await asyncio.sleep(delay_s)
                self._durable(place, arrivals)
        finally:
            if writer is not None:
                await writer.close()

    async def _opened(self, place: _Partition) -> LogWriter:
        """Open the writer; cancelled meanwhile, it is given back, or it would keep the lock."""
        opening = asyncio.ensure_future(self._log.writer(place.topic.name, place.partition))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])
            if opening.exception() is None:
                await opening.result().close()
            raise

    def _told(self, place: _Partition, error: LogError) -> Exception:
        """Say what to do when the hub's topic has fewer partitions than the region's."""
        if not isinstance(error, LogPartitionUnknown):
            return error
        return StreamBroken(
            f"the region's log has partition {place.partition}, the hub's has only "
            f"{error.partitions}: give the hub's topics at least as many; until then it waits"
        )

    async def _append(
        self, place: _Partition, writer: LogWriter, left: list[Arrival]
    ) -> list[Arrival]:
        """Append records; returns those from the first on that was not, so that order stays."""
        done = await asyncio.gather(
            *(writer.append(each.payload) for each in left), return_exceptions=True
        )
        for index, result in enumerate(done):
            if isinstance(result, BaseException):
                if not isinstance(result, LogError) or index == 0:
                    raise result
                return left[index:]
            place.hub_position = max(place.hub_position, result)
        if 0 in done:
            # Brokers confirmed a repetition without saying where the first copy lies.
            end = await self._readers[place.topic.name].end(place.partition)
            place.hub_position = max(place.hub_position, end)
        return []

    async def _without_strangers(self, place: _Partition, arrivals: list[Arrival]) -> list[Arrival]:
        """Set aside what is signed as a producer of another region."""
        unknown = {each.producer for each in arrivals if not each.fault} - place.known
        if not unknown:
            return arrivals
        strangers = await self._rows.strangers(unknown)
        place.known |= unknown - strangers.keys()
        return [
            each
            if each.producer not in strangers
            else each._replace(fault=f"producer: it has written in {strangers[each.producer]}")
            for each in arrivals
        ]

    def _durable(self, place: _Partition, arrivals: list[Arrival]) -> None:
        brought, topic = self._brought, place.topic
        before = brought.progress.get(place.place)
        good = [each for each in arrivals if not each.fault]
        height = max((each.height for each in good), default=0)
        brought.progress[place.place] = Progress(
            arrivals[-1].next_position,
            place.hub_position,
            max(height, before.height if before else 0),
        )
        for each in good:
            if not topic.blocks:
                _, newest_ms = brought.producers.get(each.producer, (0, 0))
                newest_ms = max(newest_ms, each.time_ms)
                brought.producers[each.producer] = (self._pools[topic.pool], newest_ms)
        aside = [(topic, place.partition, each) for each in arrivals if each.fault]
        brought.aside += aside
        place.waiting_bytes -= sum(len(each.payload) for each in arrivals)
        metrics.RECORDS.labels(self._region, topic.pool).inc(len(good))
        metrics.BYTES.labels(self._region, topic.pool).inc(sum(len(each.payload) for each in good))
        metrics.SET_ASIDE.labels(self._region, topic.pool).inc(len(aside))
        for _, partition, each in aside:
            self._aside += 1
            if self._aside <= ASIDE_TOLD_MAX:
                where = f"{topic.name}/{partition} of region {self._region} at {each.position}"
                logger.error("record of %s is set aside: %s", where, each.fault)
        self._dirty.set()

    async def _store(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            brought, self._brought = self._brought, Brought()
            for place, progress in brought.progress.items():
                partition = self._partitions[place]
                progress.pair = partition.topic.blocks or loop.time() - partition.paired_s > PAIR_S
                if progress.pair:
                    partition.paired_s = loop.time()
            await self._rows.store(brought, self._now_ms())
            stored = pb.Stored()
            for (topic, name), progress in brought.progress.items():
                stored.places.add(topic=topic, partition=name, position=progress.position)
            await self._say(pb.HubSays(stored=stored))
            await asyncio.sleep(GROUP_S)

    async def _keep(self) -> None:
        """Ask for ends, store answers, let go of what is not needed; notice another owner."""
        loop = asyncio.get_running_loop()
        asked_s = released_s = -RELEASE_S
        last: dict[int, int] = {}
        number = 0
        while True:
            if self._answered.is_set():
                self._answered.clear()
                await self._tell()
            asked = await self._rows.asked()
            if self._question is not None:
                if loop.time() - self._question.at_s > ANSWER_S:
                    raise StreamEnded(f"the relay has not answered for {ANSWER_S:g} s")
            elif asked != last or loop.time() - asked_s >= ASK_S:
                number, last, asked_s = number + 1, asked, loop.time()
                self._question = _Question(number, asked, dict(self._heard_ms), asked_s)
                await self._say(pb.HubSays(ask=pb.Ask(question=number)))
            if loop.time() - released_s >= RELEASE_S:
                released_s = loop.time()
                await self._release()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._answered.wait()
            except TimeoutError:
                pass

    async def _tell(self) -> None:
        question, answer = self._question, self._answer
        if question is None or answer is None or answer.question != question.number:
            return
        self._question = None
        ends = {
            (each.topic, each.partition): min(each.end, INT63_MAX)
            for each in answer.ends
            if (each.topic, each.partition) in self._partitions
        }
        heard_ms = {pool: question.heard_ms.get(pool, 0) for pool in self._pools.values()}
        await self._rows.tell(Told(question.asked, heard_ms, ends), self._now_ms())
        for pool in self._pools:
            topics = {name for name, topic in self._topics.items() if topic.pool == pool}
            mine = [each for each in answer.ends if each.topic in topics]
            metrics.WAITING_RECORDS.labels(self._region, pool).set(
                sum(each.waiting_records for each in mine)
            )
            metrics.WAITING_BYTES.labels(self._region, pool).set(
                sum(each.waiting_bytes for each in mine)
            )
            metrics.TOLD.labels(self._region, pool).set(self._now_ms() / 1000)

    async def _release(self) -> None:
        for name, reader in self._readers.items():
            try:
                log = await reader.log_id()
            except LogError as error:
                logger.warning("%s: %s", name, error)
                return
            if log != self._hub_logs[name]:
                raise StreamEnded(f"{log} stands where {self._hub_logs[name]} stood")
        released = await self._rows.release(list(self._topics.values()), await self._buried())
        if released:
            release = pb.Release()
            for (topic, partition), position in sorted(released.items()):
                release.places.add(topic=topic, partition=partition, position=position)
            await self._say(pb.HubSays(release=release))
