"""Answers from the tables: windows, seals, sessions, accounts, counters.

A window is read in one snapshot: first the sums of groups, newest first and a
few heights at a time until there is enough, then the sums of accounts. The
database adds; memory is bounded by groups of the window and by accounts. What
lies where cells are merged over minutes is read out of the archive, one height
at a time; so is all of a window that is asked for out of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.archive.book import (
    EARNING,
    NO_HEIGHT,
    compacted_height,
    hash_at,
    walk_down,
)
from pithead.shares.archive.windows import ArchivedWindow
from pithead.shares.booking import CREDITED
from pithead.shares.states import ProducerState, SegmentState
from pithead.shares.window import AccountWeight, Cut, GroupKey, cut, window_hash
from pithead.store import wide_parts, wide_total

HEIGHTS_AT_ONCE = 32


NEWEST_SEGMENTS = 50
"""Segments among which the newest is looked for: far more than forks at a tip ever have."""

ASIDE_MAX = 100
"""Records set aside that are listed, newest first."""

_CELLS = schema.cells.c
_SEGMENTS = schema.segments.c
_IN_TIME = _CELLS.seal == 0


@dataclass(frozen=True, slots=True)
class WindowQuestion:
    """A window of a scheme that ends with the segment of a block."""

    pool: str
    scheme: str
    height: int
    parent: bytes
    weight: int
    archived: bool = False
    """Out of the archive alone."""


@dataclass(frozen=True, slots=True)
class WindowAnswer:
    """The window; final when `sealed`."""

    taken: Cut
    accounts: list[AccountWeight]
    sealed: bool
    hash: bytes
    archive_hash: bytes
    """Of the block's height; empty until it is archived."""


class UnknownName(LookupError):
    """Raised for a pool or scheme that accounting was not told of."""


class NotArchived(LookupError):
    """Raised for a window out of the archive that does not hold the block's height yet."""


async def pool_row(connection: AsyncConnection, pool: str) -> Any:
    """The row of a pool by poolId; UnknownName."""
    table = schema.pools
    row = (await connection.execute(select(table).where(table.c.pool == pool))).first()
    if row is None:
        raise UnknownName(f"pool {pool} is unknown to accounting")
    return row


async def read_window(connection: AsyncConnection, question: WindowQuestion) -> WindowAnswer:
    """Cut a window, in the caller's read transaction.

    UnknownName, NotArchived, ValueError for W < 1; ArchiveDamaged.
    """
    pool = await pool_row(connection, question.pool)
    revisions = (
        await connection.scalars(
            select(schema.revisions.c.id).where(
                schema.revisions.c.pool == pool.id, schema.revisions.c.scheme == question.scheme
            )
        )
    ).all()
    if not revisions:
        raise UnknownName(f"pool {question.pool} has no scheme {question.scheme}")
    archive_hash = await hash_at(connection, pool.id, pool.pool, pool.first_height, question.height)
    if question.archived and not archive_hash:
        raise NotArchived(f"height {question.height} of pool {question.pool} is not archived yet")
    # Cells are read above this height only, what is below comes out of the archive.
    floor = question.height
    if not question.archived:
        floor = await compacted_height(connection, pool.id)
    inside = and_(
        _CELLS.pool == pool.id,
        _CELLS.height > floor,
        _CELLS.revision.in_(revisions),
        _SEGMENTS.state.in_(EARNING),
        _up_to(question.height, question.parent),
    )
    groups = await _groups(connection, pool.id, inside, question, floor)
    older = ArchivedWindow(question.scheme, question.height, question.parent)
    if floor > NO_HEIGHT:
        missing = question.weight - sum(weight for _, weight in groups)
        await _take_archived(connection, pool.id, older, min(floor, question.height), missing)
    taken = cut(groups + older.groups, question.weight)
    accounts: list[AccountWeight] = []
    if taken.oldest is not None:
        newer = await _accounts(connection, inside, taken.oldest) if groups else []
        accounts = _merged(newer, *older.accounts(taken.oldest))
    sealed = pool.sealed_height is not None and pool.sealed_height >= question.height
    digest = window_hash(
        pool=question.pool,
        scheme=question.scheme,
        height=question.height,
        parent=question.parent,
        weight=question.weight,
        taken=taken,
        accounts=accounts,
    )
    return WindowAnswer(taken, accounts, sealed, digest, archive_hash)


async def _take_archived(
    connection: AsyncConnection, pool: int, window: ArchivedWindow, height: int, missing: int
) -> None:
    """Take archived heights downwards until the window has what is missing."""
    if missing <= 0:
        return
    async for one in walk_down(connection, pool, height, window.scheme):
        window.take(one.first_height, one.rows(), one.ids)
        if window.weight >= missing:
            return


