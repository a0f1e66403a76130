"""Counts all cells anew from the log and compares them with the table.

What was in time is told by the cuts that the seals recorded: a record at or
behind a seal's cut of its partition was read after that seal. A batch that lies
in two partitions was taken where it was read first, which is the copy with the
fewest seals before it. A pool's tables are read in one snapshot, then its log up
to the positions of that snapshot, so the service may run meanwhile.

After a partition was read again from its beginning, positions no longer tell what
was in time; of such a pool everything but the seals is compared.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.coins.params import ChainParams
from pithead.coins.registry import chain_params
from pithead.log.columns import Columns
from pithead.log.share_log import LogReader, ShareLog
from pithead.log.topics import shares_topic
from pithead.shares import decisions, schema
from pithead.shares.books import SegmentKey, payee_of, segment_key
from pithead.shares.fold import WEIGHT_SUM_MAX, CellKind, Fold, batch_weight
from pithead.shares.intake import read_positions
from pithead.shares.pools import read_slots
from pithead.shares.records import examine
from pithead.shares.seals import counting_height
from pithead.shares.slots import SlotTable
from pithead.store import reading

READ_BYTES_MAX = 4 * 1024 * 1024

FOLD_BATCHES = 4096


class LogNotWhole(Exception):
    """Raised when retention has deleted what an audit needs."""

    def __init__(self, topic: str, partition: str, start: int) -> None:
        super().__init__(
            f"{topic}/{partition} begins at position {start}: what was before is deleted, "
            "so the cells cannot be counted again from this log"
        )


class LogExchanged(LogNotWhole):
    """Raised when the pool was counted from another log than the one that is there now."""

    def __init__(self, topic: str) -> None:
        Exception.__init__(
            self,
            f"{topic} was read from another log before: what was in that one is not in this, "
            "so the cells cannot be counted again from it",
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell in which log and table do not agree; (weight, shares) of each, zeros when absent."""

    pool: str
    kind: CellKind
    minute: int
    from_log: tuple[int, int]
    in_table: tuple[int, int]


Cells = dict[tuple[CellKind, int], tuple[int, int]]


async def recount(store: AsyncEngine, log: ShareLog) -> list[Difference]:
    """All differences of all pools, none when every cell is what the log says. LogNotWhole."""
    async with reading(store) as connection:
        pools = (await connection.scalars(select(schema.pools.c.pool))).all()
    differences: list[Difference] = []
    for pool in pools:
        reader = log.reader(shares_topic(pool))
        try:
            differences += await _recount_pool(store, reader, pool)
        finally:
            await reader.close()
    return differences


async def _recount_pool(store: AsyncEngine, reader: LogReader, name: str) -> list[Difference]:
    log = await reader.log_id()
    # The log is read after the snapshot: a server ends transactions that idle for that long.
    async with reading(store) as connection:
        pool = (
            await connection.execute(select(schema.pools).where(schema.pools.c.pool == name))
        ).one()
        if await _decided(connection, name, decisions.EXCHANGE):
            raise LogExchanged(shares_topic(name))
        replayed = await _decided(connection, name, decisions.REPLAY)
        positions = await read_positions(connection, shares_topic(name), log)
        count = await _load(connection, reader, positions, pool.id, name, pool.coin)
        found = await _table(connection, pool.id)
    expected = await count.cells(pool.first_height)
    if replayed:
        expected, found = _without_seals(expected), _without_seals(found)
    return [
        Difference(name, *cell, expected.get(cell, (0, 0)), found.get(cell, (0, 0)))
        for cell in sorted(expected.keys() | found.keys())
        if expected.get(cell) != found.get(cell)
    ]


@dataclass(frozen=True, slots=True)
class _Seals:
    heights: list[int]
    cuts: list[dict[str, int]]

    def sealed_before(self, partition: str, position: int, first_height: int) -> int:
        """Highest height sealed when the record at `position` was read."""
        number = bisect_right(self.cuts, position, key=lambda cut: cut.get(partition, 0))
        return self.heights[number - 1] if number else first_height - 1


