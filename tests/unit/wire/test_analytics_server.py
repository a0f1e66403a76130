"""The same Job where only a server has an answer: two at once, a wrong password, nobody there."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pithead.process import TaskFailed
from pithead.shares.analytics.ddl import NEWEST
from pithead.wire.analytics import make_analytics
from tests.support.clickhouse import ClickHouseServer
from tests.support.columnar import running_clickhouse
from tests.support.litecoind import free_port
from tests.unit.wire.test_analytics import on_server

pytestmark = [pytest.mark.full, pytest.mark.needs("clickhouse")]


@pytest.fixture(scope="module")
def server() -> Iterator[ClickHouseServer]:
    with running_clickhouse() as running:
        yield running


async def test_two_places_may_make_the_tables_at_once(server: ClickHouseServer) -> None:
    settings = on_server(server.reach("together"))
    both = (make_analytics(settings, within_s=20) for _ in range(2))
    assert await asyncio.gather(*both) == [{"version": NEWEST}] * 2


async def test_server_that_refuses_is_told(server: ClickHouseServer) -> None:
    wrong = replace(server.reach("refused"), password="wrong")
    with pytest.raises(TaskFailed, match=str(server.port)):
        await make_analytics(on_server(wrong), within_s=1)


async def test_server_that_is_away_is_told_after_a_while(server: ClickHouseServer) -> None:
    away = replace(server.reach("away"), port=free_port())
    with pytest.raises(TaskFailed, match=str(away.port)):
        await make_analytics(on_server(away), within_s=1)
