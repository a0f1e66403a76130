"""Reads what checks found, and what accounts worked and found, for people to judge."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.shares import schema
from pithead.shares.archive.book import EARNING
from pithead.shares.query import pool_row
from pithead.shares.withholding import Record, Work
from pithead.store import wide_parts, wide_total

LISTED_MAX = 1000
DOUBTED_MAX = 100


@dataclass(frozen=True, slots=True)
class Checks:
    """Rows of a pool's producers, of unseen failures, and of the coin's doubted segments."""

    producers: list[Any]
    failures: list[Any]
    doubted: list[Any]


async def read_checks(connection: AsyncConnection, pool: str) -> Checks:
    """What came of checking samples again. UnknownName."""
    row = await pool_row(connection, pool)
    checks, failures, segments = schema.checks.c, schema.check_failures.c, schema.segments.c
    producers = await connection.execute(
        select(schema.checks, schema.producers.c.state)
        .select_from(
            schema.checks.outerjoin(
                schema.producers, schema.producers.c.producer == checks.producer
            )
        )
        .where(checks.pool == row.id)
        .order_by((checks.failed > 0).desc(), schema.producers.c.last_ms.desc(), checks.producer)
        .limit(LISTED_MAX)
    )
    unseen = await connection.execute(
        select(schema.check_failures)
        .where(failures.pool == row.id, failures.seen.is_(False))
        .order_by(failures.id.desc())
        .limit(LISTED_MAX)
    )
    doubted = await connection.execute(
        select(segments.id, segments.height, segments.value, segments.doubt)
        .where(segments.coin == row.coin, segments.doubt.is_not(None))
        .order_by(segments.id.desc())
        .limit(DOUBTED_MAX)
    )
    return Checks(list(producers), list(unseen), list(doubted))


async def read_records(
    connection: AsyncConnection, pool: str, from_height: int
) -> tuple[int, str, list[Record]]:
    """(lowest height counted, coin, what each account did there). UnknownName.

    Shares of disputed segments are left out: they prove nothing.
    """
    row = await pool_row(connection, pool)
    first = max(from_height, row.finds_from or 0)
    cells, segments, accounts = schema.cells.c, schema.segments.c, schema.accounts.c
    counted = and_(segments.state.in_(EARNING), segments.height >= first)
    high, low = wide_parts(cells.weight)
    work: dict[int, dict[int, Work]] = {}
    for entry in await connection.execute(
        select(cells.account, segments.bits, high, low, func.sum(cells.shares))
        .select_from(schema.cells.join(schema.segments, cells.segment == segments.id))
        # A late share counts higher than its segment is, never lower.
        .where(cells.pool == row.id, cells.height >= first, counted)
        .group_by(cells.account, segments.bits)
    ):
        done = Work(wide_total(entry[2], entry[3]), int(entry[4]))
        work.setdefault(entry[0], {})[entry[1]] = done
    solved = await connection.execute(
        select(schema.finds.c.account, func.sum(schema.finds.c.solved))
        .select_from(schema.finds.join(schema.segments, schema.finds.c.segment == segments.id))
        .where(schema.finds.c.pool == row.id, counted)
        .group_by(schema.finds.c.account)
    )
    found = {entry[0]: int(entry[1]) for entry in solved}
    names = await connection.execute(
        select(accounts.id, accounts.login).where(accounts.coin == row.coin)
    )
    logins = {entry[0]: entry[1] for entry in names}
    records = [
        Record(account, logins.get(account, ""), done, found.get(account, 0))
        for account, done in sorted(work.items())
    ]
    return first, row.coin, records
