"""Builds the tables of accounting again in an empty database, and proves them identical.

Cells, counters, sessions, producers and archive are made anew. From a log that holds
everything they are booked by the code that books a running pool, seal by seal, as
the seals' cuts tell. Where the log no longer reaches, archived cells are taken from
the archive, and what no archive holds (cells above it or of disputed segments,
counters, sessions, producers) is copied, and said to be. All else is copied: ids,
seals, decisions and chain facts are no function of the log.

Identical means: the same cells with the same ids, minutes merged in neither; the same
hash of every archived height; the same marks and missing batches of every producer;
the same sessions and solved shares; the same credited counts of every account, and
rejects by reason.
A reject of a login that had no account yet may count for its account now.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.log.share_log import LogReader, ShareLog
from pithead.log.topics import shares_topic
from pithead.shares import decisions, schema
from pithead.shares.archive.archiver import Archiver
from pithead.shares.archive.book import compacted_height
from pithead.shares.archive.proof import Proven, prove
from pithead.shares.audit import read_table, reference, split_merged
from pithead.shares.booking import Booking
from pithead.shares.fold import WEIGHT_SUM_MAX
from pithead.shares.pools import Pool
from pithead.shares.records import Aside, Entry, Read, entry_of, examine
from pithead.shares.recount import Cells, Facts, LogShrank, count, read_facts
from pithead.store import reading, transaction

MADE = (
    schema.cells,
    schema.counters,
    schema.finds,
    schema.sessions,
    schema.producers,
    schema.missing,
    schema.archives,
    schema.compactions,
)
"""Tables that are not simply copied."""

READ_BYTES_MAX = 4 * 1024 * 1024
CHUNK = 5_000


class ReplayRefused(Exception):
    """Raised when there is nothing to build from or into; nothing was changed."""


@dataclass(slots=True)
class Replayed:
    """One pool as built."""

    pool: str
    source: str
    """`log` or `archive`."""
    cells: int = 0
    archived_height: int = -1
    copied: list[str] = field(default_factory=list)
    """What neither the log nor the archive holds."""
    differences: list[str] = field(default_factory=list)


async def replay(
    source: AsyncEngine, log: ShareLog, target: AsyncEngine, *, from_archive: bool, now_ms: int
) -> list[Replayed]:
    """Build all pools of `source` in `target`, whose tables are new and empty.

    `from_archive` leaves the log alone. Raises ReplayRefused, LogError, LogShrank,
    DBAPIError; the target is of no use then.
    """
    async with reading(target) as connection:
        if await connection.scalar(select(func.count()).select_from(schema.pools)):
            raise ReplayRefused("the database to build in is not empty")
    pools = await _copy_tables(source, target)
    done = []
    for pool in pools:
        reader = log.reader(shares_topic(pool.pool))
        try:
            done.append(await _replay_pool(source, reader, target, pool, from_archive, now_ms))
        finally:
            await reader.close()
    return done


async def _copy_tables(source: AsyncEngine, target: AsyncEngine) -> list[Any]:
    """Copy what is no function of the log; returns the rows of the pools."""
    async with reading(source) as connection:
        for table in schema.METADATA.sorted_tables:
            if table not in MADE:
                async for rows in _chunks(connection, table):
                    async with transaction(target) as other:
                        await other.execute(insert(table), rows)
        pools = (await connection.execute(select(schema.pools).order_by(schema.pools.c.id))).all()
    async with transaction(target) as connection:
        if connection.dialect.name == "postgresql":
            for table in schema.METADATA.sorted_tables:
                if "id" in table.c and table.c.id.autoincrement is not False:
                    await _count_on(connection, table)
    return list(pools)


async def _count_on(connection: AsyncConnection, table: Table) -> None:
    """Let a sequence go on behind the ids that were copied."""
    statement = (
        f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "  # noqa: S608 - own name
        f"(SELECT coalesce(max(id), 1) FROM {table.name}))"
    )
    await connection.execute(text(statement))


async def _chunks(
    connection: AsyncConnection, table: Table, *where: Any
) -> AsyncIterator[list[dict[str, Any]]]:
    result = await connection.stream(select(table).where(*where).execution_options(yield_per=CHUNK))
    async for rows in result.partitions(CHUNK):
        yield [dict(row._mapping) for row in rows]


async def _replay_pool(
    source: AsyncEngine,
    reader: LogReader,
    target: AsyncEngine,
    row: Any,
    from_archive: bool,
    now_ms: int,
) -> Replayed:
    log = "" if from_archive else await reader.log_id()
    async with reading(source) as connection:
        facts = await read_facts(connection, row, log)
        proven = await prove(connection, facts)
        table = await read_table(connection, row.id)
        merged = await compacted_height(connection, row.id)
    done = Replayed(row.pool, "archive" if from_archive else "log")
    done.differences += proven.faults
    pool = Pool(row.id, row.pool, row.coin, facts.params, facts.slots)
    if not from_archive:
        counted = await count(facts, reader)
        if counted.lost or facts.reread:
            done.source = "archive"
    if done.source == "log":
        await _book(facts, reader, target, pool, now_ms)
    else:
        await _take_archived(source, target, facts, proven, table, done)
    await _restore(source, target, row)
    archiver = Archiver(target, pool, lambda: now_ms)
    while await archiver.step():
        pass
    await _compare(source, target, facts, proven, (table, merged), done)
    return done


async def _book(
    facts: Facts, reader: LogReader, target: AsyncEngine, pool: Pool, now_ms: int
) -> None:
    """Book the whole log, each record at the sealed height at which it was read."""
    booking = Booking(pool, exclusive=False)
    places: dict[str, int] = {}
    first = facts.first_height
    sealed = None if first is None else first - 1
    epochs = [*zip(facts.seals.cuts, facts.seals.heights, strict=True), (facts.positions, None)]
    for ends, height in epochs:
        await _seal(target, pool.id, first, sealed)
        there = set(await reader.partitions())
        for partition in sorted(ends.keys() & there):
            end = ends[partition]
            async for reads in _records(facts, reader, booking, partition, places, end):
                async with transaction(target) as connection:
                    await booking.book(connection, reads, now_ms)
                booking.keep()
        sealed = height
    for segment, counts_from in facts.counts_from.items():
        async with transaction(target) as connection:
            await _move_late(connection, pool.id, segment, counts_from)


async def _seal(target: AsyncEngine, pool: int, first: int | None, sealed: int | None) -> None:
    async with transaction(target) as connection:
        await connection.execute(
            update(schema.pools)
            .where(schema.pools.c.id == pool)
            .values(first_height=first, sealed_height=sealed)
        )


async def _records(
    facts: Facts,
    reader: LogReader,
    booking: Booking,
    partition: str,
    places: dict[str, int],
    end: int,
) -> AsyncIterator[list[Entry | Aside]]:
    if partition not in places:
        places[partition] = await reader.start(partition)
    while places[partition] < end:
        records = await reader.read(partition, places[partition], READ_BYTES_MAX)
        if not records:
            raise LogShrank(shares_topic(facts.name), partition, places[partition])
        found: list[Entry | Aside] = []
        weight = 0
        for record in records:
            if record.position >= end:
                places[partition] = end
                break
            read = examine(partition, record, facts.name, facts.coin)
            if weight + read.weight > WEIGHT_SUM_MAX:
                yield found
                found, weight = [], 0
            found.append(_entry(booking, read))
            weight += read.weight
            places[partition] = record.next_position
        if found:
            yield found


def _entry(booking: Booking, read: Read) -> Entry | Aside:
    if read.columns is None:
        return Aside(read.partition, read.record.position, read.record.payload, read.fault)
    ids = booking.account_ids(read.columns.accounts)
    ours = booking.is_ours(read.columns.batch.producer)
    return entry_of(read.partition, read.record, read.columns, ids, ours=ours)


async def _move_late(
    connection: AsyncConnection, pool: int, segment: int, counts_from: int
) -> None:
    """Let a segment that was decided after its seal count where the decision put it."""
    table = schema.cells
    early = (table.c.pool == pool, table.c.segment == segment, table.c.height < counts_from)
    rows = (await connection.execute(select(table).where(*early))).all()
    await connection.execute(delete(table).where(*early))
    moved: dict[tuple[int, ...], dict[str, Any]] = {}
    for row in rows:
        place = (row.minute, row.revision, row.account)
        before = moved.get(place, {"weight": 0, "shares": 0})
        moved[place] = {
            **row._mapping,
            "height": counts_from,
            "seal": counts_from,
            "weight": before["weight"] + row.weight,
            "shares": before["shares"] + row.shares,
        }
    cells = list(moved.values())
    if cells:
        await decisions.add_cells(
            connection, {name: [cell[name] for cell in cells] for name in cells[0]}
        )


async def _take_archived(
    source: AsyncEngine,
    target: AsyncEngine,
    facts: Facts,
    proven: Proven,
    table: Cells,
    done: Replayed,
) -> None:
    cells = reference(facts, proven, table)
    rows = _cell_rows(facts.id, cells)
    for start in range(0, len(rows), CHUNK):
        async with transaction(target) as connection:
            await connection.execute(insert(schema.cells), rows[start : start + CHUNK])
    rest = len(cells) - len(proven.cells)
    if rest:
        done.copied.append(f"{rest} cells that are in no archive")
    copied = (schema.counters, schema.finds, schema.producers, schema.sessions, schema.missing)
    async with reading(source) as connection:
        for one in copied:
            async for chunk in _chunks(connection, one, *_of_pool(one, facts)):
                async with transaction(target) as other:
                    await other.execute(insert(one), chunk)
    done.copied += [one.name for one in copied]


def _of_pool(table: Table, facts: Facts) -> list[Any]:
    if "pool" in table.c:
        return [table.c.pool == facts.id]
    return [
        table.c.producer.in_(
            select(schema.producers.c.producer).where(schema.producers.c.pool == facts.id)
        )
    ]


def _cell_rows(pool: int, cells: Cells) -> list[dict[str, Any]]:
    return [
        {"pool": pool, **kind._asdict(), "minute": minute, "weight": weight, "shares": shares}
        for (kind, minute), (weight, shares) in cells.items()
    ]


async def _restore(source: AsyncEngine, target: AsyncEngine, row: Any) -> None:
    """Put back what booking could not know: who was closed, newest block values, heights."""
    producers, segments = schema.producers, schema.segments
    async with reading(source) as connection:
        known = (
            await connection.execute(select(producers).where(producers.c.pool == row.id))
        ).all()
        values = (
            await connection.execute(
                select(segments.c.id, segments.c.value).where(segments.c.coin == row.coin)
            )
        ).all()
    async with transaction(target) as connection:
        if known:
            await connection.execute(
                update(producers)
                .where(producers.c.producer == bindparam("name"))
                .values(state=bindparam("is"), partition=bindparam("at"), region=bindparam("of")),
                [
                    {"name": one.producer, "is": one.state, "at": one.partition, "of": one.region}
                    for one in known
                ],
            )
        if values:
            await connection.execute(
                update(segments)
                .where(segments.c.id == bindparam("number"))
                .values(value=bindparam("newest")),
                [{"number": one.id, "newest": one.value} for one in values],
            )
    await _seal(target, row.id, row.first_height, row.sealed_height)


async def _compare(
    source: AsyncEngine,
    target: AsyncEngine,
    facts: Facts,
    proven: Proven,
    standing: tuple[Cells, int],
    done: Replayed,
) -> None:
    """Name all in which the built pool is not identical."""
    async with reading(target) as connection:
        built = await prove(connection, facts)
        cells = await read_table(connection, facts.id)
        here = await _summary(connection, facts)
    async with reading(source) as connection:
        there = await _summary(connection, facts)
    table, merged = standing
    done.cells, done.archived_height = len(cells), built.height
    done.differences += _differing("cell", split_merged(table, merged), split_merged(cells, merged))
    shared = [height for height in proven.hashes if height <= built.height]
    for height in sorted(shared):
        found = built.hashes.get(height)
        if found is not None and found != proven.hashes[height]:
            hashes = f"built {found.hex()}, was {proven.hashes[height].hex()}"
            done.differences.append(f"archive of height {height}: {hashes}")
            break
    if built.height < proven.height:
        done.differences.append(f"archived up to {built.height} only, was {proven.height}")
    for what, standing_there in there.items():
        done.differences += _differing(what, standing_there, here[what])


async def _summary(connection: AsyncConnection, facts: Facts) -> dict[str, dict[Any, Any]]:
    """What of counters, producers and sessions must be the same."""
    counters, producers = schema.counters.c, schema.producers.c
    credited = await connection.execute(
        select(counters.account, counters.count, counters.weight).where(
            counters.pool == facts.id, counters.reason == 0
        )
    )
    rejected = await connection.execute(
        select(counters.reason, func.sum(counters.count))
        .where(counters.pool == facts.id, counters.reason != 0)
        .group_by(counters.reason)
    )
    marks = await connection.execute(
        select(producers.producer, producers.mark, producers.top, producers.promise).where(
            producers.pool == facts.id
        )
    )
    gaps = await connection.execute(select(schema.missing).where(*_of_pool(schema.missing, facts)))
    sessions = await connection.execute(
        select(schema.sessions).where(*_of_pool(schema.sessions, facts))
    )
    solved = await connection.execute(
        select(schema.finds)
        .join(schema.segments, schema.finds.c.segment == schema.segments.c.id)
        .join(schema.pools, schema.finds.c.pool == schema.pools.c.id)
        .where(
            schema.finds.c.pool == facts.id,
            # Before it they are not complete in a database that was upgraded.
            schema.segments.c.height >= func.coalesce(schema.pools.c.finds_from, 0),
        )
    )
    return {
        "solved shares of": {(row.segment, row.account): row.solved for row in solved},
        "credited shares of account": {row[0]: tuple(row[1:]) for row in credited},
        "rejects of reason": {row[0]: int(row[1]) for row in rejected},
        "producer": {bytes(row[0]).hex(): tuple(row[1:]) for row in marks},
        "missing batches of": {(bytes(row[0]).hex(), row[1]): row[2] for row in gaps},
        "session": {(bytes(row[0]).hex(), bytes(row[1]).hex()): tuple(row[2:]) for row in sessions},
    }


def _differing(what: str, was: dict[Any, Any], built: dict[Any, Any]) -> Iterable[str]:
    for key in sorted(was.keys() | built.keys(), key=str):
        if was.get(key) != built.get(key):
            yield f"{what} {key}: built {built.get(key)}, was {was.get(key)}"
