"""The accounting benchmark measures what it says, on a small load."""

import json

import pytest
from click.testing import CliRunner

from pithead.bench.accounting import Load, WrongSums, run
from pithead.cli import main
from pithead.shares.consume import Consumer, Polled

pytestmark = pytest.mark.gate


def test_all_shares_are_booked_and_compared() -> None:
    result = run(Load(shares=2_000, accounts=50, batch=100))
    assert result.setup["shares"] == 2_000
    assert result.figures["exact"] is True
    assert result.figures["cells"] == 50
    assert 0 < result.ratio < 1


def test_a_database_that_does_not_hold_what_the_log_does_gives_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    polls = []

    async def nothing(self: Consumer) -> Polled:
        polls.append(self)
        return Polled(0, 0, 0)

    monkeypatch.setattr(Consumer, "poll", nothing)
    with pytest.raises(WrongSums):
        run(Load(shares=100, accounts=5, batch=100))
    assert len(polls) == 1


def test_the_command_prints_one_line_of_json() -> None:
    arguments = ["bench", "accounting", "--shares", "400", "--batch", "200", "-o", "json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert facts["setup"]["batch_shares"] == 200
    assert facts["figures"]["shares_per_cpu_s"] > 0


def test_fewer_shares_than_a_batch_are_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["bench", "accounting", "--shares", "3"]).exit_code == 2
