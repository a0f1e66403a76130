"""A small load is made, kept, asked, and told of."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pithead.bench.api import Traffic, run
from pithead.bench.chart_load import Load
from pithead.cli import main

pytestmark = [pytest.mark.gate, pytest.mark.needs("chdb")]

LOAD = Load(shares=20_000, workers=120)


def test_answers_are_checked_and_a_kept_load_is_taken_again(tmp_path: Path) -> None:
    first = run(LOAD, Traffic(rate=40, seconds=1, alone=10), tmp_path / "store")
    facts = first.facts()
    assert isinstance(facts["setup"], dict)
    assert isinstance(facts["figures"], dict)
    assert (
        facts["setup"]
        | {
            "store": "chdb",
            "shares": 20_000,
            "workers": 120,
            "rate_per_s": 40,
        }
        == facts["setup"]
    )
    for kind in ("first_page", "chart_alone", "page_alone", "chart_mixed", "page_mixed"):
        figures = facts["figures"]
        assert 0 < figures[f"{kind}_p50_ms"] <= figures[f"{kind}_p99_ms"]
    assert 0 < first.ratio < 1
    assert first.figures["load_s"]
    made = (tmp_path / "store" / "load.json").read_text()
    again = run(LOAD, Traffic(rate=40, seconds=0.2, alone=2), tmp_path / "store")
    assert again.figures["load_s"] == 0.0
    assert (tmp_path / "store" / "load.json").read_text() == made


def test_another_load_replaces_what_was_kept(tmp_path: Path) -> None:
    keep = tmp_path / "store"
    small = ["bench", "api", "--rate", "20", "--seconds", "0.2", "--keep", str(keep), "-o", "json"]
    for workers in ("40", "50"):
        arguments = [*small, "--shares", "2000", "--workers", workers]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        facts = json.loads(result.output)
        assert facts["setup"]["workers"] == int(workers)
        assert facts["figures"]["refused"] == 0
