"""Commands of other packages: loaded late, and told in a sentence when they can not be."""

from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from pithead import plugins
from pithead.plugins import GROUP, CommandGroup

pytestmark = pytest.mark.gate

HERE = __name__


@click.command()
def hello() -> None:
    """Say hello."""
    click.echo("hello")


@click.group(cls=CommandGroup)
def main() -> None:
    """A group."""


@main.command()
def own() -> None:
    """Our own."""
    click.echo("our own")


@pytest.fixture(autouse=True)
def brought(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "hello": "tests.unit.test_plugins:hello",
        "own": "tests.unit.test_plugins:hello",
        "half": "kopf_that_nobody_has:command",
        "odd": "tests.unit.test_plugins:HERE",
        "gone": "tests.unit.test_plugins:nothing",
    }
    entries = [EntryPoint(name, value, GROUP) for name, value in values.items()]
    monkeypatch.setattr(plugins, "_entries", lambda: entries)


def test_command_of_another_package_runs() -> None:
    assert CliRunner().invoke(main, ["hello"]).output == "hello\n"


def test_own_commands_can_not_be_replaced() -> None:
    assert CliRunner().invoke(main, ["own"]).output == "our own\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("half", "pithead half: the Python package 'kopf_that_nobody_has' is not installed"),
        ("odd", "tests.unit.test_plugins:HERE is no click command"),
        ("gone", "tests.unit.test_plugins:nothing can not be loaded"),
    ],
)
def test_command_that_can_not_be_loaded_says_why(name: str, said: str) -> None:
    result = CliRunner().invoke(main, [name])
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_help_shows_all_even_when_one_is_broken() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert "Say hello." in output
    assert "Not usable" in output


def test_unknown_command_is_unknown() -> None:
    assert CliRunner().invoke(main, ["dig"]).exit_code == 2
