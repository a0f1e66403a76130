"""`pithead shares`: the share processor and what people decide and ask of it."""

import sys
from pathlib import Path

import click

from pithead.cli.options import (
    config_option,
    data_option,
    epilog,
    output_option,
    result_option,
    service,
    shares_config_option,
    supervisor_option,
    who_option,
)


@click.group(
    invoke_without_command=True,
    epilog=epilog(
        "pithead shares --config config/shares.json",
        "pithead shares waiting --data /var/lib/pithead",
        "pithead shares close PRODUCER --reason 'its machine is gone for good'",
        "pithead shares verify --data /var/lib/pithead",
    ),
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings of the share processor: run it.",
)
@supervisor_option
@click.pass_context
def shares(context: click.Context, config: Path | None, supervisor: int | None) -> None:
    """Turn the share log into exact cells: run the share processor, or look, decide and prove."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise click.UsageError("give --config FILE to run the service, or a subcommand")
    from pithead.config import SharesSettings
    from pithead.shares.service import run

    service("shares", config, SharesSettings, run, supervisor=supervisor)


@shares.command(epilog=epilog("pithead shares waiting --data /var/lib/pithead -o json"))
@data_option
@shares_config_option
@output_option
def waiting(data: Path, config: Path | None, output: str) -> None:
    """List open producers, disputed segments, and records that could not be read."""
    from pithead.up.decisions import Where, print_waiting

    sys.exit(print_waiting(Where(data, config), as_json=output == "json"))


@shares.command(epilog=epilog("pithead shares close PRODUCER --reason 'its machine is gone'"))
@click.argument("producer")
@click.option("--reason", required=True, help="Why nothing more is waited for; kept for audit.")
@who_option
@data_option
@shares_config_option
def close(producer: str, reason: str, data: Path, config: Path | None, who: str) -> None:
    """Let heights be sealed without a producer; what still comes of it is late, not lost."""
    from pithead.up.decisions import Where, close_producer

    sys.exit(close_producer(Where(data, config, who), producer, reason))


@shares.command(epilog=epilog("pithead shares decide 17 right --reason 'seen on two explorers'"))
@click.argument("segment", type=click.IntRange(min=1))
@click.argument("verdict", type=click.Choice(["right", "wrong"]))
@click.option("--reason", required=True, help="How it is known; kept for audit.")
@who_option
@data_option
@shares_config_option
def decide(
    segment: int, verdict: str, reason: str, data: Path, config: Path | None, who: str
) -> None:
    """Decide a disputed segment: the shares of a right one earn, those of a wrong one never."""
    from pithead.up.decisions import Where, decide_segment

    sys.exit(decide_segment(Where(data, config, who), segment, reason, right=verdict == "right"))


pool_option = click.option("--pool", help="poolId; all pools without it.")


@shares.command(epilog=epilog("pithead shares checks --pool default.litecoin -o json"))
@pool_option
@data_option
@shares_config_option
@output_option
def checks(pool: str | None, data: Path, config: Path | None, output: str) -> None:
    """Show what came of checking a sample of what edges report, and doubted block values."""
    from pithead.up.decisions import Where
    from pithead.up.suspects import print_checks

    sys.exit(print_checks(Where(data, config), pool, as_json=output == "json"))


@shares.command(epilog=epilog("pithead shares seen PRODUCER --reason 'edge of a test build'"))
@click.argument("producer")
@click.option("--reason", required=True, help="What was found out and done; kept for audit.")
@who_option
@data_option
@shares_config_option
def seen(producer: str, reason: str, data: Path, config: Path | None, who: str) -> None:
    """Note that a producer's failed checks were judged; no share is credited or refused by it."""
    from pithead.up.decisions import Where
    from pithead.up.suspects import see_checks

    sys.exit(see_checks(Where(data, config, who), producer, reason))


@shares.command(
    epilog=epilog("pithead shares withholding --pool default.litecoin --from-height 2800000")
)
@pool_option
@click.option(
    "--from-height",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Lowest height whose shares count.",
)
@data_option
@shares_config_option
@output_option
def withholding(
    pool: str | None, from_height: int, data: Path, config: Path | None, output: str
) -> None:
    """Compare blocks found with blocks expected, the most suspicious account first."""
    from pithead.up.decisions import Where
    from pithead.up.suspects import print_withholding

    sys.exit(print_withholding(Where(data, config), pool, from_height, as_json=output == "json"))


@shares.command(
    epilog=epilog(
        "pithead shares analytics --config config/analytics.json",
        "pithead shares analytics --config config/analytics.json --rebuild",
    )
)
@config_option
@click.option(
    "--rebuild",
    is_flag=True,
    help="Drop all charts and end; the next start fills them anew with what the log still has.",
)
@result_option
@supervisor_option
def analytics(config: Path, rebuild: bool, result: Path | None, supervisor: int | None) -> None:
    """Turn the share log into raw rows and rollups for charts; no money depends on it."""
    from pithead.config import AnalyticsSettings
    from pithead.process import run_task
    from pithead.shares.analytics.service import refill, run

    if rebuild:
        sys.exit(run_task("analytics", config, AnalyticsSettings, refill, result=result))
    service("analytics", config, AnalyticsSettings, run, supervisor=supervisor)


@shares.command(
    epilog=epilog(
        "pithead shares verify --data /var/lib/pithead",
        "pithead shares verify --config /etc/pithead/settings.json --charts analytics.json",
    )
)
@data_option
@shares_config_option
@click.option(
    "--charts",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings of analytics. Default: `analytics.json` beside `--config`; "
    "without either, charts are not compared.",
)
@output_option
def verify(data: Path, config: Path | None, charts: Path | None, output: str) -> None:
    """Compare the log, the cells, the archive and the charts, and name every difference."""
    from pithead.shares.prove import run_verify

    config = config or data / "config" / "shares.json"
    beside = config.with_name("analytics.json")
    analytics = charts or (beside if beside.exists() else None)
    sys.exit(run_verify(config, analytics, as_json=output == "json"))


@shares.command(
    epilog=epilog(
        "pithead shares replay --data /var/lib/pithead --into rebuilt.db",
        "pithead shares replay --config /etc/pithead/settings.json --into postgresql://user@host/empty",
    )
)
@data_option
@shares_config_option
@click.option(
    "--into",
    required=True,
    help="An empty database, made when it is a file: a path (in a pod only /tmp is writable), "
    "or a URL of PostgreSQL.",
)
@click.option(
    "--source",
    type=click.Choice(["log", "archive"]),
    default="log",
    show_default=True,
    help="What cells are built from; a log that no longer holds all is left for the archive.",
)
@output_option
def replay(data: Path, config: Path | None, into: str, source: str, output: str) -> None:
    """Build the accounting tables again, and prove them identical to those that stand."""
    from pithead.shares.prove import run_replay

    sys.exit(
        run_replay(
            config or data / "config" / "shares.json",
            into,
            from_archive=source == "archive",
            as_json=output == "json",
        )
    )
