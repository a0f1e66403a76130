"""`pithead payouts`: the payouts service and what people do with it."""

import sys
from pathlib import Path

import click

from pithead.cli.options import (
    config_option,
    data_option,
    direct_option,
    epilog,
    output_option,
    result_option,
    service,
    supervisor_option,
)


@click.group(
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

    service("payouts", config, PayoutsSettings, run, supervisor=supervisor)


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
