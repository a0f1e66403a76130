"""Upgrades databases, from code alone: no ini files, one environment for all services.

A service's revisions lie in `<service package>/migrations/versions/NNNN_what.py`
and are found beside the installed package. An upgrade is one transaction, so a
process killed in the middle leaves the old schema, and a second upgrade at the
same time waits and then finds nothing to do.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from pithead.store.engine import open_store, reading, transaction
from pithead.store.errors import StoreTooNew, StoreUnreachable
from pithead.store.version import VERSION_TABLE


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


async def migrate(url: str, service_package: str) -> str:
    """Bring one database to the newest revision and return it; safe to run again.

    Raises StoreTooNew when the database carries a revision unknown here, and
    StoreUnreachable; nothing is changed then.
    """
    script = scripts(service_package)
    await _refuse_newer(url, script)
    engine = open_store(url)
    try:
        async with transaction(engine) as connection:
            await connection.run_sync(_upgrade, url, script)
    finally:
        await engine.dispose()
    return head(service_package)


async def migrate_all(urls: dict[str, str]) -> dict[str, str]:
    """Upgrade the databases of services, by name (`ledger` -> URL); the revisions reached.

    All are checked before the first is changed, so that one database from a
    newer version leaves every other one as it was.
    """
    for service, url in urls.items():
        await _refuse_newer(url, scripts(f"pithead.{service}"))
    return {service: await migrate(url, f"pithead.{service}") for service, url in urls.items()}


async def _refuse_newer(url: str, script: ScriptDirectory) -> None:
    engine = open_store(url)
    try:
        async with reading(engine) as connection:
            await connection.run_sync(_check_known, url, script)
    except (DBAPIError, OSError) as error:
        raise StoreUnreachable(url, str(error.__cause__ or error)[:256]) from error
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
            # Our SQLite transactions include DDL; see engine.py.
            transactional_ddl=True,
        )
        with environment.begin_transaction():
            environment.run_migrations()
