"""The relay's process without a hub: it dials on, measures what waits, and ends when told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY

from pithead.config import LogSettings, RelaySettings, Unusable
from pithead.contracts import relay_pb2_grpc
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.rpc import serve
from pithead.shares.relay import service
from pithead.shares.relay.service import run
from pithead.shares.relay.session import region_of
from tests.support.doors import peer_of, served
from tests.support.shares import POOL, Share, make_batch, payload, producer_id

pytestmark = pytest.mark.gate


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WATCH_S", 0.02)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"pithead_relay_{name}", labels) or 0.0


@asynccontextmanager
async def relaying(settings: RelaySettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def settings_in(directory: Path, **changes: object) -> RelaySettings:
    values: dict[str, object] = {
        "region": "eu",
        "pools": (POOL,),
        "log": LogSettings(directory=directory / "log"),
        "hub": peer_of(served(directory / "hub")),
    }
    return RelaySettings(**(values | changes))  # type: ignore[arg-type]


async def test_without_a_hub_it_tells_what_waits_and_how_much_of_the_bound_that_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = await FileLog(tmp_path / "log").writer(shares_topic(POOL), "eu-0")
    batch = payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=20))
    async with relaying(settings_in(tmp_path, bound_bytes=10 * len(batch))):
        await until(lambda: metric("bound_bytes", pool=POOL) == 10 * len(batch))
        await writer.append(batch)
        # Nothing was read before: a position is a byte here, and counts as a record.
        await until(lambda: metric("waiting_records", pool=POOL) >= len(batch))
        await until(lambda: metric("behind_seconds", pool=POOL) > 0.05)
        assert metric("connected") == 0
        assert "UNAVAILABLE" in caplog.text
    await writer.close()


class Unwilling(relay_pb2_grpc.RegionsServicer):
    """A hub that refuses."""

    async def Relay(  # type: ignore[override]  # noqa: N802 - the contract's name
        self, request_iterator: object, context: "grpc.aio.ServicerContext[object, object]"
    ) -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not of this region")


async def test_a_hub_that_refuses_is_told_of_once_and_dialled_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    door = served(tmp_path / "hub")

    def register(server: grpc.aio.Server) -> None:
        relay_pb2_grpc.add_RegionsServicer_to_server(Unwilling(), server)

    async with serve(door, register), relaying(settings_in(tmp_path)):
        await until(lambda: "not of this region" in caplog.text)
        await asyncio.sleep(0.5)
    assert caplog.text.count("PERMISSION_DENIED: not of this region") == 1


async def test_the_bound_is_told_of_at_half_and_when_it_is_reached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = await FileLog(tmp_path / "log").writer(shares_topic(POOL), "eu-0")
    batch = payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=20))
    region = region_of("eu", [POOL], FileLog(tmp_path / "log"))
    for _ in range(4):
        await writer.append(batch)
    records = await region.readers[shares_topic(POOL)].read("eu-0", 0, 1 << 20)
    region.backlog.read(shares_topic(POOL), records)
    told: list[int] = []
    for sent in (4, 2, 1, 0):
        position = records[sent - 1].next_position if sent else 0
        region.backlog.stored[shares_topic(POOL), "eu-0"] = position
        await service._measure(region, 0.0)
        told.append(service._report(region, POOL, 0.0))
    assert told == [0, 2 * len(batch), 3 * len(batch), 4 * len(batch)]
    assert [service._halves(size, 4 * len(batch)) for size in told] == [0, 1, 1, 2]
    assert service._halves(10**9, 0) == 0, "no bound is known"
    await writer.close()
    for reader in region.readers.values():
        await reader.close()


async def test_a_relay_without_a_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="at least one pool"):
        await run(settings_in(tmp_path, pools=()), asyncio.Event())
