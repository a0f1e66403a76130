"""The command `pithead operator`; what it runs is imported when it runs."""

import asyncio
import logging
import sys
from pathlib import Path

import click

EXAMPLE = (
    "\b\nExample:\n"
    "  pithead operator --namespace pithead-system --image registry.example.org/pithead:0.1.0\n"
    "  pithead operator --namespace pithead-system --farewell"
)


@click.command(name="operator", epilog=EXAMPLE)
@click.option("--namespace", required=True, help="The operator's own: cluster Secrets, the Lease.")
@click.option("--image", default="", help="Image of the pods that are made; needed to work.")
@click.option(
    "--pull-policy",
    type=click.Choice(["Always", "IfNotPresent", "Never"]),
    default="IfNotPresent",
    show_default=True,
    help="How pods pull it.",
)
@click.option("--pull-secret", "pull_secrets", multiple=True, help="Name of an image pull Secret.")
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Access to the hub; in a pod, its service account is used without it.",
)
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--identity", default="", help="Holder in the Lease; by default host and a number.")
@click.option("--lease/--no-lease", default=True, help="Work only while holding the Lease.")
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=9400,
    show_default=True,
    help="HTTP port of /livez, /readyz and /metrics; 0 for none.",
)
@click.option(
    "--resync-seconds",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="Pause between two looks at everything.",
)
@click.option(
    "--probe-seconds",
    type=click.FloatRange(0.2, 60),
    default=5.0,
    show_default=True,
    help="Pause between two probes of a cluster.",
)
@click.option(
    "--farewell",
    is_flag=True,
    help="Stop the running operator, let go of all pools and end: before it is uninstalled.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def command(
    namespace: str,
    image: str,
    pull_policy: str,
    pull_secrets: tuple[str, ...],
    kubeconfig: Path | None,
    context: str | None,
    identity: str,
    lease: bool,
    health_port: int,
    resync_seconds: float,
    probe_seconds: float,
    farewell: bool,
    verbose: bool,
) -> None:
    """Turn the manifests in a cluster into running pools, there and in its regions."""
    import secrets
    import socket

    from pithead.telemetry import configure_logging
    from pithead_operator.desired.inputs import Release
    from pithead_operator.farewell import say_farewell
    from pithead_operator.process import EXIT_UNUSABLE, Process, Unusable
    from pithead_operator.settings import OperatorSettings

    if not image and not farewell:
        raise click.UsageError("give --image, the image of the pods that are made")
    configure_logging("operator", verbose=verbose)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    settings = OperatorSettings(
        namespace=namespace,
        release=Release(image, pull_policy, pull_secrets),
        kubeconfig=kubeconfig,
        context=context,
        identity=identity or f"{socket.gethostname()}-{secrets.token_hex(4)}",
        lease=lease,
        health_port=health_port,
        resync_seconds=resync_seconds,
        probe_seconds=probe_seconds,
    )
    try:
        sys.exit(asyncio.run(say_farewell(settings) if farewell else Process(settings).run()))
    except Unusable as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_UNUSABLE)
