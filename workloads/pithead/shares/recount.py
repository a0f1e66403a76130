"""Counts a pool's shares anew from its log, as far as the log still holds them.

What was in time is told by the cuts that the seals recorded: a record at or
behind a seal's cut of its partition was read after that seal. A batch that lies
in the log more than once (sent again, relayed again, in two partitions) was taken
where it was read first, which is the copy with the fewest seals before it.

A log that was truncated or exchanged lacks batches that were taken. A producer's
promise is the height below its job's, and never falls, so what it lacks is of
segments at most one above the promise of the next batch that is there; segments
higher than that are whole in the log. Positions tell what was in time only while
nothing is lost and no partition was read twice.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.coins.params import ChainParams
from pithead.coins.registry import chain_params
from pithead.log.columns import Columns
from pithead.log.share_log import LogReader
from pithead.log.topics import shares_topic
from pithead.shares import decisions, schema
from pithead.shares.archive.book import EARNING
from pithead.shares.books import payee_of
from pithead.shares.fold import WEIGHT_SUM_MAX, CellKind, Fold, batch_weight
from pithead.shares.intake import read_positions
from pithead.shares.pools import read_slots
from pithead.shares.progress import Gap
from pithead.shares.records import SegmentKey, examine, segment_key
from pithead.shares.seals import counting_height
from pithead.shares.slots import SlotTable

READ_BYTES_MAX = 4 * 1024 * 1024

FOLD_BATCHES = 4096

PROMISE_SLACK = 2
"""Heights by which a promise may lag behind the segments of the batches before it: one by rule,
one more for a chain that stepped back."""

Cells = dict[tuple[CellKind, int], tuple[int, int]]
"""(weight, shares) by cell and minute."""


class LogShrank(Exception):
    """Raised when the log loses records while it is counted: try again."""

    def __init__(self, topic: str, partition: str, position: int) -> None:
        super().__init__(f"{topic}/{partition} lost what lay at position {position}; try again")


@dataclass(frozen=True, slots=True)
class Seals:
    """Which heights were sealed, and where the log had been read to then."""

    heights: list[int]
    cuts: list[dict[str, int]]

    def sealed_before(self, partition: str, position: int, first_height: int) -> int:
        """Highest height sealed when the record at `position` was read."""
        number = bisect_right(self.cuts, position, key=lambda cut: cut.get(partition, 0))
        return self.heights[number - 1] if number else first_height - 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What accounting has taken of a producer."""

    top: int
    gaps: tuple[Gap, ...]
    promise: int

    def has(self, sequence: int) -> bool:
        """Tell whether it took a batch."""
        missing = any(gap.first <= sequence <= gap.last for gap in self.gaps)
        return sequence <= self.top and not missing

    @property
    def count(self) -> int:
        """How many batches it took."""
        return self.top + 1 - sum(gap.last - gap.first + 1 for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class Facts:
    """A pool as its tables describe it: all that is needed to make cells of its log."""

    id: int
    name: str
    coin: str
    first_height: int | None
    sealed_height: int | None
    positions: dict[str, int]
    seals: Seals
    slots: SlotTable
    params: ChainParams
    accounts: dict[bytes, int]
    segments: dict[SegmentKey, int]
    earning: set[int]
    """Segments whose cells count in windows."""
    counts_from: dict[int, int]
    """From where a disputed segment counts that was decided after its seal."""
    producers: dict[bytes, Taken]
    foreign: set[bytes]
    """Producers of other pools: their batches are set aside here."""
    reread: bool
    """A partition was read twice, or another log stood here before: positions do not tell what
    was in time."""

    def segment_height(self) -> dict[int, int]:
        """Height of each segment by id."""
        return {number: key.height for key, number in self.segments.items()}

    def kind(self, columns: Columns, login: int, segment_index: int, sealed: int) -> CellKind:
        """Cell of a share; 0 for a segment or account that the tables lack."""
        segment = columns.batch.segments[segment_index]
        number = self.segments.get(segment_key(segment), 0)
        height, seal = counting_height(segment.height, sealed)
        counts_from = self.counts_from.get(number, 0)
        if height < counts_from:
            height = seal = counts_from
        account = self.accounts.get(payee_of(self.params, columns.accounts[login]).key, 0)
        revision = self.slots.revision_at(columns.slots[login], segment.height)
        return CellKind(height, seal, number, revision, account)


@dataclass(slots=True)
class Counted:
    """What the log says."""

    cells: Cells = field(default_factory=dict)
    batches: int = 0
    lost: int = 0
    """Batches that were taken and are in the log no more."""
    lost_up_to: int = -1
    """Segments above this height lack nothing."""


@dataclass(slots=True)
class _Present:
    """What the log has of the batches, found in a first reading."""

    sealed: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """Highest height sealed before the copy of each batch that was read first."""
    promises: dict[bytes, dict[int, int]] = field(default_factory=dict)
    """Of each producer, by sequence."""


async def read_facts(connection: AsyncConnection, pool: Any, log: str) -> Facts:
    """Read what describes a pool, given its row and the name of the log that is there."""
    seals = (
        await connection.execute(
            select(schema.seals)
            .where(schema.seals.c.pool == pool.id)
            .order_by(schema.seals.c.last_height)
        )
    ).all()
    accounts = await connection.execute(
        select(schema.accounts).where(schema.accounts.c.coin == pool.coin)
    )
    segments = (
        await connection.execute(select(schema.segments).where(schema.segments.c.coin == pool.coin))
    ).all()
    late = await connection.execute(
        select(schema.late_segments).where(schema.late_segments.c.pool == pool.id)
    )
    producers = (await connection.execute(select(schema.producers))).all()
    gaps = await _gaps(connection)
    family, _, network = pool.coin.partition("/")
    return Facts(
        id=pool.id,
        name=pool.pool,
        coin=pool.coin,
        first_height=pool.first_height,
        sealed_height=pool.sealed_height,
        positions=await read_positions(connection, shares_topic(pool.pool), log),
        seals=Seals([row.last_height for row in seals], [row.cut for row in seals]),
        slots=SlotTable(await read_slots(connection, pool.id)),
        params=chain_params(family, network),
        accounts={bytes(row.key): row.id for row in accounts},
        segments={
            SegmentKey(row.parent, row.height, row.bits, tuple(map(tuple, row.aux))): row.id
            for row in segments
        },
        earning={row.id for row in segments if row.state in EARNING},
        counts_from={row.segment: row.counts_from for row in late},
        producers={
            bytes(row.producer): Taken(
                row.top, gaps.get(bytes(row.producer), ()), max(row.promise, row.promise_seen)
            )
            for row in producers
            if row.pool == pool.id
        },
        foreign={bytes(row.producer) for row in producers if row.pool != pool.id},
        reread=await decided(connection, pool.pool, decisions.REPLAY)
        or await decided(connection, pool.pool, decisions.EXCHANGE),
    )


async def _gaps(connection: AsyncConnection) -> dict[bytes, tuple[Gap, ...]]:
    found: dict[bytes, tuple[Gap, ...]] = {}
    for row in await connection.execute(
        select(schema.missing).order_by(schema.missing.c.producer, schema.missing.c.first)
    ):
        name = bytes(row.producer)
        found[name] = (*found.get(name, ()), Gap(row.first, row.last))
    return found


async def decided(connection: AsyncConnection, pool: str, action: str) -> bool:
    """Tell whether a decision of this kind was taken about the pool's log."""
    table = schema.decisions.c
    number = await connection.scalar(
        select(table.id)
        .where(
            table.action == action,
            table.subject.startswith(f"{shares_topic(pool)}/", autoescape=True),
        )
        .limit(1)
    )
    return number is not None


async def count(facts: Facts, reader: LogReader) -> Counted:
    """Sums of all batches up to the positions, each taken once. LogError."""
    if facts.first_height is None:
        return Counted()
    present = _Present()
    async for partition, position, columns in batches(facts, reader):
        batch = columns.batch
        sealed = facts.seals.sealed_before(partition, position, facts.first_height)
        name = (batch.producer, batch.sequence)
        present.sealed[name] = min(sealed, present.sealed.get(name, sealed))
        present.promises.setdefault(batch.producer, {})[batch.sequence] = batch.promise
    counted = Counted(batches=len(present.sealed))
    fold, number = Fold(), 0
    async for _, _, columns in batches(facts, reader):
        sealed_height = present.sealed.pop((columns.batch.producer, columns.batch.sequence), None)
        if sealed_height is None:
            continue
        full = fold.weight + batch_weight(columns) > WEIGHT_SUM_MAX
        if full or number == FOLD_BATCHES:
            _add(counted.cells, fold)
            fold, number = Fold(), 0
        _fold(fold, facts, columns, sealed_height)
        number += 1
    _add(counted.cells, fold)
    for producer, taken in facts.producers.items():
        lost, height = lost_of(taken, present.promises.get(producer, {}))
        counted.lost += lost
        counted.lost_up_to = max(counted.lost_up_to, height)
    return counted


def lost_of(taken: Taken, promises: Mapping[int, int]) -> tuple[int, int]:
    """(batches that were taken and are gone, highest segment that they can be of or -1).

    `promises` are those of the batches that are there, by sequence.
    """
    there = sorted(sequence for sequence in promises if taken.has(sequence))
    lost = taken.count - len(there)
    if lost <= 0:
        return 0, -1
    # Upwards from the highest batch that is gone, the promise of the next one bounds it.
    promise, following = taken.promise, taken.top
    for sequence in reversed(there):
        if any(taken.has(between) for between in range(sequence + 1, following + 1)):
            break
        promise, following = promises[sequence], sequence - 1
    return lost, promise + PROMISE_SLACK


async def batches(facts: Facts, reader: LogReader) -> AsyncIterator[tuple[str, int, Columns]]:
    """(partition, position, batch) of all that is the pool's, partition by partition."""
    there = set(await reader.partitions())
    for partition, end in sorted(facts.positions.items()):
        if partition not in there:
            continue
        position = await reader.start(partition)
        while position < end:
            records = await reader.read(partition, position, READ_BYTES_MAX)
            if not records:
                # It ends before the positions: what is missing counts as lost.
                break
            for record in records:
                if record.position >= end:
                    position = end
                    break
                read = examine(partition, record, facts.name, facts.coin)
                if read.columns is not None and read.columns.batch.producer not in facts.foreign:
                    yield partition, record.position, read.columns
                position = record.next_position


def _fold(fold: Fold, facts: Facts, columns: Columns, sealed_height: int) -> None:
    fold.add(columns, lambda login, segment: facts.kind(columns, login, segment, sealed_height))


def _add(totals: Cells, fold: Fold) -> None:
    for cell in fold.sums():
        weight, shares = totals.get((cell.kind, cell.minute), (0, 0))
        totals[cell.kind, cell.minute] = (weight + cell.weight, shares + cell.shares)
