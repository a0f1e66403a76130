"""Plans of analytics in the SQL database: what is to be written, decided once and for ever.

A plan names a range of each partition, the records in it that are not taken (seen before,
or unreadable) and the accounts that there were not. It is written together with the marks
of its producers, before anything of it is inserted; until it is done no other plan of its
topic is made, and whoever finds it undone repeats exactly it. A second process loses the
race for the next number and changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.shares import schema
from pithead.shares.progress import Gap, Progress
from pithead.store import insert_into, take_turns

ANALYTICS = "analytics"
"""Who signs decisions of this process."""

_RETENTION = "shares/analytics/retention"

CHUNK = 500
"""Values in one IN list."""


class PlanMoved(Exception):
    """Raised when another process has planned or finished: this one looks at the database anew."""

    def __init__(self, topic: str, number: int) -> None:
        super().__init__(
            f"plan {number} of {topic} was taken by another process; only one may write analytics"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written of one topic."""

    number: int
    """1, 2, 3 ... of this topic and generation of the columnar database."""
    log: str
    made_ms: int
    done: bool
    ranges: Mapping[str, tuple[int, int]]
    """By partition: the position of the first record, and that after the last."""
    skip: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """By partition: positions of records that are not taken."""
    nobodies: frozenset[str] = frozenset()
    """Accounts that only had rejects and did not exist."""
    floor_s: int = 0
    """Older rows are left out."""


NO_PLAN = Plan(0, "", 0, done=True, ranges={})


@dataclass(frozen=True, slots=True)
class State:
    """What is known of the columnar database."""

    store: str = ""
    """Its id; empty when none was ever filled."""
    generation: int = 0
    dropped_s: int = 0


async def read_state(connection: AsyncConnection) -> State:
    """The state; an empty one before the first."""
    row = (await connection.execute(select(schema.analytics_state))).first()
    return State() if row is None else State(row.store, row.generation, row.dropped_s)


async def begin_anew(connection: AsyncConnection, store: str) -> State:
    """Forget plans, positions and producers: the log is read into `store` from its beginning."""
    before = await read_state(connection)
    for table in (
        schema.analytics_state,
        schema.analytics_positions,
        schema.analytics_producers,
        schema.analytics_plans,
    ):
        await connection.execute(delete(table))
    after = State(store, before.generation + 1, 0)
    await connection.execute(
        insert(schema.analytics_state).values(
            id=1, store=after.store, generation=after.generation, dropped_s=after.dropped_s
        )
    )
    return after


async def floor(connection: AsyncConnection) -> int:
    """Second below which raw rows are gone, for a plan that is being made in this transaction."""
    await take_turns(connection, _RETENTION)
    return (await read_state(connection)).dropped_s


async def may_drop(connection: AsyncConnection, before_s: int) -> bool:
    """Note that raw rows before this second go; False while a plan is undone that may bring some.

    The figure never falls; plans made afterwards keep to it.
    """
    await take_turns(connection, _RETENTION)
    plans = schema.analytics_plans
    if (await connection.execute(select(plans.c.topic).where(plans.c.done.is_(False)))).first():
        return False
    table = schema.analytics_state
    await connection.execute(
        update(table).where(table.c.dropped_s < before_s).values(dropped_s=before_s)
    )
    return True


async def read_plan(connection: AsyncConnection, topic: str) -> Plan:
    """The newest plan of a topic, NO_PLAN before the first."""
    table = schema.analytics_plans
    row = (await connection.execute(select(table).where(table.c.topic == topic))).first()
    if row is None:
        return NO_PLAN
    content = row.content
    return Plan(
        row.number,
        row.log,
        row.made_ms,
        row.done,
        {name: (first, last) for name, (first, last) in content["ranges"].items()},
        {name: frozenset(found) for name, found in content["skip"].items()},
        frozenset(content["nobodies"]),
        content["floor_s"],
    )


