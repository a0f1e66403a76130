"""Producers and positions in the database, read for one poll and written after it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.shares import schema
from pithead.shares.progress import Gap, Producer, Progress
from pithead.shares.states import ProducerState
from pithead.store import insert_into


class Place(NamedTuple):
    """Where to read on in one partition."""

    log: str
    """Name of the log whose position it is."""
    position: int


class PositionMoved(Exception):
    """Raised when another process has read on: this one is a left-over and changes nothing."""

    def __init__(self, topic: str, partition: str, expected: int) -> None:
        super().__init__(
            f"position of {topic}/{partition} is no longer {expected}: another process reads this "
            "log into the same database; stop one of them"
        )


async def read_places(connection: AsyncConnection, topic: str) -> dict[str, Place]:
    """Where to read on, by partition, of whatever log."""
    table = schema.positions
    rows = await connection.execute(select(table).where(table.c.topic == topic))
    return {row.partition: Place(row.log, row.position) for row in rows}


async def read_positions(connection: AsyncConnection, topic: str, log: str) -> dict[str, int]:
    """Position to read on from, by partition, of one log; those of another mean nothing here."""
    places = await read_places(connection, topic)
    return {name: place.position for name, place in places.items() if place.log == log}


async def add_position(
    connection: AsyncConnection, topic: str, partition: str, place: Place
) -> None:
    """Begin a partition that was never read; one that was keeps its position."""
    await connection.execute(
        insert_into(connection, schema.positions)
        .on_conflict_do_nothing()
        .values(topic=topic, partition=partition, log=place.log, position=place.position)
    )


async def move_position(
    connection: AsyncConnection, topic: str, partition: str, old: Place, new: Place
) -> None:
    """Fence and move: exactly the row that still stands at `old`, else PositionMoved."""
    table = schema.positions
    result = await connection.execute(
        update(table)
        .where(
            table.c.topic == topic,
            table.c.partition == partition,
            table.c.log == old.log,
            table.c.position == old.position,
        )
        .values(log=new.log, position=new.position)
    )
    if result.rowcount != 1:
        raise PositionMoved(topic, partition, old.position)


async def read_producers(
    connection: AsyncConnection, pool: int, named: Iterable[bytes]
) -> dict[bytes, Producer]:
    """The producers named, of whatever pool, and all open ones of this pool."""
    table = schema.producers
    rows = (
        await connection.execute(
            select(table).where(
                or_(
                    table.c.producer.in_(sorted(set(named))),
                    (table.c.pool == pool) & (table.c.state == ProducerState.OPEN),
                )
            )
        )
    ).all()
    ranges = schema.missing
    gaps: dict[bytes, list[Gap]] = {}
    for row in await connection.execute(
        select(ranges)
        .where(ranges.c.producer.in_([row.producer for row in rows]))
        .order_by(ranges.c.producer, ranges.c.first)
    ):
        gaps.setdefault(bytes(row.producer), []).append(Gap(row.first, row.last))
    return {
        bytes(row.producer): Producer(
            row.pool,
            row.region,
            row.partition,
            Progress(
                state=ProducerState(row.state),
                top=row.top,
                gaps=tuple(gaps.get(bytes(row.producer), ())),
                promise=row.promise,
                promise_seen=row.promise_seen,
                end_seen=row.end_seen,
                last_ms=row.last_ms,
            ),
        )
        for row in rows
    }


async def write_producers(
    connection: AsyncConnection,
    before: Mapping[bytes, Producer],
    after: Mapping[bytes, Producer],
) -> None:
    """Write the producers that have changed."""
    changed = {name: row for name, row in after.items() if before.get(name) != row}
    if not changed:
        return
    statement = insert_into(connection, schema.producers)
    columns = ("mark", "top", "promise", "promise_seen", "end_seen", "state", "last_ms")
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["producer"],
            set_={name: statement.excluded[name] for name in columns},
        ),
        [_row(name, producer) for name, producer in changed.items()],
    )
    regapped = [
        name
        for name, producer in changed.items()
        if producer.progress.gaps != (before[name].progress.gaps if name in before else ())
    ]
    if not regapped:
        return
    await connection.execute(delete(schema.missing).where(schema.missing.c.producer.in_(regapped)))
    rows = [
        {"producer": name, "first": gap.first, "last": gap.last}
        for name in regapped
        for gap in changed[name].progress.gaps
    ]
    if rows:
        await connection.execute(insert(schema.missing), rows)


def _row(name: bytes, producer: Producer) -> dict[str, object]:
    progress = producer.progress
    return {
        "producer": name,
        "pool": producer.pool,
        "region": producer.region,
        "partition": producer.partition,
        "mark": progress.mark,
        "top": progress.top,
        "promise": progress.promise,
        "promise_seen": progress.promise_seen,
        "end_seen": progress.end_seen,
        "state": progress.state,
        "last_ms": progress.last_ms,
    }
