"""Who may push, over real connections: certificates, pools, logs, and one relay at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import grpc
import grpc.aio
import pytest

from pithead.config import (
    HealthSettings,
    IntakeSettings,
    LogSettings,
    PeerSettings,
    RelayedRegion,
    RelaySettings,
    ServeSettings,
    region_name,
)
from pithead.contracts import relay_pb2 as pb
from pithead.contracts import relay_pb2_grpc
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.rpc import channel, serve
from pithead.shares.pools import Pool
from pithead.shares.regions.servicer import RegionsServicer
from pithead.shares.relay.service import run
from tests.support.accounting import Bench
from tests.support.certificates import Authority
from tests.support.doors import peer_of, served
from tests.support.litecoind import free_port
from tests.support.shares import POOL, Share, make_batch, payload, producer_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

pytestmark = pytest.mark.gate

REGIONS = (RelayedRegion(region="eu", pools=(POOL,)), RelayedRegion(region="us", pools=()))


@asynccontextmanager
async def intake(
    engine: "AsyncEngine", pool: Pool, log: FileLog, settings: ServeSettings
) -> AsyncIterator[None]:
    servicer = RegionsServicer(
        engine, log, [pool], IntakeSettings(serve=settings, regions=REGIONS), lambda: 1
    )

    def register(server: grpc.aio.Server) -> None:
        relay_pb2_grpc.add_RegionsServicer_to_server(servicer, server)

    async with serve(settings, register):
        try:
            yield
        finally:
            await servicer.close()


async def answer(peer: PeerSettings, hello: pb.Hello | None) -> tuple[grpc.StatusCode, str]:
    """What the hub says to a first message: its refusal, or OK and the kind of its answer."""
    async with channel(peer) as opened, asyncio.timeout(15):
        call = relay_pb2_grpc.RegionsStub(opened).Relay()
        message = pb.RegionSays(hello=hello) if hello else pb.RegionSays(ends=pb.Ends())
        try:
            await call.write(message)
            said: object = await call.read()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        finally:
            call.cancel()
        assert isinstance(said, pb.HubSays)
        return grpc.StatusCode.OK, said.WhichOneof("what") or ""


def hello(**changes: object) -> pb.Hello:
    values: dict[str, object] = {
        "format": 1,
        "region": "eu",
        "log": "file",
        "exclusive": True,
        "pools": [POOL],
    }
    return pb.Hello(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "code", "text"),
    [
        pytest.param(hello(), grpc.StatusCode.OK, "welcome", id="good"),
        pytest.param(None, grpc.StatusCode.INVALID_ARGUMENT, "Hello", id="no-hello"),
        pytest.param(
            hello(format=2), grpc.StatusCode.FAILED_PRECONDITION, "upgrade the hub", id="newer"
        ),
        pytest.param(
            hello(region="us"), grpc.StatusCode.PERMISSION_DENIED, "may push nothing", id="no-pool"
        ),
        pytest.param(
            hello(pools=[POOL, "x"]), grpc.StatusCode.PERMISSION_DENIED, "wants", id="more-pools"
        ),
        pytest.param(
            hello(region="asia"), grpc.StatusCode.PERMISSION_DENIED, "asia", id="unknown-region"
        ),
        pytest.param(
            hello(exclusive=False),
            grpc.StatusCode.FAILED_PRECONDITION,
            "the hub needs Kafka",
            id="logs-that-do-not-fit",
        ),
        pytest.param(
            hello(partitions=[pb.Extent(topic="events", partition="0")]),
            grpc.StatusCode.INVALID_ARGUMENT,
            "not expected",
            id="odd-topic",
        ),
    ],
)
async def test_only_what_a_region_is_set_up_for_is_taken(
    tmp_path: Path, first: pb.Hello | None, code: grpc.StatusCode, text: str
) -> None:
    door = served(tmp_path / "s")
    async with (
        await Bench.make(tmp_path) as bench,
        intake(bench.engine, bench.pool, bench.log, door),
    ):
        found = await answer(peer_of(door), first)
    assert found[0] is code
    assert text in found[1]


async def test_a_certificate_says_which_region_it_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "regions", "regions")
    hub = Authority(tmp_path / "hub", "hub")
    door = ServeSettings(
        address=f"127.0.0.1:{free_port()}", tls=hub.leaf("intake", "127.0.0.1", ca=authority.file)
    )

    def dialled(by: Authority, who: str, *names: str) -> PeerSettings:
        return PeerSettings(address=door.address, tls=by.leaf(who, *names, ca=hub.file))

    async with (
        await Bench.make(tmp_path) as bench,
        intake(bench.engine, bench.pool, bench.log, door),
    ):
        eu = dialled(authority, "eu", "relay", region_name("eu"))
        assert await answer(eu, hello()) == (grpc.StatusCode.OK, "welcome")
        us = dialled(authority, "us", region_name("us"))
        code, text = await answer(us, hello())
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert text == "the certificate is of us.regions.pithead, not of region eu"
        # A service of the hub is no region, and its authority is not asked here.
        other = dialled(hub, "payouts", "pithead-payouts", region_name("eu"))
        assert (await answer(other, hello()))[0] is grpc.StatusCode.UNAVAILABLE


@asynccontextmanager
async def relaying(settings: RelaySettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


async def readiness(port: int) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/readyz") as answer,
    ):
        return answer.status, await answer.text()


async def test_a_relay_is_ready_while_the_hub_takes_what_it_has(tmp_path: Path) -> None:
    door = served(tmp_path / "s")
    port = free_port()
    settings = RelaySettings(
        region="eu",
        pools=(POOL,),
        log=LogSettings(directory=tmp_path / "region"),
        hub=peer_of(door),
        health=HealthSettings(host="127.0.0.1", port=port),
    )

    async def told(status: int) -> str:
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    found, text = await readiness(port)
                    if found == status:
                        return text
                await asyncio.sleep(0.05)

    async with await Bench.make(tmp_path) as bench, relaying(settings):
        assert "the hub: " in await told(503)
        async with intake(bench.engine, bench.pool, bench.log, door):
            await told(200)
        assert "the hub: " in await told(503)


async def test_a_relay_pushes_over_tls_waits_for_the_hub_and_is_taken_over(
    tmp_path: Path,
) -> None:
    """A rollout: two relays of one region at once, over and over; nothing counts twice."""
    authority = Authority(tmp_path / "authority")
    name = region_name("eu")
    door = ServeSettings(address=f"127.0.0.1:{free_port()}", tls=authority.leaf("hub", "127.0.0.1"))
    settings = RelaySettings(
        region="eu",
        pools=(POOL,),
        log=LogSettings(directory=tmp_path / "region"),
        hub=PeerSettings(address=door.address, tls=authority.leaf("relay", name)),
    )
    writer = await FileLog(tmp_path / "region").writer(shares_topic(POOL), "eu-0")
    count = 0

    async def mine() -> None:
        nonlocal count
        batch = make_batch(producer_id(1), count, [Share(1, 20)], promise=20)
        await writer.append(payload(batch))
        count += 1

    async with await Bench.make(tmp_path) as bench, relaying(settings):
        await mine()
        await asyncio.sleep(0.3)
        for _ in range(2):
            async with intake(bench.engine, bench.pool, bench.log, door), relaying(settings):
                await mine()
                async with asyncio.timeout(20):
                    while [shares for _, shares in (await bench.cells()).values()] != [count]:
                        await bench.consumer.poll()
                        await asyncio.sleep(0.02)
    await writer.close()
