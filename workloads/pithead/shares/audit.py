"""Compares the log, the cells and the archive of all pools, and names what differs.

Cells are counted again from the log, the archive from its own bytes. Where both
reach, the log is compared with the archive (and the archive with the table);
where the archive does not reach yet, with the table. A log that was truncated,
read twice or exchanged says less: then its sums are compared without their seals,
and for segments of which it may lack batches it must not hold more than what was
counted; for these the archive stands in, which the table must agree with cell by
cell. Cells whose minutes are merged are compared as sums over minutes.

A pool's tables are read in one snapshot, then its log up to the positions of that
snapshot, so the service may run meanwhile. Nothing is changed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.share_log import LogReader, ShareLog
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.archive.book import compacted_height
from pithead.shares.archive.proof import Proven, prove
from pithead.shares.fold import CellKind
from pithead.shares.recount import Cells, Counted, Facts, count, read_facts
from pithead.store import reading

KeyT = TypeVar("KeyT")


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell in which two sides do not agree; (weight, shares) of each, zeros when absent.

    Height and seal of a kind are 0 where they were left out of the comparison, and
    the minute is None where minutes are merged.
    """

    pool: str
    kind: CellKind
    minute: int | None
    sides: tuple[str, str]
    """`log`, `archive` or `table`, the rawer one first."""
    expected: tuple[int, int]
    got: tuple[int, int]
    login: str = ""
    """Of the account."""


@dataclass(slots=True)
class PoolAudit:
    """One pool as audited."""

    pool: str
    cells: list[Difference] = field(default_factory=list)
    archive: list[str] = field(default_factory=list)
    """What is wrong with the archive itself."""
    archived_height: int = -1
    batches: int = 0
    """Counted again from the log."""
    lost: int = 0
    """Taken once, and in the log no more."""
    bounded_up_to: int = -1
    """Of segments up to here the log may hold only a part."""
    compacted_height: int = -1


async def audit_pools(store: AsyncEngine, log: ShareLog) -> list[PoolAudit]:
    """Audit every pool of a database. LogError, LogShrank, DBAPIError."""
    async with reading(store) as connection:
        pools = (await connection.scalars(select(schema.pools.c.pool))).all()
    audits = []
    for pool in pools:
        reader = log.reader(shares_topic(pool))
        try:
            audits.append(await _audit_pool(store, reader, pool))
        finally:
            await reader.close()
    return audits


async def recount(store: AsyncEngine, log: ShareLog) -> list[Difference]:
    """All differences between cells of all pools; none when every cell is what the log says."""
    return [one for audit in await audit_pools(store, log) for one in audit.cells]


async def _audit_pool(store: AsyncEngine, reader: LogReader, name: str) -> PoolAudit:
    log = await reader.log_id()
    # The log is read after the snapshot: a server ends transactions that idle for that long.
    async with reading(store) as connection:
        pool = (
            await connection.execute(select(schema.pools).where(schema.pools.c.pool == name))
        ).one()
        facts = await read_facts(connection, pool, log)
        proven = await prove(connection, facts)
        merged = await compacted_height(connection, pool.id)
        table = await read_table(connection, pool.id)
    audit = PoolAudit(name, archive=proven.faults, archived_height=proven.height)
    audit.compacted_height = merged
    audit.cells += _archive_against_table(facts, proven, table, merged)
    counted = await count(facts, reader)
    audit.batches, audit.lost = counted.batches, counted.lost
    audit.bounded_up_to = counted.lost_up_to
    audit.cells += _log_against_counted(facts, counted, proven, table)
    return audit


def reference(facts: Facts, proven: Proven, table: Cells) -> Cells:
    """What was counted, with all minutes: the archive, and of the table what is in no archive."""
    rest = {
        cell: sums
        for cell, sums in table.items()
        if cell[0].height > proven.height or cell[0].segment not in facts.earning
    }
    return rest | proven.cells


