"""`pithead bench`: what this machine can do."""

import click

from pithead.cli.options import epilog, output_option


@click.group(epilog=epilog("pithead bench accounting -o json"))
def bench() -> None:
    """Measure a part of the pool on this machine, against a baseline of the same run."""


@bench.command(
    epilog=epilog(
        "pithead bench accounting --shares 200000",
        "pithead bench accounting --database postgresql://user:password@127.0.0.1/empty -o json",
    )
)
@click.option("--database", default="", help="URL of an empty database; default a new SQLite file.")
@click.option("--shares", type=click.IntRange(min=1), default=1_000_000, show_default=True)
@click.option("--accounts", type=click.IntRange(min=1), default=2_000, show_default=True)
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
