"""What the hub remembers of relayed regions, in the database.

Every writing transaction of a stream first locks its rows and checks that it
still owns them: so a connection that was taken over, in this process or another,
changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.shares import decisions, schema
from pithead.shares.regions.arrivals import Arrival, Topic
from pithead.shares.regions.begin import Begin, Found, Kept, begin
from pithead.shares.regions.ends import Far, FarPartition
from pithead.store import insert_into, reading, transaction

ASIDE_ROWS_MAX = 1000
"""Records of a region that are kept with their bytes, by topic; garbage beyond is only counted."""

PRUNE_ROWS = 1000
"""Pairs looked at in one go."""

Place = tuple[str, str]
"""Topic and partition."""


class Superseded(Exception):
    """Raised when another connection has taken a region over: this one changes nothing more."""

    def __init__(self, region: str) -> None:
        super().__init__(f"region {region}: another relay of it has connected")


@dataclass(slots=True)
class Progress:
    """What became durable of one partition since it was last stored."""

    position: int
    hub_position: int
    height: int = 0
    pair: bool = False
    """Whether it is kept as a pair beside the newest."""


@dataclass(slots=True)
class Brought:
    """What became durable of a region since it was last stored."""

    progress: dict[Place, Progress] = field(default_factory=dict)
    producers: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """(pool, newest time)"""
    aside: list[tuple[Topic, str, Arrival]] = field(default_factory=list)
    """Topic, partition, record."""


class Told(NamedTuple):
    """An answer to a question about the ends."""

    answered: Mapping[int, int]
    """By pool: the sealers' question that it answers."""
    heard_ms: Mapping[int, int]
    """By pool: the newest time heard of its log before it was asked."""
    ends: Mapping[Place, int]


