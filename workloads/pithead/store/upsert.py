"""INSERT .. ON CONFLICT, which SQLite and PostgreSQL spell alike but SQLAlchemy does not share."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_into(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Start an INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


async def add_up(
    connection: AsyncConnection,
    table: Table,
    columns: Mapping[str, int | Sequence[int]],
    sums: Sequence[str],
) -> None:
    """Insert rows of integers; where one with that primary key stands, add the columns `sums`.

    `columns` holds every column of the table, at least one as a sequence; a single integer
    stands for all rows. No two rows have the same primary key. PostgreSQL gets arrays:
    a parameter for each value of each row costs a client several times as much. The
    statement goes to the driver as it is, without SQLAlchemy's work on each value.
    """
    arrays = {name: column for name, column in columns.items() if not isinstance(column, int)}
    size = len(next(iter(arrays.values())))
    if any(len(column) != size for column in arrays.values()):
        raise ValueError(f"columns of {table.name} differ in length")
    if not size:
        return
    names = [column.name for column in table.columns]
    if connection.dialect.name == "postgresql":
        text, parameters = _with_arrays(connection, table, columns, arrays)
        await connection.exec_driver_sql(text + _summing(connection, table, sums), parameters)
        return
    places = ", ".join("?" * len(names))
    text = f"INSERT INTO {_quoted(connection, table)} ({_listed(connection, names)}) "
    rows = list(
        zip(
            *(
                repeat(column, size) if isinstance(column, int) else column
                for column in (columns[name] for name in names)
            ),
            strict=True,
        )
    )
    await connection.exec_driver_sql(
        f"{text}VALUES ({places}){_summing(connection, table, sums)}", rows
    )


def _with_arrays(
    connection: AsyncConnection,
    table: Table,
    columns: Mapping[str, int | Sequence[int]],
    arrays: Mapping[str, Sequence[int]],
) -> tuple[str, tuple[int | str, ...]]:
    """Return an INSERT that selects from unnested arrays, and its parameters."""
    types = {column.name: column.type.compile(connection.dialect) for column in table.columns}
    selected, unnested = [], []
    for number, name in enumerate(columns, 1):
        if name in arrays:
            selected.append(f"given.{_listed(connection, [name])}")
            unnested.append(f"${number}::text::{types[name]}[]")
        else:
            selected.append(f"${number}::{types[name]}")
    text = (
        f"INSERT INTO {_quoted(connection, table)} ({_listed(connection, columns)}) "  # noqa: S608
        f"SELECT {', '.join(selected)} FROM unnest({', '.join(unnested)}) "
        f"AS given({_listed(connection, arrays)})"
    )
    # As text: the driver asks every element of an array whether it is a container, which takes
    # several times as long as writing the number down.
    parameters = tuple(
        column if isinstance(column, int) else "{" + str(list(column))[1:-1] + "}"
        for column in columns.values()
    )
    return text, parameters


def _summing(connection: AsyncConnection, table: Table, sums: Sequence[str]) -> str:
    key = _listed(connection, [column.name for column in table.primary_key.columns])
    name = _quoted(connection, table)
    quoted = map(connection.dialect.identifier_preparer.quote, sums)
    added = [f"{one} = {name}.{one} + excluded.{one}" for one in quoted]
    return f" ON CONFLICT ({key}) DO UPDATE SET {', '.join(added)}"


def _quoted(connection: AsyncConnection, table: Table) -> str:
    return connection.dialect.identifier_preparer.format_table(table)


def _listed(connection: AsyncConnection, names: Iterable[str]) -> str:
    return ", ".join(map(connection.dialect.identifier_preparer.quote, names))
