"""`pithead bench`: what this machine can do."""

from pathlib import Path

import click

from pithead.cli.options import epilog, output_option


@click.group(
    epilog=epilog(
        "pithead bench accounting -o json",
        "pithead bench api --shares 1000000 --workers 1000",
    )
)
def bench() -> None:
    """Measure a part of the pool on this machine, against a baseline of the same run."""


@bench.command(
    epilog=epilog(
        "pithead bench accounting --shares 200000",
        "pithead bench accounting --database postgresql://user:password@127.0.0.1/empty -o json",
    )
)
@click.option("--database", default="", help="URL of an empty database; default a new SQLite file.")
@click.option(
    "--shares",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Shares to book, in whole batches.",
)
@click.option(
    "--accounts",
    type=click.IntRange(min=1),
    default=2_000,
    show_default=True,
    help="Accounts among which they fall at random.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Shares in a batch of the log.",
)
@output_option
def accounting(database: str, shares: int, accounts: int, batch: int, output: str) -> None:
    """Book shares of a log into cells of a database."""
    from pithead.bench.accounting import Load, run
    from pithead.bench.result import text_of

    if shares < batch:
        raise click.UsageError("--shares must be at least one --batch")
    result = run(Load(shares, accounts, batch), database)
    click.echo(text_of(result, as_json=output == "json"))


@bench.command(
    epilog=epilog(
        "pithead bench api --shares 1000000 --workers 1000",
        "pithead bench api --keep /var/tmp/pithead-bench -o json",
    )
)
@click.option(
    "--shares",
    type=click.IntRange(min=1),
    default=50_000_000,
    show_default=True,
    help="Shares of the month.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Workers of the one account, among which they fall at random.",
)
@click.option(
    "--rate",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Requests a second, of charts and pages in turn.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="How long they are sent.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the loaded store in this directory; a later run of the same load is quick.",
)
@output_option
def api(
    shares: int, workers: int, rate: int, seconds: float, keep: Path | None, output: str
) -> None:
    """Ask for charts and worker tables over a month of shares in chdb.

    Needs the `embedded` extra. To load the default takes over 3 CPU-minutes and 1.2 GB on disk.
    """
    from pithead.bench.api import Traffic, run
    from pithead.bench.chart_load import Load
    from pithead.bench.result import text_of
    from pithead.store.columnar import ColumnarMissing

    try:
        result = run(Load(shares, workers), Traffic(rate, seconds), keep)
    except ColumnarMissing as error:
        raise click.ClickException(str(error)) from error
    click.echo(text_of(result, as_json=output == "json"))


@bench.command(
    epilog=epilog("pithead bench log", "pithead bench log --kafka 127.0.0.1:9092 -o json")
)
@click.option("--kafka", default="", help="host:port of a broker to measure, too; no TLS.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.05),
    default=5.0,
    show_default=True,
    help="Of each of the two runs of each log.",
)
@click.option(
    "--rate",
    type=click.IntRange(min=1, max=1000),
    default=50,
    show_default=True,
    help="Batches a second that are ordinary.",
)
@output_option
def log(kafka: str, seconds: float, rate: int, output: str) -> None:
    """Time appends of batches until they are durable: chunk files, spool, and Kafka."""
    from pithead.bench.log import Load, run
    from pithead.bench.result import text_of
    from pithead.log.errors import LogError

    try:
        result = run(Load(seconds, rate), kafka)
    except LogError as error:
        raise click.ClickException(str(error)) from error
    click.echo(text_of(result, as_json=output == "json"))


@bench.command(
    epilog=epilog(
        "pithead bench analytics --shares 1000000",
        "pithead bench analytics --clickhouse 127.0.0.1:9000 --clickhouse-database empty -o json",
    )
)
@click.option(
    "--shares",
    type=click.IntRange(min=1000),
    default=3_000_000,
    show_default=True,
    help="Shares to write.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=10),
    default=10_000,
    show_default=True,
    help="Workers, each with a share every 6 seconds; ten to an account.",
)
@click.option("--clickhouse", default="", help="host:port of a server; default chdb.")
@click.option(
    "--clickhouse-database",
    "database",
    default="pithead_bench",
    show_default=True,
    help="An empty database of the server; what is in it is dropped.",
)
@click.option(
    "--clickhouse-user",
    "user",
    default="default",
    show_default=True,
    help="Who may make and drop tables there.",
)
@click.option(
    "--clickhouse-password",
    "password",
    default="",
    envvar="PITHEAD_CLICKHOUSE_PASSWORD",
    show_envvar=True,
    help="Password of that user.",
)
@output_option
def analytics(
    shares: int,
    workers: int,
    clickhouse: str,
    database: str,
    user: str,
    password: str,
    output: str,
) -> None:
    """Write shares into chdb, or a ClickHouse server, with all rollups."""
    from pithead.bench.analytics import DatabaseInUse, Load, run
    from pithead.bench.result import text_of
    from pithead.store.columnar import ColumnarError
    from pithead.store.columnar.server import Reach

    server = None
    if clickhouse:
        host, _, port = clickhouse.rpartition(":")
        if not host or not port.isdecimal():
            raise click.UsageError("--clickhouse is host:port")
        server = Reach(host, int(port), database=database, user=user, password=password)
    try:
        result = run(Load(shares, workers), server)
    except (ColumnarError, DatabaseInUse) as error:
        raise click.ClickException(str(error)) from error
    click.echo(text_of(result, as_json=output == "json"))
