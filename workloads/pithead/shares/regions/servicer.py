"""The Regions contract: who may push what, and one connection at a time for each region and pool.

Over TLS a relay is the region that its certificate names; without, it is who it
says. What it pushes is looked at by `stream`.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.config import IntakeSettings, region_name
from pithead.contracts import relay_pb2 as pb
from pithead.contracts import relay_pb2_grpc
from pithead.log.errors import LogError
from pithead.log.share_log import ShareLog
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.pools import Pool
from pithead.shares.regions import metrics
from pithead.shares.regions.arrivals import topics_of
from pithead.shares.regions.rows import RegionRows, Superseded
from pithead.shares.regions.stream import RegionStream, StreamBroken, StreamEnded
from pithead.store import reading

logger = logging.getLogger(__name__)

FORMAT = 1

HELLO_S = 10.0

LEAVE_S = 15.0
"""In which a connection that was taken over has given its writers back."""

NAMES = "x509_subject_alternative_name"
GONE = (grpc.aio.BaseError, asyncio.InvalidStateError)
"""What the library raises once the other end of a call is no more."""

ALL_ENDINGS = (Superseded, StreamBroken, StreamEnded, LogError, DBAPIError)

Context = grpc.aio.ServicerContext[pb.RegionSays, pb.HubSays]


class Refused(Exception):
    """Raised for a relay that may not push as it wants to."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class _Active:
    """A connection that is served."""

    task: "asyncio.Task[None]"
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class RegionsServicer(relay_pb2_grpc.RegionsServicer):
    """Takes in what relays push; `log` is the hub's own."""

    def __init__(
        self,
        engine: AsyncEngine,
        log: ShareLog,
        pools: Sequence[Pool],
        settings: IntakeSettings,
        now_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._log = log
        self._pools = {pool.name: pool for pool in pools}
        self._settings = settings
        self._now_ms = now_ms
        self._active: dict[tuple[str, str], _Active] = {}
        self._closing = False

    async def close(self) -> None:
        """End all connections and take no more; call it before the server is stopped."""
        self._closing = True
        await _end({id(each): each for each in self._active.values()}.values())

    # Reads and writes side by side, which the library offers to plain coroutines alone.
    async def Relay(  # type: ignore[override]  # noqa: N802 - the contract's name
        self,
        request_iterator: object,
        context: Context,
    ) -> None:
        """Serve one relay until it goes, is taken over, or log or database fail."""
        try:
            hello = await self._hello(context)
        except Refused as refusal:
            logger.warning("%s: a relay is refused: %s", context.peer(), refusal)
            await context.abort(refusal.code, str(refusal))
        code, reason = await self._served(context, hello)
        logger.warning("region %s: its relay is left: %s", hello.region, reason)
        await context.abort(code, reason)

    async def _hello(self, context: Context) -> pb.Hello:
        """The first message, checked."""
        try:
            async with asyncio.timeout(HELLO_S):
                message: object = await context.read()
        except TimeoutError as error:
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "nothing was said") from error
        if not isinstance(message, pb.RegionSays) or message.WhichOneof("what") != "hello":
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the first message is Hello")
        hello = message.hello
        if self._closing:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "the hub is about to end")
        if hello.format != FORMAT:
            reason = f"format {hello.format}, the hub speaks {FORMAT}: upgrade the hub first"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, reason)
        self._check_identity(context, hello.region)
        self._check_pools(hello)
        await self._check_logs(hello)
        return hello

    def _check_identity(self, context: Context, region: str) -> None:
        if self._settings.serve.tls is None:
            return
        names = {bytes(name).decode() for name in context.auth_context().get(NAMES, ())}
        if region_name(region) not in names:
            reason = f"the certificate is of {', '.join(sorted(names))}, not of region {region}"
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, reason)

    def _check_pools(self, hello: pb.Hello) -> None:
        allowed: set[str] = set()
        for each in self._settings.regions:
            if each.region == hello.region:
                allowed |= set(each.pools)
        if not hello.pools or not set(hello.pools) <= allowed & self._pools.keys():
            reason = (
                f"region {hello.region} may push {', '.join(sorted(allowed)) or 'nothing'}, "
                f"its relay wants {', '.join(sorted(hello.pools)) or 'nothing'}"
            )
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, reason)

    async def _check_logs(self, hello: pb.Hello) -> None:
        reader = self._log.reader(shares_topic(hello.pools[0]))
        try:
            exclusive = reader.exclusive
        finally:
            await reader.close()
        if exclusive and not hello.exclusive:
            reason = (
                "partitions of the hub's log have one writer at a time, those of the region's have "
                "many: the hub needs Kafka too"
            )
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, reason)

    async def _served(self, context: Context, hello: pb.Hello) -> tuple[grpc.StatusCode, str]:
        """Serve, and say why it ended."""
        task = asyncio.current_task()
        assert task is not None
        mine = _Active(task)
        names = sorted(set(hello.pools))
        places = [(hello.region, name) for name in names]
        gauges = [metrics.CONNECTED.labels(*place) for place in places]
        try:
            await self._take_over(places, mine)
            logger.info("region %s: its relay has connected for %s", hello.region, ", ".join(names))
            for gauge in gauges:
                gauge.set(1)
            await self._stream(hello.region, names).run(
                hello, lambda: _read(context), lambda message: _write(context, message)
            )
        except ALL_ENDINGS as error:
            return _ending(error)
        except BaseExceptionGroup as group:
            endings, others = group.split(ALL_ENDINGS)
            if others is not None or endings is None:
                raise
            return _ending(_first(endings))
        finally:
            for place, gauge in zip(places, gauges, strict=True):
                if self._active.get(place) is mine:
                    del self._active[place]
                    gauge.set(0)
            mine.gone.set()
        return grpc.StatusCode.UNAVAILABLE, "the connection has ended"

    async def _take_over(self, places: Sequence[tuple[str, str]], mine: _Active) -> None:
        """End what other connections of this process do for these, and wait until it is over."""
        earlier = {id(each): each for place in places if (each := self._active.get(place))}
        for place in places:
            self._active[place] = mine
        await _end(earlier.values())

    def _stream(self, region: str, names: list[str]) -> RegionStream:
        ids = {name: self._pools[name].id for name in names}
        rows = RegionRows(self._engine, region, list(ids.values()), uuid.uuid4().bytes)
        return RegionStream(
            region, topics_of(names), ids, rows, self._log, self._buried, self._now_ms
        )

    async def _buried(self) -> Mapping[str, int]:
        """Up to which height a pool's blocks are known here.

        They are sealed and can be spent: `rewards` reads the hub's log all the time, and
        the hub's log keeps them still.
        """
        table = schema.pools.c
        async with reading(self._engine) as connection:
            rows = await connection.execute(select(table.pool, table.sealed_height))
            return {
                row.pool: (row.sealed_height or 0) - self._pools[row.pool].params.coinbase_maturity
                for row in rows
                if row.pool in self._pools
            }


async def _end(connections: Collection[_Active]) -> None:
    """Cancel connections, and wait until they have given their writers back."""
    for each in connections:
        each.task.cancel()
    for each in connections:
        try:
            async with asyncio.timeout(LEAVE_S):
                await each.gone.wait()
        except TimeoutError:
            # The database's fence keeps it from storing anything.
            logger.error("a connection that was taken over does not end")


async def _read(context: Context) -> pb.RegionSays | None:
    """The next message; None when the relay has gone."""
    try:
        message: object = await context.read()
    except GONE as error:
        raise StreamEnded("the relay has gone") from error
    return message if isinstance(message, pb.RegionSays) else None


async def _write(context: Context, message: pb.HubSays) -> None:
    try:
        await context.write(message)
    except GONE as error:
        raise StreamEnded("the relay has gone") from error


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _ending(error: BaseException) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, Superseded):
        return grpc.StatusCode.ABORTED, str(error)
    if isinstance(error, StreamBroken):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, DBAPIError):
        return grpc.StatusCode.UNAVAILABLE, f"the hub's database: {str(error.orig)[:256]}"
    return grpc.StatusCode.UNAVAILABLE, str(error)[:512]
