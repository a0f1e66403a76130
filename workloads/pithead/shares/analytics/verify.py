"""Compares the columnar tables with the log: what charts show is what was mined.

Shares are counted again from the log, up to the positions that analytics has
committed, by account and minute, and compared with the rollup of minutes; raw rows,
as far as they are kept, and every coarser rollup are compared with that, too. Where
the log was truncated, minutes that it may hold a part of must not have more in it
than in the rollup. Nothing is changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.log.columns import MINUTE_MS
from pithead.log.share_log import LogReader, ShareLog
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.shares.analytics.plans import Plan, read_plan, read_positions, read_state
from pithead.shares.analytics.reading import table
from pithead.shares.books import payee_of
from pithead.shares.fold import WEIGHT_SUM_MAX, CellKind, Fold, batch_weight
from pithead.shares.progress import Gap
from pithead.shares.recount import Facts, Taken, batches, lost_of, read_facts
from pithead.store import reading
from pithead.store.columnar import Columnar

MINUTE_S = 60
FAR = (1 << 32) // MINUTE_S
"""A minute beyond all that the tables can hold."""
QUERY_LIMIT_S = 600

COARSER = (
    ("account_h", "account_m", 3600),
    ("account_d", "account_m", 86_400),
)
"""Rollups of accounts with what each is made of, and its seconds."""

POOL_WIDE = (("pool_m", 60), ("pool_h", 3600), ("pool_d", 86_400))

Sums = dict[tuple[int, int], tuple[int, int]]
"""(shares, work) by account and second."""


class ChartsMoving(Exception):
    """Raised when analytics is in the middle of a plan: try again, or let it finish."""


@dataclass(frozen=True, slots=True)
class ChartDifference:
    """An account's stretch of time in which two sides do not agree; (shares, work) of each."""

    pool: str
    account: int
    login: str
    second: int
    """Unix seconds at which the stretch begins."""
    sides: tuple[str, str]
    expected: tuple[int, int]
    got: tuple[int, int]


@dataclass(slots=True)
class PoolCharts:
    """One pool as compared."""

    pool: str
    batches: int = 0
    """Of the log, up to the positions of analytics."""
    whole_from_s: int = 0
    """Minutes before it may be in the log in part only."""
    raw_from_s: int = 0
    differences: list[ChartDifference] = field(default_factory=list)


async def compare_charts(store: AsyncEngine, log: ShareLog, door: Columnar) -> list[PoolCharts]:
    """Compare all pools. ChartsMoving, LogError, LogShrank, ColumnarError, DBAPIError."""
    async with reading(store) as connection:
        pools = (await connection.execute(select(schema.pools).order_by(schema.pools.c.id))).all()
    compared = []
    for row in pools:
        reader = log.reader(shares_topic(row.pool))
        try:
            compared.append(await _compare_pool(store, reader, door, row))
        finally:
            await reader.close()
    return compared


