"""Answers for `pithead payouts run | adopt | list`: by the database, without a running service."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from google.protobuf.json_format import MessageToDict

from pithead.config import PayoutsSettings, Unusable, load
from pithead.contracts import payouts_pb2
from pithead.payouts.single import adopt, list_payouts, run_pass
from pithead.process import EXIT_FAILED, EXIT_UNUSABLE, TaskFailed, run_task
from pithead.store import StoreError

ResultT = TypeVar("ResultT")


def run_payouts(config: Path, coin: str, *, within_s: float, result: Path | None) -> int:
    """Take one pass of a coin; return the exit code."""
    work = partial(run_pass, coin=coin, within_s=within_s)
    return run_task(f"payouts-{coin}", config, PayoutsSettings, work, result=result)


def adopt_directly(config: Path, coin: str, txid: str, reason: str) -> int:
    """Explain a foreign outgoing transaction; return the exit code."""
    return _ask("adopt", config, lambda settings: adopt(settings, coin, txid, reason), click.echo)


def print_payouts(config: Path, limit: int, *, as_json: bool) -> int:
    """Print the newest payouts; return the exit code."""

    def show(payouts: list[payouts_pb2.Payout]) -> None:
        if as_json:
            found = [MessageToDict(payout) for payout in payouts]
            text = msgspec.json.format(msgspec.json.encode({"payouts": found}), indent=2)
            sys.stdout.buffer.write(text + b"\n")
            return
        for payout in payouts:
            click.echo(_line(payout))

    return _ask("list", config, lambda settings: list_payouts(settings, limit), show)


def _line(payout: payouts_pb2.Payout) -> str:
    state = payouts_pb2.PayoutState.Name(payout.state).removeprefix("PAYOUT_").lower()
    said = f": {payout.trouble}" if payout.trouble else ""
    return (
        f"{payout.id} {state} {payout.coin} amount {payout.amount} fee {payout.network_fee} "
        f"payees {len(payout.payments)} confirmations {payout.confirmations} "
        f"{payout.txid or '(no transaction)'}{said}"
    )


def _ask(
    name: str,
    config: Path,
    work: Callable[[PayoutsSettings], Awaitable[ResultT]],
    show: Callable[[ResultT], object],
) -> int:
    async def asked(settings: PayoutsSettings) -> ResultT:
        return await work(settings)

    try:
        show(asyncio.run(asked(load(config, PayoutsSettings))))
    except (TaskFailed, Unusable, StoreError) as error:
        click.echo(f"pithead payouts {name}: {error}", err=True)
        return EXIT_UNUSABLE if isinstance(error, Unusable) else EXIT_FAILED
    return 0
