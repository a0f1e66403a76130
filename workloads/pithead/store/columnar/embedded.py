"""chdb: ClickHouse inside this process, over a directory that no other process may open.

It is importable only with the `embedded` extra. Threads do the work, as the interpreter
is free while a statement runs; each has a session of its own, because a session answers
nothing while an insert goes through it.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, TypeVar

from pithead.store.columnar.door import (
    QUERY_LIMIT_S,
    Answer,
    Column,
    ColumnarAway,
    ColumnarError,
    ColumnarMissing,
    ColumnarRefused,
    Params,
    Server,
    bound,
    length_of,
)
from pithead.store.columnar.native import decode, encode

THREADS = 4
"""Statements at a time; each uses as many of the machine's cores as it finds."""

ResultT = TypeVar("ResultT")

_CODE = re.compile(r"Code: (\d+)")


class EmbeddedColumnar:
    """Implements `Columnar` by chdb."""

    def __init__(self, directory: Path, first: Any, server: Server) -> None:
        """Use `open_embedded`; `first` is the session that has made the database."""
        self._where = str(directory)
        self._sessions = [first]
        self._server = server
        self._threads = ThreadPoolExecutor(THREADS, "chdb")
        self._mine = local()
        self._closed = False

    @property
    def server(self) -> Server:
        """What it is able to do."""
        return self._server

    async def command(self, text: str, params: Params | None = None) -> None:
        """Run a statement that answers nothing."""
        await self._run(lambda session: session.query(bound(text, params), "Native"))

    async def insert(self, table: str, columns: Mapping[str, Column], *, token: str = "") -> None:
        """Insert rows given as columns; a repeat with the same token changes nothing."""
        if not length_of(columns):
            return
        settings = "deduplicate_blocks_in_dependent_materialized_views = 1"
        if token:
            settings += f", insert_deduplication_token = {bound('{token}', {'token': token})}"
        statement = f"INSERT INTO {table} ({', '.join(columns)}) SETTINGS {settings}"

        def send(session: Any) -> None:
            with session.send_insert(statement, "Native") as inserter:
                inserter.append(encode(columns))
                inserter.finish()

        await self._run(send)

    async def query(
        self,
        text: str,
        params: Params | None = None,
        *,
        limit_s: int = QUERY_LIMIT_S,
        threads: int = 0,
    ) -> Answer:
        """Ask; see the protocol."""
        statement = f"{bound(text, params)} SETTINGS max_execution_time = {limit_s}"
        if threads:
            statement += f", max_threads = {threads}"
        return await self._run(
            lambda session: decode(session.query(statement, "Native").bytes() or b"")
        )

    async def close(self) -> None:
        """Close the sessions; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for session in self._sessions:
            await asyncio.to_thread(session.close)

    async def _run(self, work: Callable[[Any], ResultT]) -> ResultT:
        if self._closed:
            raise ColumnarAway(self._where, "it is closed")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._in_session, work)
        except RuntimeError as error:
            raise _known(self._where, error) from error

    def _in_session(self, work: Callable[[Any], ResultT]) -> ResultT:
        if not hasattr(self._mine, "session"):
            self._mine.session = _session(self._where)
            self._sessions.append(self._mine.session)
        return work(self._mine.session)


async def open_embedded(directory: Path) -> EmbeddedColumnar:
    """Open, or make, the database in `directory`. ColumnarMissing, ColumnarAway."""
    try:
        return await asyncio.to_thread(_opened, directory.absolute())  # noqa: ASYNC240
    except ImportError as error:
        raise ColumnarMissing(
            "chdb is not installed: install pithead with its `embedded` extra"
        ) from error
    except RuntimeError as error:
        raise ColumnarAway(str(directory), str(error)) from error


def _opened(directory: Path) -> EmbeddedColumnar:
    directory.mkdir(parents=True, exist_ok=True)
    # chdb takes a config.xml of the working directory for its own.
    with contextlib.chdir(directory):
        session = _session(str(directory))
    version = decode(session.query("SELECT version() AS version", "Native").bytes())
    return EmbeddedColumnar(directory, session, Server.of(str(version["version"][0])))


def _session(directory: str) -> Any:
    from chdb.session import Session  # noqa: PLC0415 - only where it is used

    make: Any = Session
    return make(directory)


def _known(where: str, error: RuntimeError) -> ColumnarError:
    found = _CODE.search(str(error))
    return ColumnarRefused(where, int(found[1]) if found else 0, str(error))
