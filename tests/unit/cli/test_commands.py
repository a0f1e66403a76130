import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pithead.cli import main

pytestmark = pytest.mark.gate


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*prefix, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))


@pytest.mark.parametrize("path", sorted(commands(main)), ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert f"pithead {' '.join(path)}" in result.output.partition("Example:")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["dig"], id="unknown-command"),
        pytest.param(["status", "--colour"], id="unknown-option"),
        pytest.param(["up"], id="missing-manifests"),
        pytest.param(["up", "-f", "absent.yaml"], id="absent-manifests"),
        pytest.param(["mine", "stratum+tcp://127.0.0.1:1"], id="miner-without-login"),
        pytest.param(["payouts"], id="payouts-without-settings"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_status_and_audit_without_a_pool_say_how_to_start_one(tmp_path: Path) -> None:
    for command in ("status", "audit"):
        result = CliRunner().invoke(main, [command, "--data", str(tmp_path / "none")])
        assert result.exit_code == 1
        assert result.output.startswith(f"pithead {command}: ")
        assert "pithead up -f" in result.output


def test_version_is_told() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert "pithead" in result.output


def test_crds_are_written_and_checked(tmp_path: Path) -> None:
    target = ["crds", "--directory", str(tmp_path / "crds")]
    assert CliRunner().invoke(main, [*target, "--check"]).exit_code == 1
    assert CliRunner().invoke(main, target).exit_code == 0
    assert CliRunner().invoke(main, [*target, "--check"]).exit_code == 0
    assert len(list((tmp_path / "crds").iterdir())) == 3


def test_service_with_bad_settings_exits_with_2_and_names_them(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps({"database": "x"}))
    result = CliRunner().invoke(main, ["ledger", "--config", str(path)])
    assert result.exit_code == 2
