"""Proof that a service's metadata and its migrations describe the same tables."""

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from pithead.store import open_store, reading, transaction
from pithead.store.migrate import head, scripts
from pithead.store.version import VERSION_TABLE
from tests.support.databases import DATABASES


async def assert_schema_is_migrated(
    directory: Path, service_package: str, metadata: MetaData, revision: str
) -> None:
    """Migrate a new database in `directory`, then fail on any drift from `metadata`.

    `revision` is what the service checks at its start: it must be the newest migration.
    """
    assert revision == head(service_package), "REVISION is not the newest migration"
    service = service_package.removeprefix("pithead.")
    engine = open_store(await DATABASES.migrated(directory, service))

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))

    try:
        async with reading(engine) as connection:
            found = await connection.run_sync(differences)
    finally:
        await engine.dispose()
    assert found == [], f"{service_package}: migrations and metadata differ: {found}"


async def migrated_to(directory: Path, service_package: str, revision: str) -> str:
    """URL of a database of an older revision, for tests of the upgrade from it."""
    name = f"{service_package.removeprefix('pithead.')}_old"
    url = await DATABASES.empty(directory, name)
    script = scripts(service_package)

    def steps(current: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs(revision, current)

    def upgrade(connection: Connection) -> None:
        with EnvironmentContext(Config(), script, fn=steps) as environment:
            environment.configure(
                connection=connection,
                version_table=VERSION_TABLE,
                render_as_batch=True,
                transactional_ddl=True,
            )
            with environment.begin_transaction():
                environment.run_migrations()

    engine = open_store(url)
    try:
        async with transaction(engine) as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()
    return url
