"""Runs programs (`ip`, `ctr`, kubectl ...) with a time limit and readable failures."""

import subprocess
from pathlib import Path

from tests.e2e.bed.waiting import BedFailed

COMMAND_S_MAX = 60


class CommandFailed(BedFailed):
    """A program ended with an error, or not in time."""


def run(command: list[str], *, stdin: str | None = None, limit_s: float = COMMAND_S_MAX) -> str:
    """Return what a command printed; raises CommandFailed with what it complained of."""
    shown = " ".join([Path(command[0]).name, *command[1:]])
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{shown}: not done after {limit_s:g} s") from error
    if done.returncode:
        raise CommandFailed(f"{shown}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
