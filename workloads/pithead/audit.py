"""Recomputes what a running pool has counted, split and booked; behind `pithead audit`.

Each look is by the package that owns the data, from the rawest source there is:
cells from the share log, where that is gone from the archive, the archive from its own
bytes, splits from their windows (out of the cells, and out of the archive) and the
chain, balances from the ledger's entries. Nothing is changed, whatever is found.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import click
import grpc
import msgspec

from pithead.coins.node import NodeError, RpcNode
from pithead.coins.registry import chain_params
from pithead.config import LedgerSettings, RewardsSettings, SettingsError, SharesSettings, load
from pithead.config.share_log import open_log
from pithead.contracts import accounting_pb2_grpc, ledger_pb2_grpc
from pithead.ledger.verify import verify
from pithead.log.errors import LogError
from pithead.process import EXIT_FAILED
from pithead.rewards.audit import recompute_splits
from pithead.rewards.database import Database
from pithead.rewards.nodes import Nodes
from pithead.rpc import channel
from pithead.shares.audit import audit_pools, describe, sentence
from pithead.shares.recount import LogShrank
from pithead.store import StoreError, open_store
from pithead.up.datadir import DataDirError
from pithead.up.report import NotRunning, running

SHOWN_MAX = 50
"""Differences printed as text of each look; JSON has all."""


class Look(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    checked: str
    """What was compared, for people."""
    differences: list[str]
    unable: str = ""
    """Why nothing could be said, with the remedy; empty when it could."""

    @property
    def sound(self) -> bool:
        """Whether it was looked at and nothing was found."""
        return not self.differences and not self.unable


def run_audit(data: Path, *, as_json: bool) -> int:
    """Audit a running pool; exit code 1 when anything differs or could not be looked at."""
    try:
        running(data)
        looks = asyncio.run(_audit(data.absolute() / "config"))
    except (NotRunning, DataDirError, SettingsError) as error:
        click.echo(f"pithead audit: {error}", err=True)
        return EXIT_FAILED
    if as_json:
        document = {"sound": all(look.sound for look in looks), "looks": looks}
        text = msgspec.json.format(msgspec.json.encode(document), indent=2)
        sys.stdout.buffer.write(text + b"\n")
    else:
        for look in looks:
            _print(look)
    return 0 if all(look.sound for look in looks) else EXIT_FAILED


def _print(look: Look) -> None:
    if look.unable:
        click.echo(f"{look.name}: could not be audited: {look.unable}")
    elif look.differences:
        click.echo(f"{look.name}: {len(look.differences)} differences in {look.checked}")
    else:
        click.echo(f"{look.name}: sound, {look.checked}")
    for difference in look.differences[:SHOWN_MAX]:
        click.echo(f"  {difference}")
    if len(look.differences) > SHOWN_MAX:
        click.echo(f"  and {len(look.differences) - SHOWN_MAX} more; -o json lists all")


async def _audit(config: Path) -> list[Look]:
    rewards = load(config / "rewards.json", RewardsSettings)
    return [
        *await _shares(load(config / "shares.json", SharesSettings)),
        *[await _splits(rewards, index) for index in range(len(rewards.coins))],
        await _book(load(config / "ledger.json", LedgerSettings)),
    ]


async def _shares(settings: SharesSettings) -> list[Look]:
    engine = open_store(settings.database)
    try:
        audits = await audit_pools(engine, open_log(settings.log))
    except (LogError, LogShrank, StoreError) as error:
        return [Look("cells", "the share log", [], str(error))]
    finally:
        await engine.dispose()
    return [
        Look("cells", describe(audits), [sentence(one) for each in audits for one in each.cells]),
        Look(
            "archive",
            "the chain of sealed heights recomputed from its bytes, up to "
            + (
                ", ".join(f"height {each.archived_height} of {each.pool}" for each in audits) or "-"
            ),
            [f"{each.pool}: {fault}" for each in audits for fault in each.archive],
        ),
    ]


async def _splits(settings: RewardsSettings, index: int) -> Look:
    coin = settings.coins[index]
    name = f"splits of {coin.key}"
    engine = open_store(settings.database)
    try:
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(RpcNode(node)) for node in coin.nodes]
            shares = await stack.enter_async_context(channel(settings.shares))
            ledger = await stack.enter_async_context(channel(settings.ledger))
            audited = await recompute_splits(
                Database(engine),
                coin.key,
                Nodes(chain_params(coin.coin, coin.network), nodes),
                accounting_pb2_grpc.AccountingStub(shares),
                ledger_pb2_grpc.LedgerStub(ledger),
            )
    except grpc.aio.AioRpcError as error:
        return Look(name, "", [], f"a service did not answer: {error.details()}; try again")
    except (NodeError, StoreError) as error:
        return Look(name, "", [], str(error))
    finally:
        await engine.dispose()
    return Look(
        name,
        f"{audited.splits} splits recomputed from their windows, {audited.entries} ledger "
        "entries and the chain compared",
        [
            f"{each.what} of {each.where}: expected {each.expected}, got {each.got}"
            for each in audited.differences
        ],
    )


async def _book(settings: LedgerSettings) -> Look:
    engine = open_store(settings.database)
    try:
        found = await verify(engine)
    except StoreError as error:
        return Look("ledger", "", [], str(error))
    finally:
        await engine.dispose()
    return Look(
        "ledger",
        "balances, sums and the chain of hashes recomputed from all entries",
        [str(each) for each in found],
    )
