"""A region with a log of its own beside a hub, both of chunk files, and the wire between them.

The relay's session and the hub's stream are the real ones; the wire is two short
queues that a test cuts. Logs carry times as a broker would, and names that a test
may change. Seconds of patience are made fractions by `hurried`.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.contracts import relay_pb2 as pb
from pithead.log.errors import LogError
from pithead.log.file_log import FileLog
from pithead.log.reader import FileReader
from pithead.log.share_log import LogRecord, LogWriter
from pithead.log.topics import blocks_topic, shares_topic
from pithead.shares.pools import Pool
from pithead.shares.regions import stream
from pithead.shares.regions.arrivals import topics_of
from pithead.shares.regions.rows import RegionRows, Superseded
from pithead.shares.relay import session
from pithead.shares.relay.session import Region, Session, SessionOver, region_of
from pithead.shares.sealer import Sealer
from tests.support.accounting import Bench, Killed
from tests.support.shares import POOL

LIMIT_S = 20.0


def hurried(patch: pytest.MonkeyPatch) -> None:
    """Make what a second's patience is a few milliseconds."""
    patch.setattr(stream, "GROUP_S", 0.001)
    patch.setattr(stream, "LOOK_S", 0.002)
    patch.setattr(stream, "ASK_S", 0.005)
    patch.setattr(stream, "RELEASE_S", 0.01)
    patch.setattr(stream, "PAIR_S", 0.0)
    patch.setattr(session, "IDLE_S", 0.001)
    patch.setattr(session, "PARTITIONS_S", 0.005)
    patch.setattr(session, "RELEASE_PAUSE_S", 0.005)


class TimedReader(FileReader):
    """A reader whose records carry the times of its log."""

    exclusive = False

    def __init__(self, directory: Path, log: "TimedLog") -> None:
        super().__init__(directory)
        self._log = log

    async def log_id(self) -> str:
        return self._log.name

    async def read(self, partition: str, position: int, bytes_max: int) -> list[LogRecord]:
        found = await super().read(partition, position, bytes_max)
        times, now_ms = self._log.times_ms, self._log.now_ms
        return [
            record._replace(
                appended_ms=times.get((self._directory, partition, record.position), now_ms)
            )
            for record in found
        ]


class TimedLog(FileLog):
    """A log of chunk files with a clock and a name; one process writes each partition."""

    def __init__(self, root: Path, name: str, *, chunk_bytes: int = 1024) -> None:
        super().__init__(root, chunk_bytes=chunk_bytes)
        self.root = root
        self.name = name
        self.now_ms = 0
        self.times_ms: dict[tuple[Path, str, int], int] = {}

    def reader(self, topic: str) -> TimedReader:
        return TimedReader(self.root / topic, self)

    async def put(self, topic: str, partition: str, payload: bytes) -> None:
        """Append by the clock."""
        reader = self.reader(topic)
        writer: LogWriter = await self.writer(topic, partition)
        try:
            position = await reader.end(partition)
            self.times_ms[self.root / topic, partition, position] = self.now_ms
            await writer.append(payload)
        finally:
            await writer.close()
            await reader.close()


class _Call:
    """The relay's end of a connection."""

    def __init__(self) -> None:
        self.up: asyncio.Queue[bytes | None] = asyncio.Queue(2)
        self.down: asyncio.Queue[bytes | None] = asyncio.Queue(2)
        self.cut = False

    async def write(self, message: pb.RegionSays) -> None:
        if self.cut:
            raise SessionOver("the wire is cut")
        await self.up.put(message.SerializeToString())

    async def read(self) -> pb.HubSays | object:
        data = await self.down.get()
        return object() if data is None else pb.HubSays.FromString(data)

    def cancel(self) -> None:
        self.cut = True


