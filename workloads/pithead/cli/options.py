"""Options that several commands share, and how a service is run."""

import sys
from pathlib import Path
from typing import Any

import click

from pithead.process import run_service

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
DEFAULT_DATA = Path("pithead-data")

direct_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings of payouts: act on their database directly, as in a cluster.",
)
shares_config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings of the share processor: ask its database and log directly, as in a cluster.",
)
who_option = click.option(
    "--who", default="", help="In whose name; kept for audit. Default: the system's user."
)
data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA,
    envvar="PITHEAD_DATA",
    show_default=True,
    show_envvar=True,
    help="Data directory of the pool.",
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the facts.",
)
config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Settings of the process, as the runtime wrote them.",
)
result_option = click.option(
    "--result",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the result or a sentence on the failure; in a pod its termination message.",
)
supervisor_option = click.option(
    "--supervisor", type=int, hidden=True, help="End when this parent process ends."
)


def epilog(*examples: str) -> str:
    """Format examples for the end of a help page."""
    return "\b\nExample:\n" + "\n".join(f"  {example}" for example in examples)


def service(name: str, config: Path, shape: Any, run: Any, *, supervisor: int | None) -> None:
    """Run a service process to its end, and end with its exit code."""
    sys.exit(run_service(name, config, shape, run, supervisor=supervisor))
