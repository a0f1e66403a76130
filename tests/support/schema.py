"""Proof that a service's metadata and its migrations describe the same tables."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from pithead.store import open_store, reading
from pithead.store.migrate import head
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
