"""A ClickHouse server, over its native protocol.

The driver blocks, so threads do the work, each with a connection of its own that is made
when it is first used. After anything that went wrong on a connection it is closed, and
the next statement opens another.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Any, TypeVar

import numpy as np

from pithead.store.columnar.door import (
    QUERY_LIMIT_S,
    Answer,
    Column,
    ColumnarAway,
    ColumnarError,
    ColumnarRefused,
    Params,
    Server,
    bound,
    length_of,
    literal,
)
from pithead.store.columnar.native import TYPES, plain

CONNECT_LIMIT_S = 5
SILENCE_LIMIT_S = 60
"""A server that works tells its progress ten times a second."""

BUSY = frozenset({159, 160, 202, 209, 210, 236, 241, 242, 252, 319, 394, 439})
"""Codes of a server that has too little time, memory, parts or threads just now, or is stopping."""

UNKNOWN_DATABASE = 81

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Reach:
    """How a server is reached."""

    host: str
    port: int
    database: str = "pithead"
    user: str = "default"
    password: str = ""
    secure: bool = False
    ca: Path | None = None
    """PEM file that the certificate is checked against, name included; unchecked when None."""
    connections: int = 4
    """At most; a statement beyond them waits."""

    @property
    def where(self) -> str:
        """For messages; without the password."""
        return f"ClickHouse at {self.host}:{self.port}/{self.database}"


class ServerColumnar:
    """Implements `Columnar` by clickhouse-driver."""

    def __init__(self, reach: Reach) -> None:
        """Use `open_server`."""
        self._reach = reach
        self._threads = ThreadPoolExecutor(reach.connections, "clickhouse")
        self._mine = local()
        self._clients: list[Any] = []
        self._server: Server | None = None
        self._closed = False

    @property
    def server(self) -> Server:
        """What it is able to do."""
        if self._server is None:
            raise ColumnarAway(self._reach.where, "it has not been opened")
        return self._server

    async def open(self) -> None:
        """Make the database when it is not there, and learn the release."""
        text = await self._run(lambda client: client.execute("SELECT version()"))
        self._server = Server.of(str(text[0][0]))

    async def command(self, text: str, params: Params | None = None) -> None:
        """Run a statement that answers nothing."""
        await self._run(lambda client: client.execute(bound(text, params)))

    async def insert(self, table: str, columns: Mapping[str, Column], *, token: str = "") -> None:
        """Insert rows given as columns; a repeat with the same token changes nothing."""
        if not length_of(columns):
            return
        settings: dict[str, Any] = {}
        if self.server.modern:
            settings["deduplicate_blocks_in_dependent_materialized_views"] = 1
            if token:
                settings["insert_deduplication_token"] = token
        # Rows never stand in the text: an old server would wait for them for ever.
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES"
        data = [
            column if isinstance(column, np.ndarray) else np.array(column, object)
            for column in columns.values()
        ]
        await self._run(
            lambda client: client.execute(statement, data, columnar=True, settings=settings)
        )

    async def query(
        self,
        text: str,
        params: Params | None = None,
        *,
        limit_s: int = QUERY_LIMIT_S,
        threads: int = 0,
    ) -> Answer:
        """Ask; see the protocol."""
        settings = {"max_execution_time": limit_s}
        if threads:
            settings["max_threads"] = threads
        columns, kinds = await self._run(
            lambda client: client.execute(
                bound(text, params),
                with_column_types=True,
                columnar=True,
                settings=settings,
            )
        )
        if not columns or not len(columns[0]):
            return Answer((), ())
        return Answer(
            tuple(name for name, _ in kinds),
            tuple(
                _column(name, kind, column)
                for (name, kind), column in zip(kinds, columns, strict=True)
            ),
        )

    async def close(self) -> None:
        """Close the connections; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for client in self._clients:
            client.disconnect()

    async def _run(self, work: Callable[[Any], ResultT]) -> ResultT:
        if self._closed:
            raise ColumnarAway(self._reach.where, "it is closed")
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._on_connection, work
        )

    def _on_connection(self, work: Callable[[Any], ResultT]) -> ResultT:
        from clickhouse_driver.errors import Error  # noqa: PLC0415 - only where it is used

        client = getattr(self._mine, "client", None)
        if client is None:
            client = self._mine.client = _client(self._reach, self._reach.database)
            self._clients.append(client)
        try:
            try:
                return work(client)
            except Error as error:
                if error.code != UNKNOWN_DATABASE:
                    raise
                client.disconnect()
                _make_database(self._reach)
                return work(client)
        except (Error, OSError, EOFError) as error:
            client.disconnect()
            raise _known(self._reach.where, error) from error


async def open_server(reach: Reach) -> ServerColumnar:
    """Connect; the database is made when it is not there. ColumnarAway, ColumnarRefused."""
    door = ServerColumnar(reach)
    try:
        await door.open()
    except BaseException:
        await door.close()
        raise
    return door


def _client(reach: Reach, database: str) -> Any:
    from clickhouse_driver import Client  # noqa: PLC0415 - only where it is used

    return Client(
        reach.host,
        port=reach.port,
        database=database,
        user=reach.user,
        password=reach.password,
        secure=reach.secure,
        verify=reach.ca is not None,
        ca_certs=str(reach.ca) if reach.ca is not None else None,
        client_name="pithead",
        connect_timeout=CONNECT_LIMIT_S,
        send_receive_timeout=SILENCE_LIMIT_S,
        settings={"use_numpy": True},
    )


def _make_database(reach: Reach) -> None:
    client = _client(reach, "default")
    try:
        client.execute(f"CREATE DATABASE IF NOT EXISTS {_quoted(reach.database)}")
    finally:
        client.disconnect()


def _quoted(name: str) -> str:
    return f"`{literal(name)[1:-1].replace('`', '')}`"


def _column(name: str, kind: str, column: Any) -> Column:
    kind = plain(kind)
    if kind in TYPES:
        return np.asarray(column, np.dtype(TYPES[kind]))
    if kind != "String":
        raise TypeError(f"column {name} is {kind}; ask for integers, Float64 or String")
    return [str(value) for value in column]


def _known(where: str, error: Exception) -> ColumnarError:
    from clickhouse_driver.errors import ServerException  # noqa: PLC0415 - only where it is used

    if isinstance(error, ServerException) and error.code not in BUSY:
        return ColumnarRefused(where, int(error.code), str(error).split("Stack trace:")[0])
    return ColumnarAway(where, str(error).split("Stack trace:")[0] or type(error).__name__)
