"""`pithead bench log` measures what it says it does."""

import json

import pytest
from click.testing import CliRunner

from pithead.cli.bench import bench

pytestmark = pytest.mark.gate


def test_files_and_spool_are_measured_beside_a_baseline() -> None:
    done = CliRunner().invoke(bench, ["log", "--seconds", "0.1", "-o", "json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.output)
    figures = facts["figures"]
    for name in ("file", "spool"):
        assert figures[f"{name}_ordinary_appends"] == 5
        assert figures[f"{name}_loaded_appends"] > 0
        for kind in ("ordinary", "loaded"):
            assert 0 < figures[f"{name}_{kind}_p50_ms"] <= figures[f"{name}_{kind}_p99_ms"]
    assert not facts["setup"]["kafka"]
    assert facts["ratio"] > 0


def test_a_broker_that_is_not_there_is_told() -> None:
    arguments = ["log", "--seconds", "0.05", "--kafka", "127.0.0.1:1"]
    done = CliRunner().invoke(bench, arguments)
    assert done.exit_code == 1
    assert "127.0.0.1:1" in done.output