def _merged(
    newer: list[AccountWeight], full: dict[int, int], last: dict[int, int]
) -> list[AccountWeight]:
    """Accounts' weights out of cells and out of the archive, by id."""
    for entry in newer:
        full[entry.account] = full.get(entry.account, 0) + entry.full
        last[entry.account] = last.get(entry.account, 0) + entry.last
    return [
        AccountWeight(account, full.get(account, 0), last.get(account, 0))
        for account in sorted(full.keys() | last.keys())
    ]


def _up_to(height: int, parent: bytes) -> ColumnElement[bool]:
    """Groups up to the last one of the block's own segment, in the pool's order."""
    return or_(
        _CELLS.height < height,
        and_(_CELLS.height == height, or_(~_IN_TIME, _SEGMENTS.parent <= parent)),
    )


def _newer_than(key: GroupKey) -> ColumnElement[bool]:
    same_height = _CELLS.height == key.height
    if not key.in_time:
        return or_(_CELLS.height > key.height, and_(same_height, _IN_TIME))
    later = or_(
        _SEGMENTS.parent > key.parent,
        and_(_SEGMENTS.parent == key.parent, _CELLS.minute > key.minute),
    )
    return or_(_CELLS.height > key.height, and_(same_height, _IN_TIME, later))


def _member_of(key: GroupKey) -> ColumnElement[bool]:
    same_height = _CELLS.height == key.height
    if not key.in_time:
        return and_(same_height, ~_IN_TIME)
    return and_(same_height, _IN_TIME, _SEGMENTS.parent == key.parent, _CELLS.minute == key.minute)


def _from_cells(columns: Iterable[Any]) -> Select[Any]:
    return select(*columns).select_from(
        schema.cells.join(schema.segments, _CELLS.segment == _SEGMENTS.id)
    )


async def _groups(
    connection: AsyncConnection,
    pool: int,
    inside: ColumnElement[bool],
    question: WindowQuestion,
    floor: int,
) -> list[tuple[GroupKey, int]]:
    """Sums of groups, newest first, at least as many as reach the window's weight."""
    groups: list[tuple[GroupKey, int]] = []
    total = 0
    below = question.height + 1
    while total < question.weight:
        heights = (
            await connection.scalars(
                select(_CELLS.height)
                .where(_CELLS.pool == pool, _CELLS.height > floor, _CELLS.height < below)
                .distinct()
                .order_by(_CELLS.height.desc())
                .limit(HEIGHTS_AT_ONCE)
            )
        ).all()
        if not heights:
            break
        found = await _groups_between(connection, inside, heights[-1], below)
        groups += found
        total += sum(weight for _, weight in found)
        below = heights[-1]
    return groups


async def _groups_between(
    connection: AsyncConnection, inside: ColumnElement[bool], lowest: int, below: int
) -> list[tuple[GroupKey, int]]:
    in_time = case((_IN_TIME, 1), else_=0).label("in_time")
    parent = case((_IN_TIME, _SEGMENTS.parent), else_=literal(b"")).label("group_parent")
    minute = case((_IN_TIME, _CELLS.minute), else_=0).label("group_minute")
    high, low = wide_parts(_CELLS.weight)
    rows = await connection.execute(
        _from_cells((_CELLS.height, in_time, parent, minute, high, low))
        .where(inside, _CELLS.height >= lowest, _CELLS.height < below)
        .group_by(_CELLS.height, in_time, parent, minute)
    )
    groups = [
        (GroupKey(row[0], bool(row[1]), bytes(row[2]), row[3]), wide_total(row[4], row[5]))
        for row in rows
    ]
    groups.sort(reverse=True)
    return groups