class RegionRows:
    """The rows of one region and some of its pools, written by one connection."""

    def __init__(
        self, engine: AsyncEngine, region: str, pools: Sequence[int], owner: bytes
    ) -> None:
        self._engine = engine
        self._region = region
        self._pools = sorted(pools)
        self._owner = owner

    async def take_over(
        self, log: str, found: Mapping[Place, Found], hub_logs: Mapping[str, str], now_ms: int
    ) -> dict[Place, Begin]:
        """Own the region from now on; return from where each partition is read."""
        async with transaction(self._engine) as connection:
            for pool in self._pools:
                await self._own(connection, pool, log)
            kept = await self._kept(connection, {topic for topic, _ in found})
            begins = {}
            for place, there in found.items():
                begins[place] = begin(kept.get(place), there, hub_logs[place[0]])
                await self._begin(connection, place, there, hub_logs[place[0]], begins[place])
                if begins[place].action:
                    await decisions.record(
                        connection,
                        who=decisions.ACCOUNTING,
                        action=begins[place].action,
                        subject=f"{self._region}: {place[0]}/{place[1]}",
                        reason=begins[place].reason,
                        now_ms=now_ms,
                    )
        return begins

    async def store(self, brought: Brought, now_ms: int) -> None:
        """Store what became durable. Raises Superseded."""
        async with transaction(self._engine) as connection:
            await self._check_owned(connection)
            for (topic, partition), progress in sorted(brought.progress.items()):
                await self._move(connection, topic, partition, progress)
            await self._meet(connection, brought.producers)
            await self._set_aside(connection, brought.aside, now_ms)

    async def tell(self, told: Told, now_ms: int) -> None:
        """Store an answer about the ends. Raises Superseded."""
        streams, positions = schema.relay_streams, schema.relay_positions
        async with transaction(self._engine) as connection:
            owned = await self._check_owned(connection)
            for pool in self._pools:
                row = owned[pool]
                moved = told.heard_ms[pool] > row.heard_ms
                await connection.execute(
                    update(streams)
                    .where(streams.c.region == self._region, streams.c.pool == pool)
                    .values(
                        answered=told.answered[pool],
                        told_ms=now_ms,
                        heard_ms=max(row.heard_ms, told.heard_ms[pool]),
                        moved_ms=now_ms if moved else row.moved_ms,
                    )
                )
            if told.ends:
                await connection.execute(
                    update(positions)
                    .where(
                        positions.c.region == self._region,
                        positions.c.topic == bindparam("of_topic"),
                        positions.c.partition == bindparam("of_partition"),
                    )
                    .values(told_end=bindparam("there")),
                    [
                        {"of_topic": topic, "of_partition": partition, "there": end}
                        for (topic, partition), end in sorted(told.ends.items())
                    ],
                )

    async def asked(self) -> dict[int, int]:
        """The sealers' newest question, by pool. Raises Superseded."""
        table = schema.relay_streams
        async with reading(self._engine) as connection:
            rows = (
                await connection.execute(select(table).where(table.c.region == self._region))
            ).all()
        found = {row.pool: row for row in rows}
        self._check(found)
        return {pool: found[pool].asked for pool in self._pools}

    async def heard_ms(self) -> dict[int, int]:
        """The newest time known of the region's log, by pool."""
        table = schema.relay_streams
        async with reading(self._engine) as connection:
            rows = await connection.execute(select(table).where(table.c.region == self._region))
            return {row.pool: row.heard_ms for row in rows if row.pool in self._pools}

    async def strangers(self, producers: Iterable[bytes]) -> dict[bytes, str]:
        """Of producers, those that another region has brought, and which."""
        named = sorted(set(producers))
        found: dict[bytes, str] = {}
        async with reading(self._engine) as connection:
            for table in (schema.producers, schema.relay_producers):
                rows = await connection.execute(
                    select(table.c.producer, table.c.region).where(
                        table.c.producer.in_(named), table.c.region != self._region
                    )
                )
                found |= {bytes(row.producer): row.region for row in rows}
        return found

    async def release(self, topics: Sequence[Topic], buried: Mapping[str, int]) -> dict[Place, int]:
        """Find what nobody needs any more, by partition; forget the pairs behind it.

        Shares: what accounting has read here. Blocks: those at heights of at most
        `buried` of their pool, which `rewards` has long taken.
        """
        released = {}
        async with transaction(self._engine) as connection:
            await self._check_owned(connection)
            for topic in topics:
                table = schema.relay_positions
                rows = await connection.execute(
                    select(table).where(table.c.topic == topic.name, table.c.region == self._region)
                )
                for row in rows.all():
                    limit = buried.get(topic.pool, 0) if topic.blocks else None
                    position = await self._needless(connection, row, limit)
                    if position > row.released:
                        released[topic.name, row.partition] = position
        return released

    async def _own(self, connection: AsyncConnection, pool: int, log: str) -> None:
        table = schema.relay_streams
        mine = and_(table.c.region == self._region, table.c.pool == pool)
        await connection.execute(
            insert_into(connection, table)
            .on_conflict_do_nothing()
            .values(**_new_stream(self._region, pool, asked=0))
        )
        before = (await connection.execute(select(table).where(mine).with_for_update())).one()
        # Answers and times were of the log that was there before.
        forget = {"answered": 0, "told_ms": 0, "heard_ms": 0} if before.log != log else {}
        await connection.execute(
            update(table).where(mine).values(owner=self._owner, log=log, **forget)
        )

    async def _check_owned(self, connection: AsyncConnection) -> dict[int, Any]:
        table = schema.relay_streams
        rows = await connection.execute(
            select(table)
            .where(table.c.region == self._region, table.c.pool.in_(self._pools))
            .order_by(table.c.pool)
            .with_for_update()
        )
        found = {row.pool: row for row in rows}
        self._check(found)
        return found

    def _check(self, found: Mapping[int, Any]) -> None:
        for pool in self._pools:
            if pool not in found or bytes(found[pool].owner) != self._owner:
                raise Superseded(self._region)

    async def _kept(self, connection: AsyncConnection, topics: Iterable[str]) -> dict[Place, Kept]:
        table = schema.relay_positions
        rows = await connection.execute(
            select(table).where(
                table.c.region == self._region, table.c.topic.in_(sorted(set(topics)))
            )
        )
        return {
            (row.topic, row.partition): Kept(
                row.log, row.position, row.told_end, row.hub_log, row.hub_position
            )
            for row in rows
        }

    async def _begin(
        self, connection: AsyncConnection, place: Place, found: Found, hub_log: str, how: Begin
    ) -> None:
        table = schema.relay_positions
        topic, partition = place
        values: dict[str, object] = {"position": how.position, "told_end": found.end}
        if how.anew:
            await connection.execute(delete(schema.relay_pairs).where(*self._pairs(place)))
            values |= {"log": found.log, "hub_log": hub_log, "hub_position": 0, "released": 0}
        statement = insert_into(connection, table).values(
            topic=topic,
            region=self._region,
            partition=partition,
            **{"log": found.log, "hub_log": hub_log, "hub_position": 0, "released": 0} | values,
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["topic", "region", "partition"], set_=values
            )
        )

    def _pairs(self, place: Place) -> tuple[Any, ...]:
        table = schema.relay_pairs.c
        return (
            table.topic == place[0],
            table.region == self._region,
            table.partition == place[1],
        )

    async def _move(
        self, connection: AsyncConnection, topic: str, partition: str, progress: Progress
    ) -> None:
        table = schema.relay_positions
        await connection.execute(
            update(table)
            .where(
                table.c.topic == topic,
                table.c.region == self._region,
                table.c.partition == partition,
            )
            .values(position=progress.position, hub_position=progress.hub_position)
        )
        if progress.pair:
            await connection.execute(
                insert(schema.relay_pairs).values(
                    topic=topic,
                    region=self._region,
                    partition=partition,
                    position=progress.position,
                    hub_position=progress.hub_position,
                    height=progress.height,
                )
            )

    async def _meet(
        self, connection: AsyncConnection, producers: Mapping[bytes, tuple[int, int]]
    ) -> None:
        if not producers:
            return
        table = schema.relay_producers
        statement = insert_into(connection, table)
        newer = statement.excluded.last_ms > table.c.last_ms
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["producer"],
                set_={"last_ms": statement.excluded.last_ms},
                where=newer,
            ),
            [
                {"producer": name, "pool": pool, "region": self._region, "last_ms": last_ms}
                for name, (pool, last_ms) in sorted(producers.items())
            ],
        )

    async def _set_aside(
        self,
        connection: AsyncConnection,
        aside: Sequence[tuple[Topic, str, Arrival]],
        now_ms: int,
    ) -> None:
        table = schema.set_aside
        for topic in {topic for topic, _, _ in aside}:
            kept = await connection.scalar(
                select(func.count())
                .select_from(table)
                .where(
                    table.c.topic == topic.name,
                    table.c.partition.startswith(f"{self._region}/", autoescape=True),
                )
            )
            rows = [
                {
                    "topic": topic.name,
                    "partition": f"{self._region}/{partition}",
                    "position": arrival.position,
                    "reason": arrival.fault,
                    "payload": arrival.payload,
                    "at_ms": now_ms,
                }
                for of, partition, arrival in aside
                if of == topic
            ][: max(0, ASIDE_ROWS_MAX - (kept or 0))]
            if rows:
                await connection.execute(
                    insert_into(connection, table).on_conflict_do_nothing(), rows
                )

    async def _needless(self, connection: AsyncConnection, row: Any, buried: int | None) -> int:
        """Position before which a partition is not needed; `buried` is None for shares."""
        place = (row.topic, row.partition)
        pairs = schema.relay_pairs.c
        query = select(schema.relay_pairs).where(*self._pairs(place)).order_by(pairs.position)
        found = (await connection.execute(query.limit(PRUNE_ROWS))).all()
        if buried is None:
            table = schema.positions.c
            read = await connection.scalar(
                select(table.position).where(
                    table.topic == row.topic,
                    table.partition == row.partition,
                    table.log == row.hub_log,
                )
            )
            good = [pair.position for pair in found if pair.hub_position <= (read or 0)]
            if row.hub_position <= (read or 0):
                good.append(row.position)
        else:
            good = []
            for pair in found:
                if pair.height > buried:
                    break
                good.append(pair.position)
        position = max(good, default=0)
        if position > row.released:
            await connection.execute(
                delete(schema.relay_pairs).where(*self._pairs(place), pairs.position <= position)
            )
            kept = schema.relay_positions
            await connection.execute(
                update(kept)
                .where(
                    kept.c.topic == row.topic,
                    kept.c.region == self._region,
                    kept.c.partition == row.partition,
                )
                .values(released=position)
            )
        return position


