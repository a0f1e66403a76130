"""One pool's log into the columnar tables: plan, insert, note that it is done.

A plan stands in the SQL database before anything of it is inserted, and positions move
when all of it is. So after a crash anywhere the undone plan is repeated to the row, and
the columnar database takes rows that it has for nothing new: by the plan's token, or on
a server without tokens because equal keys replace each other and rollups are counted
again. Marks of producers are written with the plan, so that a batch counts once however
often it lies in the log.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.columns import Columns
from pithead.log.share_log import LogReader
from pithead.log.topics import shares_topic
from pithead.shares import decisions
from pithead.shares.analytics import metrics
from pithead.shares.analytics.intake import Intake, Taken, Unrepeatable, moment_ms
from pithead.shares.analytics.plans import (
    ANALYTICS,
    NO_PLAN,
    Plan,
    claim,
    finish,
    floor,
    read_marks,
    read_plan,
    read_positions,
    read_state,
    set_position,
    write_marks,
    write_plan,
)
from pithead.shares.analytics.recompute import statements
from pithead.shares.analytics.rows import Numbers, Placed, Rows, build, unknown_of
from pithead.shares.books import AccountBook
from pithead.shares.pools import Pool
from pithead.shares.progress import Progress
from pithead.shares.records import Read
from pithead.store import reading, transaction
from pithead.store.columnar import Column, Columnar

logger = logging.getLogger(__name__)

SKIP = "skip for charts"
"""Action of a decision to go on behind what the log no longer has."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one step did."""

    records: int
    shares: int
    more: bool
    """Whether there may be more to do at once."""