def _log_against_counted(
    facts: Facts, counted: Counted, proven: Proven, table: Cells
) -> Iterator[Difference]:
    expected, found = counted.cells, reference(facts, proven, table)
    heights = facts.segment_height()
    exact = not facts.reread and not counted.lost
    if not exact:
        expected, found = without_seals(expected), without_seals(found)
    for cell in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(cell, (0, 0)), found.get(cell, (0, 0))
        kind, minute = cell
        partly = heights.get(kind.segment, 0) <= counted.lost_up_to
        if wanted == got or (partly and wanted[0] <= got[0] and wanted[1] <= got[1]):
            continue
        archived = exact and kind.height <= proven.height and kind.segment in facts.earning
        sides = ("log", "archive" if archived else "table")
        login = proven.login(kind.account)
        yield Difference(facts.name, kind, minute, sides, wanted, got, login)


def _archive_against_table(
    facts: Facts, proven: Proven, table: Cells, merged: int
) -> Iterator[Difference]:
    sealed = {
        cell: sums
        for cell, sums in table.items()
        if cell[0].height <= proven.height and cell[0].segment in facts.earning
    }
    expected, found = split_merged(proven.cells, merged), split_merged(sealed, merged)
    for kind, minute in sorted(expected.keys() | found.keys(), key=_order):
        wanted, got = expected.get((kind, minute), (0, 0)), found.get((kind, minute), (0, 0))
        if wanted != got:
            sides, login = ("archive", "table"), proven.login(kind.account)
            yield Difference(facts.name, kind, minute, sides, wanted, got, login)


def split_merged(cells: Cells, merged: int) -> dict[tuple[CellKind, int | None], tuple[int, int]]:
    """The same sums, over all minutes up to the height `merged`."""
    totals: dict[tuple[CellKind, int | None], tuple[int, int]] = {}
    for (kind, minute), sums in cells.items():
        _put(totals, (kind, None if kind.height <= merged else minute), sums)
    return totals


def without_seals(cells: Cells) -> Cells:
    """The same sums, with height and seal of a cell left out (0)."""
    totals: Cells = {}
    for (kind, minute), sums in cells.items():
        _put(totals, (kind._replace(height=0, seal=0), minute), sums)
    return totals


def _put(totals: dict[KeyT, tuple[int, int]], key: KeyT, sums: tuple[int, int]) -> None:
    before = totals.get(key, (0, 0))
    totals[key] = (before[0] + sums[0], before[1] + sums[1])


def _order(cell: tuple[CellKind, int | None]) -> tuple[CellKind, int]:
    return cell[0], -1 if cell[1] is None else cell[1]


async def read_table(connection: AsyncConnection, pool: int) -> Cells:
    """All cells of a pool."""
    table = schema.cells.c
    rows = await connection.execute(select(schema.cells).where(table.pool == pool))
    return {
        (
            CellKind(row.height, row.seal, row.segment, row.revision, row.account),
            row.minute,
        ): (row.weight, row.shares)
        for row in rows
    }


def sentence(one: Difference) -> str:
    """A difference for people."""
    kind = one.kind
    place = f"account {kind.account} ({one.login or 'unknown'}), revision {kind.revision}, "
    place += f"segment {kind.segment}"
    if kind.height:
        place += f", height {kind.height}" + (" (late)" if kind.seal else "")
    place += ", all minutes" if one.minute is None else f", minute {one.minute}"
    first, second = one.sides
    return (
        f"{one.pool}: {place}: the {first} has weight and shares {one.expected}, "
        f"the {second} {one.got}"
    )


def describe(audits: Iterable[PoolAudit]) -> str:
    """What was compared, in a sentence for people."""
    parts = []
    for audit in audits:
        text = f"{audit.pool}: {audit.batches} batches of the share log counted again"
        if audit.lost:
            text += (
                f", {audit.lost} more are deleted: up to height {audit.bounded_up_to} the archive "
                "stands in for them"
            )
        if audit.lost and audit.bounded_up_to > audit.archived_height:
            text += (
                f", and from {max(audit.archived_height, 0) + 1} on it is only known that nothing "
                "of the log is missing from the cells"
            )
        parts.append(text)
    return "; ".join(parts) or "no pool"