async def _accounts(
    connection: AsyncConnection, inside: ColumnElement[bool], oldest: GroupKey
) -> list[AccountWeight]:
    """Sums of accounts by id: before the oldest group, and in it."""
    full = wide_parts(case((_newer_than(oldest), _CELLS.weight), else_=0))
    last = wide_parts(case((_member_of(oldest), _CELLS.weight), else_=0))
    rows = await connection.execute(
        _from_cells((_CELLS.account, *full, *last))
        .where(inside, or_(_newer_than(oldest), _member_of(oldest)), _CELLS.height >= oldest.height)
        .group_by(_CELLS.account)
        .order_by(_CELLS.account)
    )
    return [
        AccountWeight(row[0], wide_total(row[1], row[2]), wide_total(row[3], row[4]))
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What only a person can end, of one pool."""

    producers: list[Any]
    """Rows of open producers with the number of `missing` batches."""
    segments: list[tuple[int, bytes, int, int]]
    """(id, parent, height, weight of the pool's shares) of disputed ones."""
    set_aside: list[Any]


@dataclass(frozen=True, slots=True)
class SealState:
    """How far a pool is sealed and archived; None before the first seal."""

    sealed_height: int | None
    open_producers: int
    archived_height: int | None


async def read_newest(connection: AsyncConnection, pool: str) -> Any | None:
    """(height, parent, bits) that the newest jobs build on; None before any. UnknownName."""
    row = await pool_row(connection, pool)
    # By id, which has an index, and only then by height: a segment of before is never newer.
    newest = (
        select(_SEGMENTS.id, _SEGMENTS.height, _SEGMENTS.parent, _SEGMENTS.bits)
        .where(_SEGMENTS.coin == row.coin, _SEGMENTS.state.in_(EARNING))
        .order_by(_SEGMENTS.id.desc())
        .limit(NEWEST_SEGMENTS)
    )
    rows = (await connection.execute(newest)).all()
    return max(rows, key=lambda found: (found.height, found.id), default=None)


async def read_seals(connection: AsyncConnection, pool: str) -> SealState:
    """UnknownName for a pool that accounting was not told of."""
    row = await pool_row(connection, pool)
    sealed = await connection.scalar(
        select(func.max(schema.seals.c.last_height)).where(schema.seals.c.pool == row.id)
    )
    producers = schema.producers.c
    count = await connection.scalar(
        select(func.count())
        .select_from(schema.producers)
        .where(producers.pool == row.id, producers.state == ProducerState.OPEN)
    )
    archived = await connection.scalar(
        select(func.max(schema.archives.c.last_height)).where(schema.archives.c.pool == row.id)
    )
    return SealState(sealed, int(count or 0), archived)


async def read_waiting(connection: AsyncConnection, pool: str) -> Waiting:
    """What a person may have to decide. UnknownName."""
    row = await pool_row(connection, pool)
    producers, gaps = schema.producers.c, schema.missing.c
    missing = func.coalesce(func.sum(gaps.last - gaps.first + 1), 0).label("missing")
    opened = await connection.execute(
        select(schema.producers, missing)
        .select_from(
            schema.producers.outerjoin(schema.missing, gaps.producer == producers.producer)
        )
        .where(producers.pool == row.id, producers.state == ProducerState.OPEN)
        .group_by(*producers)
        .order_by(producers.last_ms)
    )
    high, low = wide_parts(_CELLS.weight)
    disputed = await connection.execute(
        select(_SEGMENTS.id, _SEGMENTS.parent, _SEGMENTS.height, high, low)
        .select_from(
            schema.segments.outerjoin(
                schema.cells, and_(_CELLS.segment == _SEGMENTS.id, _CELLS.pool == row.id)
            )
        )
        .where(_SEGMENTS.coin == row.coin, _SEGMENTS.state == SegmentState.DISPUTED)
        .group_by(_SEGMENTS.id, _SEGMENTS.parent, _SEGMENTS.height)
        .order_by(_SEGMENTS.id)
    )
    aside = schema.set_aside.c
    records = await connection.execute(
        select(aside.partition, aside.position, aside.reason, aside.at_ms)
        .where(aside.topic == shares_topic(pool))
        .order_by(aside.at_ms.desc(), aside.partition, aside.position.desc())
        .limit(ASIDE_MAX)
    )
    return Waiting(
        producers=list(opened.all()),
        segments=[
            (entry[0], bytes(entry[1]), entry[2], wide_total(entry[3], entry[4]))
            for entry in disputed
        ],
        set_aside=list(records.all()),
    )


async def read_session(
    connection: AsyncConnection, producer: bytes, extranonce1: bytes
) -> Any | None:
    """(login, worker, account) of a connection, None when unknown."""
    sessions, accounts = schema.sessions.c, schema.accounts.c
    return (
        await connection.execute(
            select(accounts.login, sessions.worker, sessions.account)
            .select_from(schema.sessions.join(schema.accounts, sessions.account == accounts.id))
            .where(sessions.producer == producer, sessions.extranonce1 == extranonce1)
        )
    ).first()


@dataclass(frozen=True, slots=True)
class AccountCount:
    """Credited shares of an account in a pool."""

    account: int
    login: str
    shares: int
    weight: int


async def read_counters(
    connection: AsyncConnection, pool: str
) -> tuple[dict[int, int], list[AccountCount]]:
    """Counts of a pool by reason, and its accounts' credited shares by id. UnknownName."""
    row = await pool_row(connection, pool)
    table = schema.counters.c
    totals = await connection.execute(
        select(table.reason, func.sum(table.count))
        .where(table.pool == row.id)
        .group_by(table.reason)
    )
    counts = {entry[0]: int(entry[1]) for entry in totals}
    rows = await connection.execute(
        select(table.account, schema.accounts.c.login, table.count, table.weight)
        .select_from(schema.counters.join(schema.accounts, table.account == schema.accounts.c.id))
        .where(table.pool == row.id, table.reason == CREDITED)
        .order_by(table.account)
    )
    return counts, [AccountCount(*entry) for entry in rows]