class Writer:
    """Writes one pool's shares and rejects."""

    def __init__(
        self,
        engine: AsyncEngine,
        reader: LogReader,
        door: Columnar,
        pool: Pool,
        now_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._door = door
        self._pool = pool
        self._now_ms = now_ms
        self._topic = shares_topic(pool.name)
        self._intake = Intake(reader, pool.name, pool.coin)
        self._accounts = AccountBook(pool.coin, pool.params)
        self._numbers = Numbers(pool.name, pool.id)
        self._regions: set[int] = set()
        self._plan: Plan | None = None
        self._positions: dict[str, int] = {}
        self._generation = 0
        self.pending_ms: int | None = None
        """Time of the oldest record that was read and is not written; None when all are."""

    async def step(self) -> Written:
        """Write what is undone, or what is new. After an error the next step begins anew.

        Raises PlanMoved, errors of the log and of both databases.
        """
        try:
            written = await self._step()
        except BaseException:
            # Whatever is remembered may not be what was committed.
            self._plan = None
            self._accounts.forget()
            self._numbers = Numbers(self._pool.name, self._pool.id)
            raise
        return written

    async def _step(self) -> Written:
        if self._plan is None:
            await self._look()
        plan = self._plan or NO_PLAN
        if not plan.done:
            return await self._repeat(plan)
        taken = await self._intake.next(self._positions)
        for partition, (position, start, reason) in taken.lost.items():
            await self._skip(partition, position, start, reason)
        if not taken.reads:
            self.pending_ms = None
            return Written(0, 0, more=bool(taken.lost))
        self.pending_ms = moment_ms(taken.reads[0])
        plan, kept = await self._make_plan(plan, taken)
        if plan.done:
            self._finished(plan)
            written = Written(len(kept), 0, more=taken.more)
        else:
            self._plan = plan
            written = await self._write(plan, kept, more=taken.more)
        self.pending_ms = moment_ms(taken.reads[-1]) if taken.more else None
        return written

    async def _look(self) -> None:
        """Read what the database holds of this topic."""
        log = await self._intake.log_id()
        async with reading(self._engine) as connection:
            state = await read_state(connection)
            self._plan = await read_plan(connection, self._topic)
            self._positions = await read_positions(connection, self._topic, log)
        self._generation = state.generation

    async def _repeat(self, plan: Plan) -> Written:
        """Write a plan that an earlier run, or an earlier try, has left undone."""
        try:
            reads = await self._intake.again(plan)
        except Unrepeatable as error:
            await self._give_up(plan, str(error))
            return Written(0, 0, more=True)
        self.pending_ms = moment_ms(reads[0]) if reads else None
        kept = [
            read.columns
            for read in reads
            if read.columns is not None
            and read.record.position not in plan.skip.get(read.partition, frozenset())
        ]
        placed = await self._place_again(kept, plan.nobodies)
        return await self._write(plan, placed, more=True)

    async def _place_again(self, kept: Iterable[Columns], nobodies: frozenset[str]) -> list[Placed]:
        """Look up the accounts of a plan's batches; making the plan has made them."""
        self._numbers.trim()
        placed = [self._numbers.placed(columns, nobodies) for columns in kept]
        unknown = unknown_of(placed, earning=False)
        if not unknown:
            return placed
        async with reading(self._engine) as connection:
            names = {account for account, _ in unknown}
            found = await self._accounts.resolve(connection, names, create=False)
        self._accounts.keep()
        self._numbers.learn(unknown, found)
        return self._numbers.again(placed)

    async def _make_plan(self, before: Plan, taken: Taken) -> tuple[Plan, list[Placed]]:
        """Decide, in one transaction, what of the records is taken; without rows it is done."""
        self._numbers.trim()
        plan = Plan(
            number=before.number + 1,
            log=await self._intake.log_id(),
            made_ms=self._now_ms(),
            done=False,
            ranges=_ranges(taken.reads),
        )
        named = {read.columns.batch.producer for read in taken.reads if read.columns is not None}
        async with transaction(self._engine) as connection:
            await claim(connection, self._topic, before)
            if not self._door.server.modern:
                plan = replace(plan, floor_s=await floor(connection))
            marks = await read_marks(connection, self._topic, named)
            admitted = _admit(taken.reads, marks)
            await write_marks(connection, self._topic, admitted.changed)
            placed, nobodies = await self._place(connection, admitted.kept)
            plan = replace(plan, skip=admitted.skip, nobodies=nobodies)
            await write_plan(connection, self._topic, plan)
            if not any(len(columns) or columns.batch.rejects for columns in admitted.kept):
                await finish(connection, self._topic, plan)
                plan = replace(plan, done=True)
        self._accounts.keep()
        pool = self._pool.name
        metrics.DUPLICATES.labels(pool).inc(admitted.duplicates)
        metrics.UNREADABLE.labels(pool).inc(admitted.unreadable)
        return plan, placed

    async def _place(
        self, connection: AsyncConnection, kept: Iterable[Columns]
    ) -> tuple[list[Placed], frozenset[str]]:
        """Give every login with shares an account; tell accounts of rejects that have none."""
        placed = [self._numbers.placed(columns) for columns in kept]
        unknown = unknown_of(placed, earning=False)
        if not unknown:
            return placed, frozenset()
        names = {account for account, _ in unknown}
        earning = {account for account, _ in unknown_of(placed, earning=True)}
        found = await self._accounts.resolve(connection, earning, create=True)
        found |= await self._accounts.resolve(connection, names - earning, create=False)
        self._numbers.learn(unknown, found)
        return self._numbers.again(placed), frozenset(names - found.keys())

    async def _write(self, plan: Plan, kept: list[Placed], *, more: bool) -> Written:
        started = time.perf_counter()
        rows = build(kept, self._numbers, plan.floor_s)
        await self._write_names(rows)
        for table, columns in (("shares", rows.shares), ("rejects", rows.rejects)):
            token = f"{self._generation}/{self._topic}/{plan.number}/{table}"
            await self._door.insert(table, columns, token=token)
        if not self._door.server.modern:
            for statement in statements(self._pool.id, rows.minutes, plan.number):
                await self._door.command(statement)
        async with transaction(self._engine) as connection:
            await finish(connection, self._topic, plan)
        self._finished(plan)
        pool = self._pool.name
        metrics.INSERT_SECONDS.labels(pool).observe(time.perf_counter() - started)
        metrics.TOO_OLD.labels(pool).inc(rows.too_old)
        metrics.ROWS.labels(pool, "shares").inc(len(rows.shares["t"]))
        metrics.ROWS.labels(pool, "rejects").inc(len(rows.rejects["t"]))
        return Written(len(kept), len(rows.shares["t"]), more=more)

    def _finished(self, plan: Plan) -> None:
        self._plan = replace(plan, done=True)
        self._positions |= {name: end for name, (_, end) in plan.ranges.items()}

    async def _write_names(self, rows: Rows) -> None:
        """Write names that this process has not written yet; again does no harm."""
        new = rows.names
        if new:
            first = np.array([each.first_s for each in new], np.uint32)
            columns: dict[str, Column] = {
                "worker": np.array([each.worker for each in new], np.uint64),
                "pool": np.full(len(new), self._pool.id, np.uint32),
                "account": np.array([each.account for each in new], np.uint64),
                "name": [each.name for each in new],
                "first": first,
                # The earliest stays.
                "ver": np.uint32((1 << 32) - 1) - first,
            }
            await self._door.insert("workers", columns)
            self._numbers.named |= {each.place for each in new}
        regions = {
            number: name for number, name in rows.regions.items() if number not in self._regions
        }
        await self._door.insert(
            "regions",
            {"region": np.array(list(regions), np.uint32), "name": list(regions.values())},
        )
        self._regions |= regions.keys()

    async def _skip(self, partition: str, position: int, start: int, reason: str) -> None:
        """Go on where the log begins now. Charts lack what lies between; no money does."""
        log = await self._intake.log_id()
        async with transaction(self._engine) as connection:
            await set_position(connection, self._topic, partition, log, start)
            await self._note(connection, f"{partition} from {position} to {start}", reason)
        self._positions[partition] = start

    async def _give_up(self, plan: Plan, reason: str) -> None:
        """Let a plan be whose records the log no longer has: part of it may be missing."""
        async with transaction(self._engine) as connection:
            await finish(connection, self._topic, plan)
            await self._note(connection, f"plan {plan.number}", reason)
        self._plan = None

    async def _note(self, connection: AsyncConnection, what: str, reason: str) -> None:
        await decisions.record(
            connection,
            who=ANALYTICS,
            action=SKIP,
            subject=f"{self._topic}/{what}",
            reason=reason,
            now_ms=self._now_ms(),
        )
        metrics.SKIPPED.labels(self._pool.name).inc()
        logger.error("%s: charts go on without %s: %s", self._topic, what, reason)

    def lag_ms(self) -> int:
        """Age of the oldest record that was read and is not written, milliseconds; 0 for none."""
        return 0 if self.pending_ms is None else max(0, self._now_ms() - self.pending_ms)


@dataclass(slots=True)
class _Admitted:
    kept: list[Columns]
    changed: dict[bytes, Progress]
    skip: dict[str, frozenset[int]]
    duplicates: int
    unreadable: int


def _admit(reads: Iterable[Read], marks: dict[bytes, Progress]) -> _Admitted:
    """Take each batch once; what was planned before, or cannot be read, is skipped."""
    kept, duplicates, unreadable = [], 0, 0
    changed: dict[bytes, Progress] = {}
    skip: dict[str, set[int]] = {}
    for read in reads:
        progress = None
        if read.columns is None:
            unreadable += 1
        else:
            batch = read.columns.batch
            known = changed.get(batch.producer) or marks.get(batch.producer) or Progress()
            progress = known.take(batch.sequence, promise=0, end=False, time_ms=0)
            duplicates += progress is None
        if progress is None or read.columns is None:
            skip.setdefault(read.partition, set()).add(read.record.position)
            continue
        changed[read.columns.batch.producer] = progress
        kept.append(read.columns)
    found = {name: frozenset(positions) for name, positions in skip.items()}
    return _Admitted(kept, changed, found, duplicates, unreadable)


def _ranges(reads: Iterable[Read]) -> dict[str, tuple[int, int]]:
    ranges: dict[str, tuple[int, int]] = {}
    for read in reads:
        first = ranges.get(read.partition, (read.record.position, 0))[0]
        ranges[read.partition] = (first, read.record.next_position)
    return ranges
