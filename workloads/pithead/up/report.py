"""Prints what a running pool does, from another terminal."""

import asyncio
import sys
from pathlib import Path

import click
import grpc
import msgspec
from rich.console import Console

from pithead.config import from_json
from pithead.contracts import payouts_pb2, payouts_pb2_grpc
from pithead.process import EXIT_FAILED
from pithead.rpc import channel
from pithead.status import Collector, PoolSnapshot, Runtime, document
from pithead.up.datadir import DataDir, DataDirError
from pithead.up.view import pool_panel

ADOPT_LIMIT_S = 30.0


class NotRunning(Exception):
    """Raised when no `pithead up` holds the data directory; the text says how to start one."""


def running(data: Path) -> Runtime:
    """Read what the runtime of a data directory wrote about itself."""
    directory = DataDir(data)
    if not directory.root.exists():
        raise NotRunning(
            f"{directory.root} does not exist: name the pool's directory with --data DIR, or "
            "start one with: pithead up -f MANIFESTS --data DIR"
        )
    directory.check_version()
    if not directory.is_running():
        raise NotRunning(
            f"no pool runs on {directory.root}: start it with: "
            f"pithead up -f MANIFESTS --data {data}"
        )
    try:
        return from_json(directory.runtime_file.read_bytes(), Runtime)
    except FileNotFoundError:
        try:
            reason = directory.start_file.read_text()
        except FileNotFoundError:
            reason = "try again in a moment"
        raise NotRunning(f"the pool on {directory.root} is still starting: {reason}") from None


async def _collect(runtime: Runtime) -> list[PoolSnapshot]:
    collector = Collector(runtime)
    try:
        return await collector.collect()
    finally:
        await collector.close()


def print_status(data: Path, *, as_json: bool) -> int:
    """Print all pools of a data directory; exit code 1 when none runs."""
    try:
        runtime = running(data)
    except (NotRunning, DataDirError) as error:
        click.echo(f"pithead status: {error}", err=True)
        return EXIT_FAILED
    pools = asyncio.run(_collect(runtime))
    if as_json:
        sys.stdout.buffer.write(
            msgspec.json.format(msgspec.json.encode(document(pools)), indent=2) + b"\n"
        )
        return 0
    console = Console()
    for pool in pools:
        console.print(pool_panel(pool))
    return 0


def adopt_transaction(data: Path, coin: str, txid: str, reason: str) -> int:
    """Tell the payouts service that a foreign outgoing transaction is known and wanted."""

    async def ask(runtime: Runtime) -> str:
        async with channel(runtime.payouts) as open_channel:
            stub = payouts_pb2_grpc.PayoutsStub(open_channel)
            request = payouts_pb2.AdoptRequest(coin=coin, txid=txid, reason=reason)
            reply = await stub.Adopt(request, timeout=ADOPT_LIMIT_S)
            return reply.outcome

    try:
        click.echo(asyncio.run(ask(running(data))))
    except (NotRunning, DataDirError) as error:
        click.echo(f"pithead payouts adopt: {error}", err=True)
        return EXIT_FAILED
    except grpc.aio.AioRpcError as error:
        click.echo(f"pithead payouts adopt: {error.details()}", err=True)
        return EXIT_FAILED
    return 0
