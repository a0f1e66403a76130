"""`pithead shares verify` and `replay` as commands."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pithead.cli import main
from pithead.config import LogSettings, ServeSettings, SharesSettings, store, unix_address
from tests.support.shares import COIN_SETTINGS, POOL, POOL_SETTINGS, store_url
from tests.unit.shares.test_audit import archive, make, mined, tamper

pytestmark = pytest.mark.gate


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A pool with some sealed heights, and the settings of its share processor."""

    async def fill() -> None:
        async with await make(tmp_path) as bench:
            await mined(bench, range(20, 26))
            await archive(bench)

    asyncio.run(fill())
    path = tmp_path / "data" / "config" / "shares.json"
    path.parent.mkdir(parents=True)
    written = SharesSettings(
        database=store_url(tmp_path),
        serve=ServeSettings(address=unix_address(tmp_path / "s.sock")),
        log=LogSettings(directory=tmp_path / "log"),
        pools=(POOL_SETTINGS,),
        coins=(COIN_SETTINGS,),
    )
    store(path, written)
    return path


def run(command: str, settings: Path, *arguments: str) -> Result:
    data = str(settings.parents[1])
    return CliRunner().invoke(main, ["shares", command, "--data", data, *arguments])


def falsify(tmp_path: Path) -> None:
    async def change() -> None:
        async with await make(tmp_path) as bench:
            statement = "UPDATE cells SET weight = 99 WHERE height = 21 AND account = 1"
            await tamper(bench.engine, "cells", statement)

    asyncio.run(change())


def test_sound_tables_are_said_to_be(settings: Path) -> None:
    result = run("verify", settings)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"verify: sound: {POOL}: 6 batches")
    document = json.loads(run("verify", settings, "-o", "json").stdout)
    assert (document["sound"], document["pools"][0]["archivedHeight"]) == (True, 23)


def test_charts_are_said_to_be_left_out_without_settings_of_analytics(settings: Path) -> None:
    result = run("verify", settings)
    assert result.exit_code == 0, result.output
    assert result.output.endswith("charts: not compared: no settings of analytics\n")
    charts = json.loads(run("verify", settings, "-o", "json").stdout)["charts"]
    assert charts == {"compared": False, "reason": "no settings of analytics", "differences": []}


def test_a_difference_is_named_with_both_sides(settings: Path, tmp_path: Path) -> None:
    falsify(tmp_path)
    result = run("verify", settings)
    assert result.exit_code == 1
    assert "the archive has weight and shares (3, 1), the table (99, 1)" in result.output
    result = run("verify", settings, "-o", "json")
    assert result.exit_code == 1
    (difference,) = json.loads(result.stdout)["pools"][0]["differences"]
    assert (difference["account"], difference["height"], difference["minute"]) == (1, 21, 21)
    assert difference["says"]["table"] == {"weight": "99", "shares": 1}


@pytest.mark.parametrize("source", ["log", "archive"])
def test_a_database_is_built_again_once(settings: Path, tmp_path: Path, source: str) -> None:
    into = str(tmp_path / "built.db")
    result = run("replay", settings, "--into", into, "--source", source)
    assert result.exit_code == 0, result.output
    assert f"18 cells built from the {source}, archived up to height 23" in result.output
    again = run("replay", settings, "--into", into, "-o", "json")
    assert again.exit_code == 1
    assert "is not empty" in again.output


def test_what_is_not_identical_is_named(settings: Path, tmp_path: Path) -> None:
    falsify(tmp_path)
    result = run("replay", settings, "--into", str(tmp_path / "built.db"), "-o", "json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["identical"] is False
    assert "built (3, 1), was (99, 1)" in document["pools"][0]["differences"][0]


def test_settings_that_are_not_there_are_told(tmp_path: Path) -> None:
    for command, more in (("verify", []), ("replay", ["--into", str(tmp_path / "x.db")])):
        result = CliRunner().invoke(main, ["shares", command, "--data", str(tmp_path), *more])
        assert result.exit_code == 1
        assert result.output.startswith(f"pithead shares {command}: ")
