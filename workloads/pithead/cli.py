"""The `pithead` command: one subcommand a service or tool.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Subcommands import
what they need when they run, so that each process starts with its own code only.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pithead.plugins import CommandGroup
from pithead.process import EXIT_FAILED, run_service

if TYPE_CHECKING:
    from pithead.wire.command import Task

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
DEFAULT_DATA = Path("pithead-data")

direct_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings of payouts: act on their database directly, as in a cluster.",
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


@click.group(cls=CommandGroup, context_settings=CONTEXT)
@click.version_option(package_name="pithead", prog_name="pithead")
def main() -> None:
    """Pithead: a mining-pool platform."""


def epilog(*examples: str) -> str:
    """Format examples for the end of a help page."""
    return "\b\nExample:\n" + "\n".join(f"  {example}" for example in examples)


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


def _service(name: str, config: Path, shape: Any, run: Any, *, supervisor: int | None) -> None:
    sys.exit(run_service(name, config, shape, run, supervisor=supervisor))


@main.command(epilog=epilog("pithead stratum --config config/stratum.json"))
@config_option
@supervisor_option
def stratum(config: Path, supervisor: int | None) -> None:
    """Serve miners: the share checker of one pool in one region."""
    from pithead.config import StratumSettings
    from pithead.stratum.service import run

    _service("stratum", config, StratumSettings, run, supervisor=supervisor)


@main.group(
    invoke_without_command=True,
    epilog=epilog(
        "pithead shares --config config/shares.json",
        "pithead shares waiting --data /var/lib/pithead",
        "pithead shares close PRODUCER --reason 'its machine is gone for good'",
    ),
)
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings.")
@supervisor_option
@click.pass_context
def shares(context: click.Context, config: Path | None, supervisor: int | None) -> None:
    """Turn the share log into exact cells: run the share processor, or decide what it waits for."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise click.UsageError("give --config FILE to run the service, or a subcommand")
    from pithead.config import SharesSettings
    from pithead.shares.service import run

    _service("shares", config, SharesSettings, run, supervisor=supervisor)


@shares.command(epilog=epilog("pithead shares waiting --data /var/lib/pithead -o json"))
@data_option
@output_option
def waiting(data: Path, output: str) -> None:
    """List open producers, disputed segments, and records that could not be read."""
    from pithead.up.decisions import print_waiting

    sys.exit(print_waiting(data, as_json=output == "json"))


@shares.command(epilog=epilog("pithead shares close PRODUCER --reason 'its machine is gone'"))
@click.argument("producer")
@click.option("--reason", required=True, help="Why nothing more is waited for; kept for audit.")
@data_option
def close(producer: str, reason: str, data: Path) -> None:
    """Let heights be sealed without a producer; what still comes of it is late, not lost."""
    from pithead.up.decisions import close_producer

    sys.exit(close_producer(data, producer, reason))


@shares.command(epilog=epilog("pithead shares decide 17 right --reason 'seen on two explorers'"))
@click.argument("segment", type=click.IntRange(min=1))
@click.argument("verdict", type=click.Choice(["right", "wrong"]))
@click.option("--reason", required=True, help="How it is known; kept for audit.")
@data_option
def decide(segment: int, verdict: str, reason: str, data: Path) -> None:
    """Decide a disputed segment: the shares of a right one earn, those of a wrong one never."""
    from pithead.up.decisions import decide_segment

    sys.exit(decide_segment(data, segment, reason, right=verdict == "right"))


@main.command(epilog=epilog("pithead rewards --config config/rewards.json"))
@config_option
@supervisor_option
def rewards(config: Path, supervisor: int | None) -> None:
    """Follow blocks and split their rewards."""
    from pithead.config import RewardsSettings
    from pithead.rewards.service import run

    _service("rewards", config, RewardsSettings, run, supervisor=supervisor)


@main.command(epilog=epilog("pithead ledger --config config/ledger.json"))
@config_option
@supervisor_option
def ledger(config: Path, supervisor: int | None) -> None:
    """Keep the double-entry book."""
    from pithead.config import LedgerSettings
    from pithead.ledger.service import run

    _service("ledger", config, LedgerSettings, run, supervisor=supervisor)


@main.group(
    invoke_without_command=True,
    epilog=epilog(
        "pithead payouts --config config/payouts.json",
        "pithead payouts run --config config/payouts.json --coin devchain",
        "pithead payouts adopt TXID --coin devchain --reason 'moved to cold storage'",
    ),
)
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings.")
@supervisor_option
@click.pass_context
def payouts(context: click.Context, config: Path | None, supervisor: int | None) -> None:
    """Pay miners: run the payouts service, take one pass, or act on a running service."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise click.UsageError("give --config FILE to run the service, or a subcommand")
    from pithead.config import PayoutsSettings
    from pithead.payouts.service import run

    _service("payouts", config, PayoutsSettings, run, supervisor=supervisor)


@payouts.command(
    epilog=epilog("pithead payouts adopt TXID --coin devchain --reason 'moved to cold storage'")
)
@click.argument("txid")
@click.option("--coin", required=True, help="CoinEndpoint whose wallet sent it.")
@click.option("--reason", required=True, help="Why it was sent, for the audit.")
@data_option
@direct_option
def adopt(txid: str, coin: str, reason: str, data: Path, config: Path | None) -> None:
    """Book an outgoing transaction that was made outside of the pool, so that payouts go on."""
    if config is not None:
        from pithead.payouts.command import adopt_directly

        sys.exit(adopt_directly(config, coin, txid, reason))
    from pithead.up.report import adopt_transaction

    sys.exit(adopt_transaction(data, coin, txid, reason))


@payouts.command(
    "list", epilog=epilog("pithead payouts list --config /etc/pithead/settings.json -o json")
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Settings of payouts, whose database is read.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@output_option
def list_(config: Path, limit: int, output: str) -> None:
    """Show the newest payouts from their database."""
    from pithead.payouts.command import print_payouts

    sys.exit(print_payouts(config, limit, as_json=output == "json"))


@payouts.command(
    "run", epilog=epilog("pithead payouts run --config /etc/pithead/settings.json --coin litecoin")
)
@config_option
@click.option("--coin", required=True, help="CoinEndpoint to pay.")
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to wait for neighbours and to go on with what changes.",
)
@result_option
def run_(config: Path, coin: str, within_s: float, result: Path | None) -> None:
    """Take one pass for a scheduler: carry on what is under way, plan, sign, send, settle."""
    from pithead.payouts.command import run_payouts

    sys.exit(run_payouts(config, coin, within_s=within_s, result=result))


@main.command(
    epilog=epilog(
        "pithead wire databases --config /etc/pithead/settings.json",
        "pithead wire wallet --config /etc/pithead/settings.json --result /tmp/result.json",
    )
)
@click.argument("task", type=click.Choice(["databases", "topics", "wallet", "schemes"]))
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

    _service("devchain", config, DevchainSettings, run, supervisor=supervisor)


if __name__ == "__main__":
    sys.exit(main())
