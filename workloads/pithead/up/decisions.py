"""Shows what a running pool's accounting waits for, and hands it a person's decision.

Behind `pithead shares waiting|close|decide`. The share processor carries decisions
out and keeps who made them and why; nothing is decided here. Where it runs in a
cluster its settings say enough to ask its database (`pithead.shares.beside`).
"""

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import grpc
import msgspec

from pithead.coins.registry import BrokenCoin, UnknownCoin
from pithead.config import SettingsError, SharesSettings, load
from pithead.contracts import accounting_pb2, accounting_pb2_grpc
from pithead.process import EXIT_FAILED
from pithead.rpc import channel
from pithead.shares.beside import accounting_of
from pithead.store import StoreError
from pithead.up.datadir import DataDirError
from pithead.up.report import NotRunning, running

LIMIT_S = 30.0

Ask = Callable[[Any, Sequence[str]], Awaitable[str]]
"""What to ask the share processor's stub of these poolIds; returns the text to print."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which accounting is meant: of a data directory, or of settings when there are some."""

    data: Path
    config: Path | None = None
    who: str = ""
    """In whose name to decide; empty: the user of the system."""


def print_waiting(where: Where, *, as_json: bool) -> int:
    """Print open producers, disputed segments and records set aside of all pools."""

    async def ask(stub: Any, pools: Sequence[str]) -> str:
        documents = []
        for pool in pools:
            request = accounting_pb2.WaitingRequest(pool=pool)
            reply = await stub.Waiting(request, timeout=LIMIT_S)
            documents.append(_document(pool, reply))
        if as_json:
            return msgspec.json.format(msgspec.json.encode(documents), indent=2).decode()
        return "\n".join(line for document in documents for line in _lines(document))

    return ask_shares("waiting", where, ask)


def close_producer(where: Where, producer: str, reason: str) -> int:
    """Let seals no longer wait for a producer."""
    try:
        identity = bytes.fromhex(producer)
    except ValueError:
        raise click.UsageError(f"{producer!r} is no producer: it has 32 hex digits") from None
    return decide(
        "close",
        where,
        accounting_pb2.DecideRequest(
            decision=accounting_pb2.DECISION_CLOSE_PRODUCER, producer=identity, reason=reason
        ),
    )


def decide_segment(where: Where, segment: int, reason: str, *, right: bool) -> int:
    """Decide whether the shares of a disputed segment earn."""
    return decide(
        "decide",
        where,
        accounting_pb2.DecideRequest(
            decision=accounting_pb2.DECISION_SEGMENT_RIGHT
            if right
            else accounting_pb2.DECISION_SEGMENT_WRONG,
            segment=segment,
            reason=reason,
        ),
    )


def decide(command: str, where: Where, request: accounting_pb2.DecideRequest) -> int:
    """Hand over a decision in the name of who asks."""
    request.who = where.who or _user()

    async def ask(stub: Any, _pools: Sequence[str]) -> str:
        reply = await stub.Decide(request, timeout=LIMIT_S)
        return str(reply.outcome)

    return ask_shares(command, where, ask)


def ask_shares(command: str, where: Where, ask: Ask) -> int:
    """Print what `ask` makes of the share processor's answers; return the exit code."""

    async def call() -> str:
        if where.config is not None:
            settings = load(where.config, SharesSettings)
            async with accounting_of(settings) as stub:
                return await ask(stub, [pool.pool for pool in settings.pools])
        runtime = running(where.data)
        async with channel(runtime.shares) as opened:
            stub = accounting_pb2_grpc.AccountingStub(opened)
            return await ask(stub, [pool.pool for pool in runtime.pools])

    try:
        sys.stdout.write(asyncio.run(call()) + "\n")
    except _CANNOT as error:
        click.echo(f"pithead shares {command}: {error}", err=True)
        return EXIT_FAILED
    except grpc.aio.AioRpcError as error:
        click.echo(f"pithead shares {command}: {error.details()}", err=True)
        return EXIT_FAILED
    return 0


_CANNOT = (NotRunning, DataDirError, SettingsError, StoreError, UnknownCoin, BrokenCoin)


def _user() -> str:
    """Name of the system's user; one without a name, as in a container, goes by number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _document(pool: str, reply: accounting_pb2.WaitingReply) -> dict[str, Any]:
    return {
        "pool": pool,
        "producers": [
            {
                "producer": row.producer.hex(),
                "region": row.region,
                "partition": row.partition,
                "missingBatches": row.missing,
                "promise": row.promise,
                "lastMs": row.last_ms,
            }
            for row in reply.producers
        ],
        "disputedSegments": [
            {
                "segment": row.id,
                "parent": row.parent[::-1].hex(),
                "height": row.height,
                "weight": row.weight,
            }
            for row in reply.segments
        ],
        "setAside": [
            {
                "partition": row.partition,
                "position": row.position,
                "reason": row.reason,
                "atMs": row.at_ms,
            }
            for row in reply.set_aside
        ],
    }


def _lines(document: dict[str, Any]) -> list[str]:
    return [
        f"{document['pool']}:",
        *(
            f"  producer {row['producer']} in {row['partition']}: seals stay below height "
            f"{row['promise']}, {row['missingBatches']} batches missing"
            for row in document["producers"]
        ),
        *(
            f"  segment {row['segment']} at height {row['height']} on {row['parent']} is disputed; "
            f"it holds weight {row['weight']}"
            for row in document["disputedSegments"]
        ),
        *(
            f"  record {row['position']} of {row['partition']} is set aside: {row['reason']}"
            for row in document["setAside"]
        ),
    ]