class RegionBench(Bench):
    """A hub with its accounting, and one region that is relayed to it."""

    def __init__(
        self, directory: Path, engine: AsyncEngine, pool: Pool, region: str = "eu"
    ) -> None:
        self.hub = TimedLog(directory / "hub", "hub", chunk_bytes=1 << 20)
        self.far = TimedLog(directory / "region", "far")
        self.name = region
        self.now_ms = 1_000_000
        self.region: Region = region_of(region, [pool.name], self.far)
        self._tasks: list[asyncio.Task[None]] = []
        super().__init__(directory, engine, pool, self.hub)

    def restart(self) -> None:
        super().restart()
        self.sealer = Sealer(
            self.engine, self.reader, self.pool, lambda: self.now_ms, relayed=[self.name]
        )

    async def __aexit__(self, *exception: Any) -> None:
        await self.cut()
        for reader in self.region.readers.values():
            await reader.close()
        await super().__aexit__(*exception)

    async def mine(self, partition: str, data: bytes) -> None:
        """Write a batch into the region's log."""
        await self.far.put(shares_topic(POOL), partition, data)

    async def solve(self, partition: str, data: bytes) -> None:
        """Write a block into the region's log."""
        await self.far.put(blocks_topic(POOL), partition, data)

    async def connect(self) -> None:
        """Let the relay dial, once, and both ends go on until it is cut or fails."""
        await self.cut()
        # What was stored is known anew with the hub's welcome.
        self.region.backlog.stored.clear()
        call = _Call()
        self._tasks = [
            asyncio.create_task(self._relay(call)),
            asyncio.create_task(self._intake(call)),
        ]

    async def cut(self) -> None:
        """End the connection at this moment, as a kill of both ends would."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    @property
    def connected(self) -> bool:
        """Whether both ends still go on."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def restart_relay(self) -> None:
        """A new relay process: it remembers nothing."""
        await self.cut()
        self.region = region_of(self.name, [self.pool.name], self.far)

    async def until_relayed(self) -> None:
        """Dial as often as it takes until all of the region's log is at the hub."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                if not self.connected:
                    await self.connect()
                await asyncio.sleep(0.002)
                backlog = self.region.backlog
                behind = [
                    (topic, partition)
                    for topic, reader in self.region.readers.items()
                    for partition in await reader.partitions()
                    if backlog.stored.get((topic, partition), -1) < await reader.end(partition)
                ]
                if not behind and self.connected:
                    return

    async def until(self, condition: Any) -> None:
        """Wait for what `condition()`, awaited, says."""
        async with asyncio.timeout(LIMIT_S):
            while not await condition():
                await asyncio.sleep(0.002)

    async def _relay(self, call: _Call) -> None:
        class Stub:
            def Relay(self) -> _Call:  # noqa: N802 - the contract's name
                return call

        try:
            await Session(self.region, Stub(), lambda: None).run()  # type: ignore[arg-type]
        except* (SessionOver, LogError):
            pass
        finally:
            call.cut = True
            with contextlib.suppress(asyncio.QueueFull):
                call.up.put_nowait(None)

    async def _intake(self, call: _Call) -> None:
        async def read() -> pb.RegionSays | None:
            data = await call.up.get()
            return None if data is None else pb.RegionSays.FromString(data)

        async def write(message: pb.HubSays) -> None:
            await call.down.put(message.SerializeToString())

        async def buried() -> Mapping[str, int]:
            height = await self.sealed_height() or 0
            return {self.pool.name: height - self.pool.params.coinbase_maturity}

        rows = RegionRows(self.engine, self.name, [self.pool.id], uuid.uuid4().bytes)
        hub = stream.RegionStream(
            self.name,
            topics_of([self.pool.name]),
            {self.pool.name: self.pool.id},
            rows,
            self.hub,
            buried,
            lambda: self.now_ms,
        )
        try:
            hello = await read()
            if hello is not None:
                await hub.run(hello.hello, read, write)
        except* (stream.StreamEnded, stream.StreamBroken, Superseded, DBAPIError, LogError, Killed):
            pass
        finally:
            call.cut = True
            with contextlib.suppress(asyncio.QueueFull):
                call.down.put_nowait(None)
