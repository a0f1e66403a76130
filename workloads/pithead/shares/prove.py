"""Runs `pithead shares verify` and `pithead shares replay` over a database and log.

Both read what a service of `pithead shares` is configured with and need it neither
running nor stopped. Nothing but the database to build in is ever changed.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from sqlalchemy.exc import DBAPIError

from pithead.config import AnalyticsSettings, SettingsError, SharesSettings, load
from pithead.config.columnar import open_columnar
from pithead.config.share_log import open_log
from pithead.log.errors import LogError
from pithead.process import EXIT_FAILED
from pithead.shares.analytics.verify import (
    ChartDifference,
    ChartsMoving,
    PoolCharts,
    compare_charts,
)
from pithead.shares.audit import Difference, PoolAudit, audit_pools, describe, sentence
from pithead.shares.recount import LogShrank
from pithead.shares.replay import Replayed, ReplayRefused, replay
from pithead.shares.schema import REVISION
from pithead.store import StoreError, check_version, open_store
from pithead.store.columnar import ColumnarError
from pithead.store.migrate import migrate

MOVES_MAX = 20
MOVE_S = 0.5
"""Analytics writes every few seconds for a moment: between two plans there is time to ask."""

SHOWN_MAX = 50
"""Differences printed as text; JSON has all."""

NO_SETTINGS = "no settings of analytics"
"""Why charts are not compared when nobody says where they are."""

TROUBLE = (SettingsError, LogError, LogShrank, StoreError, ReplayRefused, DBAPIError)
"""What keeps a proof from being made; each says why in a sentence."""


def run_verify(config: Path, analytics: Path | None, *, as_json: bool) -> int:
    """Compare log, cells, archive and charts; exit code 1 when anything differs.

    `analytics` are the settings of that process, None where there are none. Charts that
    are not compared are told, with the reason, and are no failure: no money is in them.
    """
    try:
        audits = asyncio.run(_verify(config))
        charts, unread = (
            asyncio.run(_charts(analytics)) if analytics is not None else ([], NO_SETTINGS)
        )
    except TROUBLE as error:
        click.echo(f"pithead shares verify: {_reason(error)}", err=True)
        return EXIT_FAILED
    differences = [one for audit in audits for one in _differences(audit)]
    differences += [_chart(one) for each in charts for one in each.differences]
    if as_json:
        document = {
            "sound": not differences,
            "pools": [_document(one) for one in audits],
            "charts": {
                "compared": bool(charts),
                "reason": unread,
                "differences": [_chart(one) for each in charts for one in each.differences],
            },
        }
        _print_json(document)
    else:
        checked = "; ".join([describe(audits), *(_charted(one) for one in charts)])
        _print_text("verify", checked, [str(one["text"]) for one in differences])
        if unread:
            click.echo(f"charts: not compared: {unread}")
    return EXIT_FAILED if differences else 0


async def _verify(config: Path) -> list[PoolAudit]:
    settings = load(config, SharesSettings)
    engine = open_store(settings.database)
    try:
        await check_version(engine, REVISION)
        return await audit_pools(engine, open_log(settings.log))
    finally:
        await engine.dispose()


async def _charts(config: Path) -> tuple[list[PoolCharts], str]:
    """What comes of comparing the columnar tables, or why they cannot be read now."""
    settings = load(config, AnalyticsSettings)
    engine = open_store(settings.database)
    try:
        door = await open_columnar(settings.store)
        try:
            for attempt in range(MOVES_MAX):
                try:
                    return await compare_charts(engine, open_log(settings.log), door), ""
                except ChartsMoving:
                    if attempt == MOVES_MAX - 1:
                        raise
                    await asyncio.sleep(MOVE_S)
            return [], ""
        finally:
            await door.close()
    except ChartsMoving as error:
        return [], str(error)
    except ColumnarError as error:
        hint = "its directory belongs to the process that runs; stop the pool and verify again"
        embedded = settings.store.directory is not None
        return [], f"{error}" + (f" ({hint})" if embedded else "")
    finally:
        await engine.dispose()


def _chart(one: ChartDifference) -> dict[str, Any]:
    whose = f"account {one.account} ({one.login or 'unknown'})" if one.account else "all accounts"
    first, second = one.sides
    return {
        "pool": one.pool,
        "what": "chart",
        "account": one.account,
        "login": one.login,
        "minute": one.second // 60,
        "says": {
            side: {"weight": str(work), "shares": shares}
            for side, (shares, work) in zip(one.sides, (one.expected, one.got), strict=True)
        },
        "text": f"{one.pool}: charts: {whose}, from minute {one.second // 60}: {first} has shares "
        f"and weight {one.expected}, {second} {one.got}",
    }


def _charted(one: PoolCharts) -> str:
    text = f"charts of {one.pool} compared with {one.batches} batches"
    if one.whole_from_s:
        text += f" (the log is whole from minute {one.whole_from_s // 60} on)"
    return text


def _differences(audit: PoolAudit) -> list[dict[str, Any]]:
    return [
        *(_cell(one) for one in audit.cells),
        *(
            {"pool": audit.pool, "what": "archive", "text": f"{audit.pool}: archive: {fault}"}
            for fault in audit.archive
        ),
    ]


def _cell(one: Difference) -> dict[str, Any]:
    return {
        "pool": one.pool,
        "what": "cell",
        "account": one.kind.account,
        "login": one.login,
        "height": one.kind.height,
        "seal": one.kind.seal,
        "segment": one.kind.segment,
        "revision": one.kind.revision,
        "minute": one.minute,
        "says": {
            side: {"weight": str(weight), "shares": shares}
            for side, (weight, shares) in zip(one.sides, (one.expected, one.got), strict=True)
        },
        "text": sentence(one),
    }


def _document(audit: PoolAudit) -> dict[str, Any]:
    return {
        "pool": audit.pool,
        "batches": audit.batches,
        "lostBatches": audit.lost,
        "boundedUpTo": audit.bounded_up_to,
        "archivedHeight": audit.archived_height,
        "compactedHeight": audit.compacted_height,
        "differences": _differences(audit),
    }


def run_replay(config: Path, into: str, *, from_archive: bool, as_json: bool) -> int:
    """Build the tables again in an empty database; exit code 1 when they are not identical."""
    url = into if "://" in into else f"sqlite+aiosqlite:///{Path(into).absolute()}"
    try:
        built = asyncio.run(_replay(config, url, from_archive=from_archive))
    except TROUBLE as error:
        click.echo(f"pithead shares replay: {_reason(error)}", err=True)
        return EXIT_FAILED
    differences = [f"{one.pool}: {text}" for one in built for text in one.differences]
    if as_json:
        _print_json({"identical": not differences, "pools": built})
    else:
        _print_text("replay", "; ".join(_built(one) for one in built) or "no pool", differences)
    return EXIT_FAILED if differences else 0


async def _replay(config: Path, into: str, *, from_archive: bool) -> list[Replayed]:
    settings = load(config, SharesSettings)
    source = open_store(settings.database)
    try:
        await check_version(source, REVISION)
        await migrate(into, "pithead.shares")
        target = open_store(into)
        try:
            return await replay(
                source,
                open_log(settings.log),
                target,
                from_archive=from_archive,
                now_ms=time.time_ns() // 1_000_000,
            )
        finally:
            await target.dispose()
    finally:
        await source.dispose()


def _built(one: Replayed) -> str:
    text = (
        f"{one.pool}: {one.cells} cells built from the {one.source}, archived up to height "
        f"{one.archived_height}"
    )
    return f"{text}; copied: {', '.join(one.copied)}" if one.copied else text


def _reason(error: Exception) -> str:
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)


def _print_json(document: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.buffer.write(text + b"\n")


def _print_text(command: str, checked: str, differences: Sequence[str]) -> None:
    if not differences:
        click.echo(f"{command}: sound: {checked}")
        return
    click.echo(f"{command}: {len(differences)} differences: {checked}")
    for difference in differences[:SHOWN_MAX]:
        click.echo(f"  {difference}")
    if len(differences) > SHOWN_MAX:
        click.echo(f"  and {len(differences) - SHOWN_MAX} more; -o json lists all")
