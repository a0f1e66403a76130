"""The processor's parts over a real log and database, without its process."""

from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, event, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.log.file_log import FileLog
from pithead.log.share_log import LogWriter
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.consume import Consumer
from pithead.shares.pools import Pool
from pithead.shares.sealer import Sealer
from pithead.shares.states import SegmentState
from pithead.store import reading, transaction
from tests.support.shared_log import SharedLog
from tests.support.shares import MINUTE_MS, POOL, make_store, producer_id

NOW_MS = 10 * MINUTE_MS


class Killed(Exception):
    """Stands for SIGKILL between the last statement and the commit."""


class Bench:
    """A log, a database, and the processor's parts, which can be started anew."""

    def __init__(
        self, directory: Path, engine: AsyncEngine, pool: Pool, log: FileLog | None = None
    ) -> None:
        self.engine = engine
        self.pool = pool
        self.log = log or FileLog(directory / "log")
        self.reader = self.log.reader(shares_topic(POOL))
        self.writers: dict[str, LogWriter] = {}
        self.restart()

    @classmethod
    async def make(cls, directory: Path) -> Self:
        return cls(directory, *await make_store(directory))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for writer in self.writers.values():
            await writer.close()
        await self.reader.close()
        await self.engine.dispose()

    def restart(self) -> None:
        self.consumer = Consumer(self.engine, self.reader, self.pool, lambda: NOW_MS)
        self.sealer = Sealer(self.engine, self.reader, self.pool, lambda: NOW_MS)

    async def write(self, partition: str, data: bytes) -> None:
        if partition not in self.writers:
            self.writers[partition] = await self.log.writer(shares_topic(POOL), partition)
        await self.writers[partition].append(data)

    async def poll_but_die(self) -> None:
        """Poll, and die at the commit of the transaction that books."""

        def die(_connection: Connection) -> None:
            raise Killed

        event.listen(self.engine.sync_engine, "commit", die)
        try:
            await self.consumer.poll()
        except Killed:
            self.restart()
        finally:
            event.remove(self.engine.sync_engine, "commit", die)

    async def settle_segments(self) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(update(schema.segments).values(state=SegmentState.SETTLED))

    async def sealed_height(self) -> int | None:
        async with reading(self.engine) as connection:
            return await connection.scalar(select(schema.pools.c.sealed_height))

    async def cells(self) -> dict[tuple[object, ...], tuple[int, int]]:
        """Cells keyed by what people know: login, revision, parent, minute, height, seal."""
        cells, accounts = schema.cells.c, schema.accounts.c
        query = select(
            accounts.login,
            schema.revisions.c.revision,
            schema.segments.c.parent,
            cells.minute,
            cells.height,
            cells.seal,
            cells.weight,
            cells.shares,
        ).where(
            cells.account == accounts.id,
            cells.segment == schema.segments.c.id,
            cells.revision == schema.revisions.c.id,
        )
        async with reading(self.engine) as connection:
            return {tuple(row[:6]): (row[6], row[7]) for row in await connection.execute(query)}

    async def producer(self, number: int) -> tuple[str, int, int]:
        """(state, mark, promise)."""
        table = schema.producers
        async with reading(self.engine) as connection:
            query = select(table).where(table.c.producer == producer_id(number))
            row = (await connection.execute(query)).one()
            return row.state, row.mark, row.promise

    async def decisions(self) -> list[tuple[str, str]]:
        async with reading(self.engine) as connection:
            rows = await connection.execute(select(schema.decisions).order_by("id"))
            return [(row.action, row.subject) for row in rows]


class SharedBench(Bench):
    """The same over a log whose partitions many producers share."""

    def __init__(self, directory: Path, engine: AsyncEngine, pool: Pool) -> None:
        self.shared = SharedLog(directory / "log")
        super().__init__(directory, engine, pool, self.shared)

    async def write(self, partition: str, data: bytes) -> None:
        await super().write(partition, data)
        self.shared.appended(partition, await self.reader.end(partition))
