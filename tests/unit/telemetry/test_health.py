"""Probes over HTTP, and what a service says of itself."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest
from prometheus_client import Counter

from pithead.config import HealthSettings
from pithead.telemetry.health import STUCK_S, Standing, health_server
from tests.support.litecoind import free_port

pytestmark = pytest.mark.gate

HOST = "127.0.0.1"
SEEN = Counter("pithead_test_seen", "Counted by a test.")


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{HOST}:{port}{path}") as reply,
    ):
        return reply.status, (await reply.text()).strip()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (True, (200, "ready")),
        (False, (503, "not ready")),
        ("the node is away", (503, "the node is away")),
    ],
    ids=["ready", "not", "with a reason"],
)
async def test_readiness_is_what_the_service_says(
    said: bool | str, answer: tuple[int, str]
) -> None:
    port = free_port()
    async with health_server(HealthSettings(host=HOST, port=port), lambda: said):
        assert await get(port, "/readyz") == answer
        assert await get(port, "/livez") == (200, "alive")


async def test_metrics_are_shown_for_prometheus() -> None:
    port = free_port()
    SEEN.inc(3)
    async with health_server(HealthSettings(host=HOST, port=port), lambda: True):
        status, text = await get(port, "/metrics")
    assert status == 200
    assert "pithead_test_seen_total 3.0" in text


async def test_without_settings_nothing_listens() -> None:
    async with health_server(None, lambda: True):
        pass


async def test_port_is_free_again_afterwards() -> None:
    settings = HealthSettings(host=HOST, port=free_port())
    for _ in range(2):
        async with health_server(settings, lambda: True):
            await get(settings.port, "/livez")


def clock() -> tuple[Callable[[], float], list[float]]:
    now = [0.0]
    return lambda: now[0], now


def test_service_is_ready_from_its_start_while_nothing_is_wrong() -> None:
    standing = Standing()
    assert standing.ready() == "starting"
    standing.started()
    assert standing.ready() is True
    standing.say("database", "it is away")
    assert standing.ready() == "database: it is away"
    standing.say("database", "")
    assert standing.ready() is True


async def test_loop_that_does_not_come_round_is_named() -> None:
    read, now = clock()
    standing = Standing(read)
    standing.started()
    hangs = asyncio.Event()

    async def step() -> int:
        if now[0]:
            await hangs.wait()
        raise OSError("a neighbour is away, which is no reason")

    turning = standing.turning("share log", step)
    with pytest.raises(OSError, match="neighbour"):
        await turning()
    assert standing.ready() is True
    now[0] = STUCK_S + 1
    task = asyncio.create_task(turning())
    await asyncio.sleep(0)
    assert standing.ready() == "share log: nothing was done for 181 s"
    hangs.set()
    await asyncio.gather(task, return_exceptions=True)
    assert standing.ready() is True