async def _compare_pool(
    store: AsyncEngine, reader: LogReader, door: Columnar, row: Any
) -> PoolCharts:
    log = await reader.log_id()
    topic = shares_topic(row.pool)
    async with reading(store) as connection:
        facts = await read_facts(connection, row, log)
        plan = await read_plan(connection, topic)
        positions = await read_positions(connection, topic, log)
        state = await read_state(connection)
        planned = await connection.execute(
            select(schema.analytics_producers).where(schema.analytics_producers.c.topic == topic)
        )
        taken = {
            bytes(one.producer): Taken(one.top, tuple(Gap(*gap) for gap in one.gaps), 0)
            for one in planned
        }
        logins = {
            one.id: one.login
            for one in await connection.execute(
                select(schema.accounts).where(schema.accounts.c.coin == row.coin)
            )
        }
        last = {
            bytes(one.producer): one.last_ms // MINUTE_MS
            for one in await connection.execute(select(schema.producers))
        }
    if not plan.done:
        raise ChartsMoving(f"analytics of {row.pool} is writing; try again in a moment")
    done = PoolCharts(row.pool, raw_from_s=-(-state.dropped_s // MINUTE_S) * MINUTE_S)
    facts = replace(facts, positions=positions)
    minutes = await _rollup(door, "account_m", row.id)
    raw = await _raw(door, row.id, done.raw_from_s)
    coarser = [(name, seconds, await _rollup(door, name, row.id)) for name, _, seconds in COARSER]
    workers = await _rollup(door, "worker_m", row.id)
    whole = [(name, seconds, await _pool_wide(door, name, row.id)) for name, seconds in POOL_WIDE]
    await _unmoved(store, topic, plan)
    counted = await _count(facts, reader, taken, last, done)
    found = _Found(row.pool, logins, done)
    found.differ(("log", "account_m"), counted, minutes, partly_before=done.whole_from_s)
    young = {key: sums for key, sums in minutes.items() if key[1] >= done.raw_from_s}
    found.differ(("shares", "account_m"), raw, young)
    found.differ(("worker_m", "account_m"), workers, minutes)
    for name, seconds, sums in coarser:
        found.differ(("account_m", name), _by(minutes, seconds), sums)
    for name, seconds, sums in whole:
        found.differ(("account_m", name), _by(minutes, seconds, one_account=True), sums)
    return done


async def _unmoved(store: AsyncEngine, topic: str, before: Plan) -> None:
    """Nothing may have been written while the tables were asked one after another."""
    async with reading(store) as connection:
        plan = await read_plan(connection, topic)
    if (plan.number, plan.done) != (before.number, before.done):
        raise ChartsMoving(f"analytics wrote to {topic} meanwhile; try again")


async def _count(
    facts: Facts,
    reader: LogReader,
    taken: Mapping[bytes, Taken],
    last: Mapping[bytes, int],
    done: PoolCharts,
) -> Sums:
    """Shares of the log by account and second of their minute, each batch once."""
    begun: dict[bytes, dict[int, int]] = {}
    totals: Sums = {}
    fold = Fold()
    async for _, _, columns in batches(facts, reader):
        batch = columns.batch
        seen = begun.setdefault(batch.producer, {})
        marks = taken.get(batch.producer)
        if marks is None or not marks.has(batch.sequence) or batch.sequence in seen:
            continue
        seen[batch.sequence] = batch.time_base_ms // MINUTE_MS
        done.batches += 1
        accounts = [
            facts.accounts.get(payee_of(facts.params, login).key, 0) for login in columns.accounts
        ]
        if fold.weight + batch_weight(columns) > WEIGHT_SUM_MAX:
            _add(totals, fold)
            fold = Fold()
        fold.add(columns, _kind_of(accounts))
    _add(totals, fold)
    for producer, marks in taken.items():
        known = replace(marks, promise=last.get(producer, FAR))
        lost, minute = lost_of(known, begun.get(producer, {}))
        if lost:
            done.whole_from_s = max(done.whole_from_s, (minute + 1) * MINUTE_S)
    return totals


def _kind_of(accounts: list[int]) -> Any:
    def kind(login: int, _segment: int) -> CellKind:
        return CellKind(0, 0, 0, 0, accounts[login])

    return kind


def _add(totals: Sums, fold: Fold) -> None:
    for cell in fold.sums():
        key = (cell.kind.account, cell.minute * MINUTE_S)
        shares, work = totals.get(key, (0, 0))
        totals[key] = (shares + cell.shares, work + cell.weight)


async def _rollup(door: Columnar, name: str, pool: int) -> Sums:
    text = (
        "SELECT account, toUInt32(ts) AS second, toUInt64(sum(shares)) AS n, "  # noqa: S608
        "toString(sum(toDecimal128(work, 0))) AS w "
        f"FROM {table(door.server, name)} WHERE pool = {{pool}} GROUP BY account, second"
    )
    return await _sums(door, text, {"pool": pool})


async def _pool_wide(door: Columnar, name: str, pool: int) -> Sums:
    text = (
        "SELECT 0 AS nobody, toUInt32(ts) AS second, toUInt64(sum(shares)) AS n, "  # noqa: S608
        "toString(sum(toDecimal128(work, 0))) AS w "
        f"FROM {table(door.server, name)} WHERE pool = {{pool}} GROUP BY second"
    )
    return await _sums(door, text, {"pool": pool})


async def _raw(door: Columnar, pool: int, from_s: int) -> Sums:
    text = (
        "SELECT account, intDiv(toUInt32(t), 60) * 60 AS second, count() AS n, "  # noqa: S608
        "toString(sum(toDecimal128(weight, 0))) AS w "
        f"FROM {table(door.server, 'shares')} "
        "WHERE pool = {pool} AND toUInt32(t) >= {since} GROUP BY account, second"
    )
    return await _sums(door, text, {"pool": pool, "since": from_s})


async def _sums(door: Columnar, text: str, params: dict[str, int]) -> Sums:
    answer = await door.query(text, params, limit_s=QUERY_LIMIT_S)
    # Minutes that have rejects only have no shares.
    return {
        (int(account), int(second)): (int(shares), int(work))
        for account, second, shares, work in answer.rows()
        if int(shares)
    }


def _by(minutes: Sums, seconds: int, *, one_account: bool = False) -> Sums:
    totals: Sums = {}
    for (account, second), (shares, work) in minutes.items():
        key = (0 if one_account else account, second - second % seconds)
        before = totals.get(key, (0, 0))
        totals[key] = (before[0] + shares, before[1] + work)
    return totals


@dataclass(frozen=True, slots=True)
class _Found:
    pool: str
    logins: Mapping[int, str]
    done: PoolCharts

    def differ(
        self, sides: tuple[str, str], expected: Sums, got: Sums, *, partly_before: int = 0
    ) -> None:
        """Note where two sides differ; before `partly_before` the first may have less."""
        self.done.differences += self._differing(sides, expected, got, partly_before)

    def _differing(
        self, sides: tuple[str, str], expected: Sums, got: Sums, partly_before: int
    ) -> Iterator[ChartDifference]:
        for key in sorted(expected.keys() | got.keys()):
            wanted, there = expected.get(key, (0, 0)), got.get(key, (0, 0))
            partly = key[1] < partly_before and wanted[0] <= there[0] and wanted[1] <= there[1]
            if wanted != there and not partly:
                login = self.logins.get(key[0], "")
                yield ChartDifference(self.pool, key[0], login, key[1], sides, wanted, there)