async def ask(engine: AsyncEngine, pool: int, regions: Iterable[str]) -> dict[str, int]:
    """Ask regions for their ends now; returns the numbers of the questions."""
    table = schema.relay_streams
    wanted = sorted(regions)
    async with transaction(engine) as connection:
        # One that never connected is asked its first question when it does.
        for region in wanted:
            statement = insert_into(connection, table).values(**_new_stream(region, pool, asked=1))
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["region", "pool"], set_={"asked": table.c.asked + 1}
                )
            )
        rows = await connection.execute(
            select(table.c.region, table.c.asked).where(
                table.c.pool == pool, table.c.region.in_(wanted)
            )
        )
        return {row.region: row.asked for row in rows}


def _new_stream(region: str, pool: int, asked: int) -> dict[str, object]:
    return {
        "region": region,
        "pool": pool,
        "owner": b"",
        "log": "",
        "asked": asked,
        "answered": 0,
        "told_ms": 0,
        "heard_ms": 0,
        "moved_ms": 0,
    }


async def read_far(
    connection: AsyncConnection, pool: int, topic: str, regions: Iterable[str]
) -> dict[str, Far]:
    """The relayed regions of a pool as they are known now."""
    wanted = sorted(regions)
    streams, positions = schema.relay_streams.c, schema.relay_positions.c
    partitions: dict[str, dict[str, FarPartition]] = {region: {} for region in wanted}
    rows = await connection.execute(
        select(schema.relay_positions).where(positions.topic == topic, positions.region.in_(wanted))
    )
    for row in rows:
        partitions[row.region][row.partition] = FarPartition(
            row.log, row.position, row.told_end, row.hub_log, row.hub_position
        )
    known = {
        row.region: Far(
            row.region,
            row.log,
            row.answered,
            row.told_ms,
            row.heard_ms,
            row.moved_ms,
            partitions[row.region],
        )
        for row in await connection.execute(
            select(schema.relay_streams).where(streams.pool == pool, streams.region.in_(wanted))
        )
    }
    return {region: known.get(region, Far(region)) for region in wanted}
