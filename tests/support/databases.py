"""Databases for tests: the same test body runs on SQLite and on PostgreSQL.

A module (or test) marked `databases` is run once on each. What it calls here with a
directory of its own gives it a file there, or a database of that name on the
server of this test session; the same directory and service give the same database.
"""

import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import MetaData, make_url

from pithead.store import open_store, transaction
from pithead.store.migrate import migrate
from pithead.store.version import VERSION_TABLE
from tests.support.postgresql import FAST, PostgresServer

_TEMPLATE_LIMIT_S = 60


class Databases:
    """Where tests of this moment keep their databases: files, or a server."""

    def __init__(self) -> None:
        self.server: PostgresServer | None = None
        """Set while a test runs on PostgreSQL."""
        self._templates: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._made: dict[str, str] = {}
        """Databases of the test, and what each is a copy of."""
        self._named: dict[str, str] = {}
        """The database that stands for a directory and service."""
        self._spare: list[str] = []

    @contextmanager
    def example(self) -> Iterator[Path]:
        """Directory of one example of a property; databases made there serve the next one, emptied.

        Emptying takes a quarter of the time of making. For services whose new
        databases hold no rows.
        """
        with tempfile.TemporaryDirectory() as directory:
            before = set(self._named)
            try:
                yield Path(directory)
            finally:
                self._spare += [self._named.pop(name) for name in self._named.keys() - before]

    async def empty(self, directory: Path, name: str) -> str:
        """URL of a database without tables."""
        if self.server is None:
            return _file_url(directory, name)
        return self.server.socket_url(await self._copied(_name(directory, name), "template0"))

    async def migrated(self, directory: Path, service: str) -> str:
        """URL of a service's database; migrations run once, then their result is copied."""
        if self.server is None:
            return await self._migrated_file(directory, service)
        if service not in self._templates:
            template = f"template_{service}"
            await self._create(template, "template0")
            await migrate(self.server.socket_url(template), f"pithead.{service}")
            self._templates[service] = template
        database = await self._copied(_name(directory, service), self._templates[service])
        return self.server.socket_url(database)

    async def with_tables(self, directory: Path, service: str, metadata: MetaData) -> str:
        """URL of a database with the tables of `metadata`: no triggers, no version."""
        if self.server is None:
            url = _file_url(directory, service)
            await _create_all(url, metadata)
            return url
        key = f"{service}_tables"
        if key not in self._templates:
            template = f"template_{key}"
            await self._create(template, "template0")
            await _create_all(self.server.socket_url(template), metadata)
            self._templates[key] = template
        database = await self._copied(_name(directory, service), self._templates[key])
        return self.server.socket_url(database)

    async def drop_made(self) -> None:
        """Remove what the test that has ended made."""
        if self.server is None or not self._made:
            return
        connection = await self._admin()
        try:
            for database in self._made:
                await connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
        finally:
            await connection.close()
        self._made.clear()
        self._named.clear()
        self._spare.clear()

    async def _migrated_file(self, directory: Path, service: str) -> str:
        url = _file_url(directory, service)
        path = Path(make_url(url).database or "")
        if path.exists():
            return url
        if service in self._files:
            path.write_bytes(self._files[service])
            return url
        await migrate(url, f"pithead.{service}")
        # The last connection has folded the write-ahead log into the file.
        self._files[service] = path.read_bytes()
        return url

    async def _copied(self, name: str, template: str) -> str:
        """The database of a name: made as a copy, or one that an earlier example left."""
        if name not in self._named:
            spare = next((one for one in self._spare if self._made[one] == template), None)
            if spare is None:
                await self._create(name, template)
                self._made[name] = template
            else:
                await self._clear(spare)
                self._spare.remove(spare)
            self._named[name] = spare or name
        return self._named[name]

    async def _create(self, database: str, template: str) -> None:
        connection = await self._admin()
        try:
            await connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        finally:
            await connection.close()

    async def _clear(self, database: str) -> None:
        connection = await self._admin(database)
        try:
            rows = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> $1",
                VERSION_TABLE,
            )
            tables = ", ".join(f'"{row[0]}"' for row in rows)
            # As a replica, so that triggers do not guard what may only grow.
            await connection.execute(
                f"SET session_replication_role = replica; TRUNCATE {tables} RESTART IDENTITY"
            )
        finally:
            await connection.close()

    async def _admin(self, database: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
        assert self.server is not None
        return await asyncpg.connect(
            host=str(self.server.directory),
            port=self.server.port,
            user="postgres",
            database=database,
            timeout=_TEMPLATE_LIMIT_S,
        )


DATABASES = Databases()


def _file_url(directory: Path, name: str) -> str:
    return f"sqlite+aiosqlite:///{directory / f'{name}.db'}"


def _name(directory: Path, name: str) -> str:
    return f"{name}_{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}"


async def _create_all(url: str, metadata: MetaData) -> None:
    engine = open_store(url)
    try:
        async with transaction(engine) as connection:
            await connection.run_sync(metadata.create_all)
    finally:
        await engine.dispose()


@contextmanager
def running_server(options: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server in a directory of its own, gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="pithead-postgresql-", dir="/tmp"))
    directory.chmod(0o755)
    server = PostgresServer(
        directory / "server",
        password=secrets.token_urlsafe(12),
        options={**FAST, **(options or {})},
        dies_with_parent=True,
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