@dataclass(frozen=True, slots=True)
class _Count:
    """One pool's log and all that is needed to make cells of it."""

    reader: LogReader
    pool: str
    coin: str
    foreign: set[bytes]
    """Producers of other pools: their batches are set aside here."""
    positions: dict[str, int]
    seals: _Seals
    slots: SlotTable
    params: ChainParams
    accounts: dict[bytes, int]
    segments: dict[SegmentKey, int]
    counts_from: dict[int, int]

    async def cells(self, first_height: int | None) -> Cells:
        """Sums of all batches, each taken once."""
        if first_height is None:
            return {}
        chosen: dict[tuple[bytes, int], int] = {}
        async for partition, position, columns in self._batches():
            name = (columns.batch.producer, columns.batch.sequence)
            sealed = self.seals.sealed_before(partition, position, first_height)
            chosen[name] = min(sealed, chosen.get(name, sealed))
        totals: Cells = {}
        fold, batches = Fold(), 0
        async for _, _, columns in self._batches():
            sealed_height = chosen.pop((columns.batch.producer, columns.batch.sequence), None)
            if sealed_height is None:
                continue
            full = fold.weight + batch_weight(columns) > WEIGHT_SUM_MAX
            if full or batches == FOLD_BATCHES:
                _add(totals, fold)
                fold, batches = Fold(), 0
            self._fold(fold, columns, sealed_height)
            batches += 1
        _add(totals, fold)
        return totals

    async def _batches(self) -> AsyncIterator[tuple[str, int, Columns]]:
        for partition, end in sorted(self.positions.items()):
            position = await self.reader.start(partition)
            if position > 0 and end > 0:
                raise LogNotWhole(shares_topic(self.pool), partition, position)
            while position < end:
                records = await self.reader.read(partition, position, READ_BYTES_MAX)
                if not records:
                    raise LogNotWhole(shares_topic(self.pool), partition, position)
                for record in records:
                    if record.position >= end:
                        position = end
                        break
                    read = examine(partition, record, self.pool, self.coin)
                    if read.columns is not None and read.columns.batch.producer not in self.foreign:
                        yield partition, record.position, read.columns
                    position = record.next_position

    def _fold(self, fold: Fold, columns: Columns, sealed_height: int) -> None:
        fold.add(columns, lambda login, segment: self._kind(columns, login, segment, sealed_height))

    def _kind(
        self, columns: Columns, login_index: int, segment_index: int, sealed_height: int
    ) -> CellKind:
        segment = columns.batch.segments[segment_index]
        number = self.segments.get(segment_key(segment), 0)
        height, seal = counting_height(segment.height, sealed_height)
        counts_from = self.counts_from.get(number, 0)
        if height < counts_from:
            height = seal = counts_from
        account = self.accounts.get(payee_of(self.params, columns.accounts[login_index]).key, 0)
        revision = self.slots.revision_at(columns.slots[login_index], segment.height)
        return CellKind(height, seal, number, revision, account)


def _add(totals: Cells, fold: Fold) -> None:
    for cell in fold.sums():
        weight, shares = totals.get((cell.kind, cell.minute), (0, 0))
        totals[cell.kind, cell.minute] = (weight + cell.weight, shares + cell.shares)


async def _load(
    connection: AsyncConnection,
    reader: LogReader,
    positions: dict[str, int],
    pool: int,
    name: str,
    coin: str,
) -> _Count:
    seals = (
        await connection.execute(
            select(schema.seals)
            .where(schema.seals.c.pool == pool)
            .order_by(schema.seals.c.last_height)
        )
    ).all()
    foreign = await connection.scalars(
        select(schema.producers.c.producer).where(schema.producers.c.pool != pool)
    )
    accounts = await connection.execute(
        select(schema.accounts).where(schema.accounts.c.coin == coin)
    )
    segments = await connection.execute(
        select(schema.segments).where(schema.segments.c.coin == coin)
    )
    late = await connection.execute(
        select(schema.late_segments).where(schema.late_segments.c.pool == pool)
    )
    family, _, network = coin.partition("/")
    return _Count(
        reader=reader,
        pool=name,
        coin=coin,
        foreign={bytes(producer) for producer in foreign},
        positions=positions,
        seals=_Seals([row.last_height for row in seals], [row.cut for row in seals]),
        slots=SlotTable(await read_slots(connection, pool)),
        params=chain_params(family, network),
        accounts={bytes(row.key): row.id for row in accounts},
        segments={
            SegmentKey(row.parent, row.height, row.bits, tuple(map(tuple, row.aux))): row.id
            for row in segments
        },
        counts_from={row.segment: row.counts_from for row in late},
    )


async def _decided(connection: AsyncConnection, pool: str, action: str) -> bool:
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


def _without_seals(cells: Cells) -> Cells:
    """The same sums, with height and seal of a cell left out (0)."""
    totals: Cells = {}
    for (kind, minute), (weight, shares) in cells.items():
        key = (kind._replace(height=0, seal=0), minute)
        before = totals.get(key, (0, 0))
        totals[key] = (before[0] + weight, before[1] + shares)
    return totals


async def _table(connection: AsyncConnection, pool: int) -> Cells:
    table = schema.cells.c
    rows = await connection.execute(select(schema.cells).where(table.pool == pool))
    return {
        (
            CellKind(row.height, row.seal, row.segment, row.revision, row.account),
            row.minute,
        ): (row.weight, row.shares)
        for row in rows
    }
