"""Analytics as a process: it writes, tells how far it is, and says why when it can not."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import grpc
import msgspec
import pytest

from pithead.config import (
    AnalyticsSettings,
    ClickHouseSettings,
    ColumnarSettings,
    HealthSettings,
    LogSettings,
    PeerSettings,
    ServeSettings,
    Unusable,
)
from pithead.contracts import analytics_pb2, analytics_pb2_grpc, charts_pb2, charts_pb2_grpc
from pithead.rpc import channel
from pithead.shares.analytics.service import refill, run
from tests.support.analytics import append, expected
from tests.support.columnar import COLUMNAR
from tests.support.litecoind import free_port
from tests.support.recount import differences, read_all
from tests.support.shares import (
    COIN_SETTINGS,
    POOL,
    POOL_SETTINGS,
    Share,
    make_batch,
    make_store,
    producer_id,
    store_url,
)

NOW_MS = int(time.time() * 1000)
NOWHERE = PeerSettings(address="unix:/nowhere")


async def settings_of(directory: Path, database: str) -> AnalyticsSettings:
    columnar = ColumnarSettings(directory=directory / "columnar")
    if COLUMNAR.server is not None:
        reach = COLUMNAR.reach(directory)
        columnar = ColumnarSettings(
            clickhouse=ClickHouseSettings(
                host=reach.host, port=reach.port, database=reach.database, password=reach.password
            )
        )
    return AnalyticsSettings(
        database=database,
        serve=ServeSettings(address=f"unix:{directory}/a.sock"),
        log=LogSettings(directory=directory / "log"),
        pools=(POOL_SETTINGS,),
        coins=(COIN_SETTINGS,),
        store=columnar,
        shares=NOWHERE,
        rewards=NOWHERE,
        interval_ms=100,
    )


async def standing(
    settings: AnalyticsSettings, good: Callable[[charts_pb2.StandingReply], bool]
) -> charts_pb2.StandingReply:
    """Ask until the answer is good."""
    async with asyncio.timeout(30), channel(PeerSettings(address=settings.serve.address)) as there:
        stub = charts_pb2_grpc.ChartsStub(there)
        while True:
            try:
                reply = await stub.Standing(charts_pb2.StandingRequest(pool=POOL))
            except grpc.aio.AioRpcError:
                reply = None
            if reply is not None and good(reply):
                return reply
            await asyncio.sleep(0.05)


@pytest.mark.columnar
async def test_it_writes_what_comes_and_tells_how_far_it_is(
    tmp_path: Path, columnar_kind: str
) -> None:
    engine, pool = await make_store(tmp_path)
    settings = await settings_of(tmp_path, store_url(tmp_path))
    batches = [
        make_batch(producer_id(1), n, [Share(n, 5, time_ms=NOW_MS)] * 3, time_ms=NOW_MS)
        for n in range(4)
    ]
    await append(tmp_path / "log", batches[:2])
    stop = asyncio.Event()
    running = asyncio.create_task(run(settings, stop))
    await standing(settings, lambda reply: reply.shares == 6 and not reply.trouble)
    await append(tmp_path / "log", batches[2:])
    await standing(settings, lambda reply: reply.shares == 12 and reply.lag_ms == 0)
    async with channel(PeerSettings(address=settings.serve.address)) as there:
        asked = analytics_pb2.HashrateRequest(
            subject=analytics_pb2.Subject(pool=POOL), span=analytics_pb2.SPAN_1H
        )
        chart = await analytics_pb2_grpc.AnalyticsStub(there).Hashrate(asked)
    assert sum(chart.series[0].shares) == 12
    stop.set()
    await running
    assert (await refill(settings))["rebuilt"] == [POOL]
    stop.clear()
    running = asyncio.create_task(run(settings, stop))
    await standing(settings, lambda reply: reply.shares == 12)
    stop.set()
    await running
    door = await COLUMNAR.door(tmp_path)
    assert differences(await expected(engine, pool, batches), await read_all(door)) == []
    await door.close()
    await engine.dispose()


async def readiness(port: int) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/readyz") as answer,
    ):
        return answer.status, await answer.text() if answer.status != 200 else ""


@pytest.mark.full
@pytest.mark.needs("clickhouse")
async def test_a_server_that_dies_and_comes_back_is_written_on(tmp_path: Path) -> None:
    from tests.support.columnar import running_clickhouse

    engine, pool = await make_store(tmp_path)
    with running_clickhouse() as server:
        COLUMNAR.server = server
        try:
            port = free_port()
            settings = msgspec.structs.replace(
                await settings_of(tmp_path, store_url(tmp_path)),
                health=HealthSettings(host="127.0.0.1", port=port),
            )
            stop = asyncio.Event()
            running = asyncio.create_task(run(settings, stop))
            await standing(settings, lambda reply: not reply.trouble)
            assert await readiness(port) == (200, "")
            server.kill()
            batches = [
                make_batch(producer_id(1), 0, [Share(1, 5, time_ms=NOW_MS)] * 3, time_ms=NOW_MS)
            ]
            await append(tmp_path / "log", batches)
            await standing(settings, lambda reply: bool(reply.trouble) and reply.lag_ms > 0)
            status, said = await readiness(port)
            assert status == 503
            assert f"ClickHouse at 127.0.0.1:{server.port}" in said
            await asyncio.to_thread(server.start)
            await standing(settings, lambda reply: reply.shares == 3 and not reply.trouble)
            assert (await readiness(port))[0] == 200
            stop.set()
            await running
            door = await COLUMNAR.door(tmp_path)
            assert differences(await expected(engine, pool, batches), await read_all(door)) == []
            await door.close()
        finally:
            COLUMNAR.server = None
    await engine.dispose()


@pytest.mark.gate
@pytest.mark.needs("chdb")
async def test_a_directory_that_another_share_database_filled_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        engine, _ = await make_store(tmp_path / name)
        await engine.dispose()
    await append(
        tmp_path / "log",
        [make_batch(producer_id(1), 0, [Share(1, 5, time_ms=NOW_MS)], time_ms=NOW_MS)],
    )
    settings = await settings_of(tmp_path, store_url(tmp_path / "one"))
    stop = asyncio.Event()
    running = asyncio.create_task(run(settings, stop))
    await standing(settings, lambda reply: reply.shares == 1)
    stop.set()
    await running
    other = await settings_of(tmp_path, store_url(tmp_path / "two"))
    with pytest.raises(Unusable, match="another share database"):
        await run(other, asyncio.Event())
