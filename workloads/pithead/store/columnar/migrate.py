"""Brings a columnar database to the newest of its numbered versions.

Each version is a list of statements that may be run again over what they have done, as
a process can die between two of them and another may be running the same ones. The
number is written after the last statement. There is no lock: where a caller has a SQL
database it takes a turn there, but nothing breaks without one.
"""

from collections.abc import Callable, Mapping, Sequence

from pithead.store.columnar.door import Columnar, Server

Version = Callable[[Server], Sequence[str]]
"""Statements of a version for a server."""

VERSION_TABLE = "schema_version"


class ColumnarTooNew(Exception):
    """Raised when the database carries a version that this program does not know."""


class ColumnarTooOld(Exception):
    """Raised when the database has not been brought to the version that is needed."""


async def migrate_columnar(door: Columnar, versions: Mapping[int, Version]) -> int:
    """Run the versions that are missing, in order; return the newest. ColumnarTooNew."""
    await door.command(
        f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version UInt32, made DateTime('UTC')) "
        "ENGINE = MergeTree ORDER BY version"
    )
    newest = max(versions)
    found = await version_of(door)
    if found > newest:
        raise ColumnarTooNew(
            f"the columnar database is of version {found}, this program knows {newest}: "
            "upgrade pithead"
        )
    for number in range(found + 1, newest + 1):
        for statement in versions[number](door.server):
            await door.command(statement)
        await door.command(
            f"INSERT INTO {VERSION_TABLE} SELECT toUInt32({number}) AS version, now() AS made"
        )
    return newest


async def check_columnar(door: Columnar, expected: int) -> None:
    """Pass when the database is of this version; ColumnarTooNew, ColumnarTooOld."""
    found = await version_of(door)
    if found > expected:
        raise ColumnarTooNew(f"the columnar database is of version {found}, needed is {expected}")
    if found < expected:
        raise ColumnarTooOld(f"the columnar database is of version {found}, needed is {expected}")


async def version_of(door: Columnar) -> int:
    """Version of the database, 0 before the first."""
    there = await door.query(
        "SELECT count() AS n FROM system.tables WHERE database = currentDatabase() "
        "AND name = {name}",
        {"name": VERSION_TABLE},
    )
    if there.rows() == [(0,)]:
        return 0
    newest = f"SELECT max(version) AS newest FROM {VERSION_TABLE}"  # noqa: S608 - a constant
    rows = (await door.query(newest)).rows()
    return int(rows[0][0]) if rows else 0
