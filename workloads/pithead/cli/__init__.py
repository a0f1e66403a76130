"""The `pithead` command: one subcommand a service or tool.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Subcommands import
what they need when they run, so that each process starts with its own code only.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pithead.cli.bench import bench
from pithead.cli.options import (
    CONTEXT,
    config_option,
    data_option,
    epilog,
    output_option,
    result_option,
    service,
    supervisor_option,
)
from pithead.cli.payouts import payouts
from pithead.cli.relay import relay
from pithead.cli.shares import shares
from pithead.plugins import CommandGroup
from pithead.process import EXIT_FAILED

if TYPE_CHECKING:
    from pithead.wire.command import Task


@click.group(cls=CommandGroup, context_settings=CONTEXT)
@click.version_option(package_name="pithead", prog_name="pithead")
def main() -> None:
    """Pithead: a mining-pool platform."""


@main.command(epilog=epilog("pithead up -f examples/quickstart --data /var/lib/pithead"))
@click.option(
    "-f",
    "--filename",
    "files",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    required=True,
    help="Manifest file, or directory of manifests; may be given more than once.",
)
@data_option
@click.option("--plain", is_flag=True, help="Print lines even in a terminal.")
def up(files: tuple[Path, ...], data: Path, plain: bool) -> None:
    """Run the pools of the given manifests on this machine, until Ctrl-C."""
    from pithead.up.runtime import run_up

    sys.exit(run_up(list(files), data, plain=plain))


@main.command(epilog=epilog("pithead status --data /var/lib/pithead -o json"))
@data_option
@output_option
def status(data: Path, output: str) -> None:
    """Tell what the pools of a running `pithead up` are doing."""
    from pithead.up.report import print_status

    sys.exit(print_status(data, as_json=output == "json"))


@main.command(epilog=epilog("pithead audit --data /var/lib/pithead"))
@data_option
@output_option
def audit(data: Path, output: str) -> None:
    """Recompute cells, splits and balances of a running pool and name every difference."""
    from pithead.audit import run_audit

    sys.exit(run_audit(data, as_json=output == "json"))


@main.command(epilog=epilog("pithead crds --directory crds"))
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("crds"),
    show_default=True,
    help="Where to write the files.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail when a file differs.")
def crds(directory: Path, check: bool) -> None:
    """Write the CustomResourceDefinitions of the three kinds."""
    from pithead.manifests.crds import crd_documents

    differing = []
    for name, text in crd_documents().items():
        path = directory / name
        if path.exists() and path.read_text() == text:
            continue
        differing.append(str(path))
        if not check:
            directory.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for path_text in differing:
        click.echo(f"{path_text} {'differs from the models' if check else 'written'}")
    sys.exit(EXIT_FAILED if check and differing else 0)


@main.command(
    epilog=epilog(
        "pithead mine stratum+tcp://127.0.0.1:3333 --user ADDRESS.rig1 --hashrate 20000",
    )
)
@click.argument("url")
@click.option("--user", "users", multiple=True, help="Login `ADDRESS.WORKER`; one per worker.")
@click.option("--password", default="x", show_default=True, help="Password of every worker.")
@click.option(
    "--hashrate",
    "hashrates",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    help="Hashes per second of a worker at most; one per --user or one for all.",
)
@click.option(
    "--algorithm", type=click.Choice(["sha256d", "scrypt"]), default="sha256d", show_default=True
)
@supervisor_option
def mine(
    url: str,
    users: tuple[str, ...],
    password: str,
    hashrates: tuple[float, ...],
    algorithm: str,
    supervisor: int | None,
) -> None:
    """Mine on a pool with the CPU: for demonstrations and tests, not for profit."""
    from pithead.miner.command import run_mine

    if not users:
        raise click.UsageError("at least one --user ADDRESS.WORKER is needed")
    if len(hashrates) not in (0, 1, len(users)):
        raise click.UsageError("give one --hashrate for all workers, or one for each --user")
    sys.exit(
        run_mine(url, users, password, hashrates or (10_000.0,), algorithm, supervisor=supervisor)
    )


@main.command(epilog=epilog("pithead stratum --config config/stratum.json"))
@config_option
@supervisor_option
def stratum(config: Path, supervisor: int | None) -> None:
    """Serve miners: the share checker of one pool in one region."""
    from pithead.config import StratumSettings
    from pithead.stratum.service import run

    service("stratum", config, StratumSettings, run, supervisor=supervisor)


@main.command(epilog=epilog("pithead rewards --config config/rewards.json"))
@config_option
@supervisor_option
def rewards(config: Path, supervisor: int | None) -> None:
    """Follow blocks and split their rewards."""
    from pithead.config import RewardsSettings
    from pithead.rewards.service import run

    service("rewards", config, RewardsSettings, run, supervisor=supervisor)


@main.command(epilog=epilog("pithead ledger --config config/ledger.json"))
@config_option
@supervisor_option
def ledger(config: Path, supervisor: int | None) -> None:
    """Keep the double-entry book."""
    from pithead.config import LedgerSettings
    from pithead.ledger.service import run

    service("ledger", config, LedgerSettings, run, supervisor=supervisor)


@main.command(
    epilog=epilog(
        "pithead wire databases --config /etc/pithead/settings.json",
        "pithead wire wallet --config /etc/pithead/settings.json --result /tmp/result.json",
    )
)
@click.argument(
    "task", type=click.Choice(["databases", "topics", "wallet", "schemes", "analytics"])
)
@config_option
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    help="Seconds to wait for a neighbour that is away.",
)
@result_option
def wire(task: "Task", config: Path, within_s: float, result: Path | None) -> None:
    """Make or ask once what a hub stands on, and tell the result; may be repeated."""
    from pithead.wire.command import run_wire

    sys.exit(run_wire(task, config, result=result, within_s=within_s))


@main.command(epilog=epilog("pithead devchain --config config/devchain.json"))
@config_option
@supervisor_option
def devchain(config: Path, supervisor: int | None) -> None:
    """Run the built-in regtest node: for demonstrations and tests."""
    from pithead.config import DevchainSettings
    from pithead.devchain.service import run

    service("devchain", config, DevchainSettings, run, supervisor=supervisor)


main.add_command(bench)
main.add_command(shares)
main.add_command(payouts)
main.add_command(relay)
