"""The relay as a process: dials the hub for ever, and watches what waits meanwhile."""

import asyncio
import logging

import grpc
import grpc.aio

from pithead.config import RelaySettings, Unusable
from pithead.config.share_log import open_log
from pithead.contracts import relay_pb2_grpc
from pithead.log.errors import LogError
from pithead.rpc import channel
from pithead.shares.pace import Trouble, pause, until_stopped
from pithead.shares.relay import metrics
from pithead.shares.relay.session import Region, Session, SessionOver, region_of
from pithead.telemetry.health import Standing, health_server

logger = logging.getLogger(__name__)

WATCH_S = 2.0
HUB = "the hub"

REFUSALS = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)
"""Answers that mean wrong settings, certificates or versions."""

ENDINGS = (SessionOver, grpc.aio.AioRpcError, LogError, OSError, TimeoutError)


class HubAway(Exception):
    """Stands for a hub that does not answer, or can not take anything now."""


class HubRefuses(Exception):
    """Stands for a hub that does not want what this relay has; a person must look."""


async def run(settings: RelaySettings, stop: asyncio.Event) -> None:
    """Push until `stop` is set. Raises Unusable when the settings can not work."""
    if not settings.pools:
        raise Unusable("a relay needs at least one pool")
    region = region_of(settings.region, settings.pools, open_log(settings.log))
    standing = Standing()
    for pool in settings.pools:
        metrics.BOUND_BYTES.labels(pool).set(settings.bound_bytes)
    try:
        async with (
            health_server(settings.health, standing.ready),
            channel(settings.hub) as opened,
            asyncio.TaskGroup() as group,
        ):
            standing.started()
            # Nobody asks a relay for anything: ready means that its region is not cut off.
            standing.say(HUB, "not reached yet")
            stub = relay_pb2_grpc.RegionsStub(opened)
            group.create_task(_watch(region, settings.bound_bytes, standing, stop))
            group.create_task(_dial(region, stub, settings.hub.address, standing, stop))
    finally:
        for reader in region.readers.values():
            await reader.close()


async def _dial(
    region: Region,
    stub: "relay_pb2_grpc.RegionsAsyncStub",
    address: str,
    standing: Standing,
    stop: asyncio.Event,
) -> None:
    trouble = Trouble(f"the hub at {address}")

    def connected() -> None:
        trouble.worked()
        standing.say(HUB, "")
        metrics.CONNECTED.set(1)
        logger.info("region %s: the hub at %s takes what it has", region.name, address)

    while not stop.is_set():
        try:
            await until_stopped(stop, Session(region, stub, connected).run())
            continue
        except ENDINGS as error:
            ending: Exception = error
        except BaseExceptionGroup as group:
            endings, others = group.split(ENDINGS)
            if others is not None or endings is None:
                raise
            ending = _first(endings)
        finally:
            metrics.CONNECTED.set(0)
        said = _said(ending)
        standing.say(HUB, str(said) or type(said).__name__)
        await pause(stop, trouble.failed(said))


async def _watch(region: Region, bound_bytes: int, standing: Standing, stop: asyncio.Event) -> None:
    """Measure what waits, whether or not the hub is there; tell at half of the bound and at it."""
    loop = asyncio.get_running_loop()
    trouble = Trouble("the region's log, measured")
    told: dict[str, int] = {}
    while not stop.is_set():
        standing.turned("what waits")
        try:
            await _measure(region, loop.time())
            trouble.worked()
        except LogError as error:
            trouble.failed(error)
        for pool in set(region.pool_of.values()):
            size = _report(region, pool, loop.time())
            halves = _halves(size, bound_bytes)
            if halves > told.get(pool, 0):
                logger.error(
                    "%s: %d bytes wait for the hub, %s of what the region's log may hold",
                    pool,
                    size,
                    "all" if halves == 2 else "half",
                )
            told[pool] = halves
        await pause(stop, WATCH_S)


def _halves(size: int, bound_bytes: int) -> int:
    """How many halves of a bound are full: 0, 1 or 2; 0 where none is known."""
    return min(2, size * 2 // bound_bytes) if bound_bytes else 0


async def _measure(region: Region, now_s: float) -> None:
    for topic, reader in region.readers.items():
        for partition in await reader.partitions():
            region.backlog.ends[topic, partition] = await reader.end(partition)
            region.backlog.stored.setdefault((topic, partition), await reader.start(partition))
        region.backlog.measured(topic, now_s)


def _report(region: Region, pool: str, now_s: float) -> int:
    """Set a pool's gauges; returns the bytes that wait."""
    topics = [topic for topic, of in region.pool_of.items() if of == pool]
    waiting = [region.backlog.waiting(place) for place in region.backlog.ends if place[0] in topics]
    size = sum(each[1] for each in waiting)
    metrics.WAITING_RECORDS.labels(pool).set(sum(each[0] for each in waiting))
    metrics.WAITING_BYTES.labels(pool).set(size)
    metrics.BEHIND_S.labels(pool).set(
        max(region.backlog.behind_s(topic, now_s) for topic in topics)
    )
    return size


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error


def _said(error: Exception) -> Exception:
    """The hub's own sentence instead of the library's page."""
    if isinstance(error, grpc.aio.AioRpcError):
        sentence = f"{error.code().name}: {error.details() or 'no answer'}"
        return HubRefuses(sentence) if error.code() in REFUSALS else HubAway(sentence)
    return error
