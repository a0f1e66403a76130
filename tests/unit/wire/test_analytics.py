"""The Job that makes tables for charts, on chdb and on a real ClickHouse."""

from pathlib import Path

import pytest

from pithead.config import ClickHouseSettings, ColumnarSettings, Unusable, WireAnalyticsSettings
from pithead.shares.analytics.ddl import NEWEST
from pithead.store.columnar.migrate import VERSION_TABLE, version_of
from pithead.store.columnar.server import Reach
from pithead.wire.analytics import make_analytics
from tests.support.columnar import COLUMNAR

pytestmark = pytest.mark.columnar


def settings(directory: Path) -> WireAnalyticsSettings:
    if COLUMNAR.server is None:
        return WireAnalyticsSettings(store=ColumnarSettings(directory=directory / "columnar"))
    return on_server(COLUMNAR.reach(directory))


def on_server(reach: Reach) -> WireAnalyticsSettings:
    server = ClickHouseSettings(
        host=reach.host,
        port=reach.port,
        database=reach.database,
        user=reach.user,
        password=reach.password,
        tls=False,
    )
    return WireAnalyticsSettings(store=ColumnarSettings(clickhouse=server))


async def test_tables_are_made_and_a_repeat_changes_nothing(tmp_path: Path) -> None:
    assert await make_analytics(settings(tmp_path), within_s=20) == {"version": NEWEST}
    assert await make_analytics(settings(tmp_path), within_s=20) == {"version": NEWEST}
    door = await COLUMNAR.door(tmp_path)
    assert await version_of(door) == NEWEST
    await door.close()


async def test_tables_of_a_newer_release_are_left_alone(tmp_path: Path) -> None:
    await make_analytics(settings(tmp_path), within_s=20)
    door = await COLUMNAR.door(tmp_path)
    await door.command(f"INSERT INTO {VERSION_TABLE} SELECT toUInt32(999), now()")
    await door.close()
    with pytest.raises(Unusable, match="upgrade pithead"):
        await make_analytics(settings(tmp_path), within_s=20)