async def claim(connection: AsyncConnection, topic: str, before: Plan) -> None:
    """Take the number after a plan that is done, in the transaction that makes the next one."""
    table = schema.analytics_plans
    if before is NO_PLAN:
        done = await connection.execute(
            insert_into(connection, table)
            .on_conflict_do_nothing()
            .values(topic=topic, number=1, log="", made_ms=0, done=False, content={})
        )
    else:
        done = await connection.execute(
            update(table)
            .where(table.c.topic == topic, table.c.number == before.number, table.c.done.is_(True))
            .values(number=before.number + 1, done=False)
        )
    if done.rowcount != 1:
        raise PlanMoved(topic, before.number + 1)


async def write_plan(connection: AsyncConnection, topic: str, plan: Plan) -> None:
    """Write the content of the plan whose number was claimed."""
    table = schema.analytics_plans
    await connection.execute(
        update(table)
        .where(table.c.topic == topic)
        .values(log=plan.log, made_ms=plan.made_ms, done=False, content=_content(plan))
    )


def _content(plan: Plan) -> dict[str, Any]:
    return {
        "ranges": {name: list(each) for name, each in plan.ranges.items()},
        "skip": {name: sorted(each) for name, each in plan.skip.items()},
        "nobodies": sorted(plan.nobodies),
        "floor_s": plan.floor_s,
    }


async def finish(connection: AsyncConnection, topic: str, plan: Plan) -> None:
    """Note that a plan is written, and move the positions past it. PlanMoved."""
    table = schema.analytics_plans
    done = await connection.execute(
        update(table)
        .where(table.c.topic == topic, table.c.number == plan.number, table.c.done.is_(False))
        .values(done=True)
    )
    if done.rowcount != 1:
        raise PlanMoved(topic, plan.number)
    for partition, (_, end) in sorted(plan.ranges.items()):
        await set_position(connection, topic, partition, plan.log, end)


async def read_positions(connection: AsyncConnection, topic: str, log: str) -> dict[str, int]:
    """Position to read on from, by partition, of one log."""
    table = schema.analytics_positions
    rows = await connection.execute(select(table).where(table.c.topic == topic, table.c.log == log))
    return {row.partition: row.position for row in rows}


async def set_position(
    connection: AsyncConnection, topic: str, partition: str, log: str, position: int
) -> None:
    """Write where to read on in a partition."""
    statement = insert_into(connection, schema.analytics_positions)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["topic", "partition"],
            set_={name: statement.excluded[name] for name in ("log", "position")},
        ).values(topic=topic, partition=partition, log=log, position=position)
    )


async def read_marks(
    connection: AsyncConnection, topic: str, producers: Iterable[bytes]
) -> dict[bytes, Progress]:
    """What was planned of producers before; those never met are left out."""
    table = schema.analytics_producers
    wanted = sorted(set(producers))
    marks: dict[bytes, Progress] = {}
    for start in range(0, len(wanted), CHUNK):
        rows = await connection.execute(
            select(table).where(
                table.c.topic == topic, table.c.producer.in_(wanted[start : start + CHUNK])
            )
        )
        marks |= {
            bytes(row.producer): Progress(
                top=row.top, gaps=tuple(Gap(first, last) for first, last in row.gaps)
            )
            for row in rows
        }
    return marks


async def write_marks(
    connection: AsyncConnection, topic: str, marks: Mapping[bytes, Progress]
) -> None:
    """Write what is planned of producers now."""
    if not marks:
        return
    statement = insert_into(connection, schema.analytics_producers)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["topic", "producer"],
            set_={name: statement.excluded[name] for name in ("top", "gaps")},
        ),
        [
            {
                "topic": topic,
                "producer": producer,
                "top": progress.top,
                "gaps": [[gap.first, gap.last] for gap in progress.gaps],
            }
            for producer, progress in sorted(marks.items())
        ],
    )
