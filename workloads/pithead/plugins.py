"""Answers for commands that other packages bring, by the entry point group `pithead.commands`.

An entry point names a click command. It is loaded only when it is called or when
help is shown, so that no other process pays for its imports.
"""

import sys
from importlib.metadata import EntryPoint, entry_points

import click

from pithead.process import EXIT_FAILED

GROUP = "pithead.commands"


class CommandGroup(click.Group):
    """A group whose own commands are joined by those of other packages; its own come first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted({*super().list_commands(ctx), *(each.name for each in _entries())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded now when another package brings it."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        return next((_load(each) for each in _entries() if each.name == cmd_name), None)


def _entries() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        return _unusable(
            entry.name,
            f"the Python package {(error.name or entry.module).partition('.')[0]!r} is not "
            "installed: install all that pithead depends on",
        )
    except Exception as error:
        return _unusable(entry.name, f"{entry.value} can not be loaded: {error}")
    if not isinstance(command, click.Command):
        return _unusable(entry.name, f"{entry.value} is no click command")
    return command


def _unusable(name: str, reason: str) -> click.Command:
    def say() -> None:
        click.echo(f"pithead {name}: {reason}", err=True)
        sys.exit(EXIT_FAILED)

    return click.Command(name, callback=say, help=f"Not usable: {reason}.", short_help="Not usable")
