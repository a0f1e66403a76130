"""Databases of an earlier release: schemas at any revision, for tests of upgrades."""

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.store import open_store, transaction
from pithead.store.migrate import scripts
from pithead.store.version import VERSION_TABLE
from tests.support.databases import DATABASES


async def database_at(directory: Path, service: str, revision: str) -> tuple[str, AsyncEngine]:
    """A new database of a service as the revision left it: its URL, and an engine to fill it."""
    url = await DATABASES.empty(directory, service)
    engine = open_store(url)
    script = scripts(f"pithead.{service}")

    def steps(current: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs(revision, current)

    def upgrade(connection: Connection) -> None:
        with EnvironmentContext(Config(), script, fn=steps, destination_rev=revision) as made:
            made.configure(
                connection=connection,
                version_table=VERSION_TABLE,
                render_as_batch=True,
                transactional_ddl=True,
            )
            with made.begin_transaction():
                made.run_migrations()

    async with transaction(engine) as connection:
        await connection.run_sync(upgrade)
    return url, engine
