"""The analytics benchmark measures what it says, on a small load."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pithead.bench.analytics import DatabaseInUse, Load, WrongSums, run
from pithead.cli import main
from pithead.shares.analytics.writer import Writer, Written
from pithead.store.columnar.server import open_server
from tests.support.columnar import COLUMNAR


@pytest.mark.columnar
def test_all_shares_are_written_and_compared(tmp_path: Path, columnar_kind: str) -> None:
    server = COLUMNAR.reach(tmp_path) if COLUMNAR.server is not None else None
    result = run(Load(shares=3_000, workers=100), server)
    assert result.figures["exact"] is True
    assert result.setup["shares"] == 3_000
    assert result.ratio > 0


@pytest.mark.full
@pytest.mark.needs("clickhouse")
@pytest.mark.parametrize("columnar_kind", ["clickhouse"], indirect=True)
def test_a_servers_database_that_is_in_use_is_left_alone(
    tmp_path: Path, columnar_kind: str
) -> None:
    reach = COLUMNAR.reach(tmp_path)

    async def used() -> None:
        door = await open_server(reach)
        try:
            await door.command("CREATE TABLE theirs (n UInt8) ENGINE = MergeTree ORDER BY n")
            with pytest.raises(DatabaseInUse, match="theirs"):
                await asyncio.to_thread(run, Load(shares=1_000, workers=10), reach)
            assert (await door.query("SELECT count() AS n FROM theirs")).rows() == [(0,)]
        finally:
            await door.close()

    asyncio.run(used())


@pytest.mark.gate
@pytest.mark.needs("chdb")
def test_tables_that_do_not_hold_what_the_log_does_give_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(self: Writer) -> Written:
        return Written(0, 0, more=False)

    monkeypatch.setattr(Writer, "step", nothing)
    with pytest.raises(WrongSums):
        run(Load(shares=1_000, workers=10))


@pytest.mark.gate
@pytest.mark.needs("chdb")
def test_the_command_prints_one_line_of_json() -> None:
    arguments = ["bench", "analytics", "--shares", "1000", "--workers", "10", "-o", "json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert facts["figures"]["shares_per_cpu_s"] > 0
    assert facts["figures"]["whole_shares_per_cpu_s"] > 0


@pytest.mark.gate
def test_a_server_without_a_port_is_wrong_usage() -> None:
    arguments = ["bench", "analytics", "--clickhouse", "somewhere"]
    assert CliRunner().invoke(main, arguments).exit_code == 2
