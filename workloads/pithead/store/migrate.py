"""Upgrades databases, from code alone: no ini files, one environment for all services.

A service's revisions lie in `<service package>/migrations/versions/NNNN_what.py`
and are found beside the installed package. An upgrade is one transaction, so a
process killed in the middle leaves the old schema, and a second upgrade at the
same time waits and then finds nothing to do.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.store.engine import open_store, reading, take_turns, transaction
from pithead.store.errors import StoreTooNew, StoreUnreachable
from pithead.store.postgresql import Sizes, is_postgresql, open_postgresql, quoted
from pithead.store.version import VERSION_TABLE

_UPGRADING: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and in PostgreSQL where in it and as whom, when that is not the login's own."""

    url: str
    schema: str = ""
    owner: str = ""
    """Role to act as; the login must be a member of it."""
    user: str = ""
    """Role of the service, which may read the version of its tables but not change it."""


def scripts(service_package: str) -> ScriptDirectory:
    """Revisions of a service, given its import name (`pithead.ledger`)."""
    spec = find_spec(service_package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {service_package}")
    return ScriptDirectory(str(Path(spec.submodule_search_locations[0]) / "migrations"))


def head(service_package: str) -> str:
    """Newest revision that the code knows of a service."""
    newest = scripts(service_package).get_current_head()
    if newest is None:
        raise LookupError(f"{service_package} has no migrations")
    return newest


async def migrate(place: str | Place, service_package: str) -> str:
    """Bring one database to the newest revision and return it; safe to run again.

    Raises StoreTooNew when the database carries a revision unknown here, and
    StoreUnreachable; nothing is changed then.
    """
    place = Place(place) if isinstance(place, str) else place
    script = scripts(service_package)
    await _refuse_newer(place, script)
    engine = _open(place)
    try:
        async with transaction(engine) as connection:
            # Before the schema is looked at: what another upgrade did is seen then.
            await take_turns(connection, f"migrate/{place.schema}/{service_package}")
            await _enter(connection, place)
            async with _alembic():
                await connection.run_sync(_upgrade, place.url, script)
            if place.user:
                rights = f"REVOKE INSERT, UPDATE, DELETE ON {VERSION_TABLE} FROM "
                await connection.exec_driver_sql(rights + quoted(place.user))
    except (DBAPIError, OSError) as error:
        if isinstance(error, DBAPIError) and not error.connection_invalidated:
            raise
        raise StoreUnreachable(place.url, str(error.__cause__ or error)[:256]) from error
    finally:
        await engine.dispose()
    return head(service_package)


async def migrate_all(places: Mapping[str, str | Place]) -> dict[str, str]:
    """Upgrade the databases of services, by name (`ledger` -> URL); the revisions reached.

    All are checked before the first is changed, so that one database from a
    newer version leaves every other one as it was.
    """
    for service, place in places.items():
        there = Place(place) if isinstance(place, str) else place
        await _refuse_newer(there, scripts(f"pithead.{service}"))
    return {
        service: await migrate(place, f"pithead.{service}") for service, place in places.items()
    }


def _alembic() -> asyncio.Lock:
    """One upgrade at a time: revisions speak to alembic through a global of the process."""
    loop = asyncio.get_running_loop()
    return _UPGRADING.setdefault(loop, asyncio.Lock())


def _open(place: Place) -> AsyncEngine:
    if is_postgresql(place.url):
        # An upgrade of a large table, or waiting for another one's, takes what it takes.
        return open_postgresql(place.url, Sizes(most=1), patient=True)
    return open_store(place.url)


async def _enter(connection: AsyncConnection, place: Place) -> None:
    """Be the owner, in its schema, until the transaction ends."""
    if place.owner:
        await connection.execute(text(f"SET LOCAL ROLE {quoted(place.owner)}"))
    if place.schema:
        await connection.execute(text(f"SET LOCAL search_path TO {quoted(place.schema)}"))


async def _refuse_newer(place: Place, script: ScriptDirectory) -> None:
    engine = _open(place)
    try:
        async with reading(engine) as connection:
            await _enter(connection, place)
            await connection.run_sync(_check_known, place.url, script)
    except (DBAPIError, OSError) as error:
        raise StoreUnreachable(place.url, str(error.__cause__ or error)[:256]) from error
    finally:
        await engine.dispose()


def _check_known(connection: Connection, url: str, script: ScriptDirectory) -> None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    known = {revision.revision for revision in script.walk_revisions()}
    for found in context.get_current_heads():
        if found not in known:
            raise StoreTooNew(url, found, script.get_current_head() or "none")


def _upgrade(connection: Connection, url: str, script: ScriptDirectory) -> None:
    _check_known(connection, url, script)

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), script, fn=steps, destination_rev="head") as environment:
        environment.configure(
            connection=connection,
            version_table=VERSION_TABLE,
            render_as_batch=True,
            # Our SQLite transactions include DDL; see sqlite.py.
            transactional_ddl=True,
        )
        with environment.begin_transaction():
            environment.run_migrations()
