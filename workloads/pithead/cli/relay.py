"""`pithead relay`: pushes the log of a region to the hub."""

from pathlib import Path

import click

from pithead.cli.options import config_option, epilog, service, supervisor_option


@click.command(epilog=epilog("pithead relay --config /etc/pithead/settings.json"))
@config_option
@supervisor_option
def relay(config: Path, supervisor: int | None) -> None:
    """Push the share log of this region to the hub: for a region with a Kafka of its own."""
    from pithead.config import RelaySettings
    from pithead.shares.relay.service import run

    service("relay", config, RelaySettings, run, supervisor=supervisor)
