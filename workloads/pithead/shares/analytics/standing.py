"""Whether a columnar database and what the SQL database says of it belong together.

A database has an id of its own, made with its tables. An empty one is filled from the
log without asking; one that holds rows which the SQL database knows nothing of is left
as it is, because filling it anew loses what the log no longer has: a person decides.
"""

import secrets

from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares.analytics.ddl import VERSIONS
from pithead.shares.analytics.plans import begin_anew, read_state
from pithead.shares.analytics.reading import producer_id
from pithead.shares.schema import analytics_producers
from pithead.store import reading, take_turns, transaction
from pithead.store.columnar import Columnar
from pithead.store.columnar.migrate import VERSION_TABLE, migrate_columnar, version_of

AHEAD_S = 600
"""How far back raw rows are compared with the marks of producers."""


class StoreConflict(Exception):
    """Raised when a columnar database holds rows that the SQL database does not know."""


async def prepare(engine: AsyncEngine, door: Columnar) -> None:
    """Bring the columnar database to its newest version and see that it is the one filled before.

    Raises StoreConflict, ColumnarTooNew, and errors of both databases.
    """
    await migrate_columnar(door, VERSIONS)
    filled = await _holds_rows(door)
    async with transaction(engine) as connection:
        # Two at once would each make an id.
        await take_turns(connection, "shares/analytics")
        found = await _own_id(door)
        state = await read_state(connection)
        if state.store != found and filled:
            raise StoreConflict(
                "the columnar database holds rows of another share database: point analytics at "
                "an empty one, or fill this one anew with `pithead shares analytics --rebuild`"
            )
        if state.store != found:
            await begin_anew(connection, found)
    if filled:
        await _check_not_ahead(engine, door)


async def rebuild(engine: AsyncEngine, door: Columnar) -> None:
    """Drop all that the columnar database holds; the log is read into it from its beginning.

    May break off anywhere and be run again. Nothing else may write to it meanwhile.
    """
    async with transaction(engine) as connection:
        # What comes after belongs to no database until the tables are new.
        await begin_anew(connection, "")
    if await version_of(door):
        found = await door.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() "
            "ORDER BY engine = 'MaterializedView' DESC, name"
        )
        names = [str(name) for (name,) in found.rows()]
        # The version goes last: without it nothing would be found to drop the next time.
        for name in sorted(names, key=lambda each: each == VERSION_TABLE):
            await door.command(f"DROP TABLE IF EXISTS {name}")
    await prepare(engine, door)


async def _own_id(door: Columnar) -> str:
    """The id of the columnar database, made when it has none; the least of two made at once."""
    question = "SELECT id FROM store ORDER BY id LIMIT 1"
    if not len(await door.query(question)):
        await door.insert("store", {"id": [secrets.token_hex(16)]})
    return str((await door.query(question)).rows()[0][0])


async def _holds_rows(door: Columnar) -> bool:
    rows = await door.query(
        "SELECT sum(rows) AS n FROM system.parts WHERE database = currentDatabase() AND active "
        "AND table IN ('shares', 'rejects', 'worker_d')"
    )
    return len(rows) > 0 and rows.rows()[0][0] > 0


async def _check_not_ahead(engine: AsyncEngine, door: Columnar) -> None:
    """See that producers' newest raw rows were planned: a SQL backup may be older than them."""
    newest = await door.query("SELECT toUInt32(max(t)) AS newest FROM shares")
    since = int(newest.rows()[0][0]) - AHEAD_S if len(newest) else 0
    written = await door.query(
        "SELECT producer, max(seq) AS top FROM shares "
        "WHERE t >= toDateTime({since}, 'UTC') GROUP BY producer",
        {"since": max(since, 0)},
    )
    table = analytics_producers
    async with reading(engine) as connection:
        rows = await connection.execute(table.select())
        tops: dict[int, int] = {}
        for row in rows:
            number = producer_id(bytes(row.producer))
            tops[number] = max(tops.get(number, -1), row.top)
    ahead = [number for number, top in written.rows() if top > tops.get(number, -1)]
    if ahead:
        raise StoreConflict(
            f"the columnar database holds rows of {len(ahead)} producers that the share database "
            "has not planned, as after a restored backup: fill it anew with "
            "`pithead shares analytics --rebuild`"
        )
