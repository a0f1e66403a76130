"""The contract over a real columnar store and SQL database, both holding made-up shares."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.contracts import analytics_pb2_grpc
from pithead.contracts.accounting_pb2 import NewestReply
from pithead.rpc import channel, serve
from pithead.shares.analytics.ddl import VERSIONS
from pithead.shares.analytics.queries.luck import FoundBlock
from pithead.shares.analytics.queries.names import Names
from pithead.shares.analytics.queries.servicer import AnalyticsServicer
from pithead.shares.books import AccountBook
from pithead.shares.pools import Pool
from pithead.store import transaction
from pithead.store.columnar import Columnar
from pithead.store.columnar.migrate import migrate_columnar
from tests.support.charts import Event, events_of, load
from tests.support.columnar import COLUMNAR
from tests.support.doors import peer, served
from tests.support.shares import BITS, POOL, address, make_store

if TYPE_CHECKING:
    from pithead.contracts.analytics_pb2_grpc import AnalyticsAsyncStub

NOW_S = 1_800_000_000 + 7 * 3600 + 23 * 60 + 17
DAY_S = 86_400


class Chain:
    """What rewards and accounting would tell of blocks; a test sets it."""

    def __init__(self) -> None:
        self.found: list[FoundBlock] = []
        self.bits = BITS

    async def blocks(self, pool: str, newest: int) -> tuple[list[FoundBlock], bool]:
        """As Neighbours."""
        assert pool == POOL
        found = sorted(self.found, key=lambda block: -block.height)[:newest]
        return found, len(found) < newest

    async def newest(self, pool: str) -> NewestReply:
        """As Neighbours."""
        return NewestReply(any=True, height=1, parent=bytes(32), bits=self.bits)


@dataclass
class World:
    """Everything a test looks at."""

    door: Columnar
    engine: AsyncEngine
    pool: Pool
    accounts: dict[int, int]
    """Ids of accounts by the number of their address."""
    chain: Chain
    stub: "AnalyticsAsyncStub"
    events: list[Event]
    now_s: int = NOW_S

    async def load(self, events: list[Event]) -> None:
        """Add events to the store."""
        await load(self.door, self.pool.name, self.pool.id, events)
        self.events += events

    def some(self, count: int = 3000, seed: int = 1) -> list[Event]:
        """Events of three accounts over 40 days."""
        return events_of(
            seed,
            count,
            start_s=self.now_s - 40 * DAY_S,
            end_s=self.now_s,
            accounts=list(self.accounts.values()),
        )


@asynccontextmanager
async def open_world(directory: Path) -> AsyncIterator[World]:
    """Tables without rows, three accounts, and the contract on a socket."""
    engine, pool = await make_store(directory)
    door = await COLUMNAR.door(directory)
    chain = Chain()
    world: World
    servicer = AnalyticsServicer(
        store=door,
        names=Names(engine, [pool]),
        neighbours=chain,  # type: ignore[arg-type]  # a block list of the test's own
        now_ms=lambda: world.now_s * 1000,
    )
    try:
        await migrate_columnar(door, VERSIONS)
        async with transaction(engine) as connection:
            book = AccountBook(pool.coin, pool.params)
            numbers = (1, 2, 3)
            ids = await book.resolve(connection, [address(one) for one in numbers], create=True)
        opened = channel(peer(directory / "a.sock"))
        world = World(
            door=door,
            engine=engine,
            pool=pool,
            accounts={one: ids[address(one)] for one in numbers},
            chain=chain,
            stub=analytics_pb2_grpc.AnalyticsStub(opened),
            events=[],
        )
        async with serve(
            served(directory / "a.sock"),
            lambda server: analytics_pb2_grpc.add_AnalyticsServicer_to_server(servicer, server),
        ):
            yield world
        await opened.close()
    finally:
        await servicer.close()
        await door.close()
        await engine.dispose()


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Status and sentence of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""
