"""Gives each service a schema and two roles of its own in one PostgreSQL database.

For a service that logs in as U there is the schema U, a role U_owner that owns it
and never logs in, which migrations act as, and the role U, which may read and write
the rows of that schema's tables and nothing else: it can make, change or drop
nothing, and sees no other service's tables. Its search_path and its limits are fixed
with the role, so that no session has to set anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.store.engine import retried, take_turns, transaction
from pithead.store.errors import StoreRefused, StoreUnreachable
from pithead.store.postgresql import Sizes, open_postgresql, quoted
from pithead.store.scram import check_password, verifier, verifies

OWNER_SUFFIX = "_owner"

TURN = "pithead/provision"

_USERNAME = re.compile(r"[a-z][a-z0-9_]{0,56}")
"""With the suffix it fits PostgreSQL's 63 bytes, and quoting never changes what it means."""

LIMITS = {
    # A process whose machine is gone must not keep its locks until the kernel notices.
    "idle_in_transaction_session_timeout": "60s",
    # Nor go on with a statement whose answer nobody waits for; a client breaks off earlier.
    "statement_timeout": "180s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


@dataclass(frozen=True, slots=True)
class RoleSecret:
    """How a service logs in."""

    username: str
    password: str = field(repr=False)

    @property
    def schema(self) -> str:
        """Schema of the service's tables."""
        return self.username

    @property
    def owner(self) -> str:
        """Role that owns them."""
        return self.username + OWNER_SUFFIX


async def provision(admin_url: str, services: Mapping[str, RoleSecret]) -> None:
    """Make or repair what every service needs; all or nothing, safe to repeat and from two places.

    The administrator is a superuser, or may create roles and, in this database,
    schemas. Raises StoreUnreachable, StoreRefused with what the server said, and
    ValueError for a name or password that cannot be one; nothing is changed then.
    """
    check_secrets(services)
    engine = open_postgresql(admin_url, Sizes(most=1))

    async def work() -> None:
        async with transaction(engine) as connection:
            await take_turns(connection, TURN)
            for secret in services.values():
                await _provide(connection, secret)

    try:
        await retried(work)
    except DBAPIError as error:
        reason = str(error.orig)[:256]
        if error.connection_invalidated:
            raise StoreUnreachable(admin_url, reason) from error
        raise StoreRefused(admin_url, reason) from error
    finally:
        await engine.dispose()


def check_secrets(services: Mapping[str, RoleSecret]) -> None:
    """Raise ValueError unless all names can be roles, differ, and have passwords."""
    seen: dict[str, str] = {}
    for service, secret in services.items():
        if not _USERNAME.fullmatch(secret.username) or secret.username.startswith("pg_"):
            raise ValueError(
                f"{service}: database user {secret.username[:80]!r}: want a lower-case letter, "
                "then letters, digits and underscores, at most 57, not beginning with pg_"
            )
        for name in (secret.username, secret.owner):
            other = seen.setdefault(name, service)
            if other != service:
                raise ValueError(f"{service} and {other} cannot share the database user {name}")
        try:
            check_password(secret.password)
        except ValueError as error:
            raise ValueError(f"{service}: {error}") from error


async def _provide(connection: AsyncConnection, secret: RoleSecret) -> None:
    user, owner, schema = map(quoted, (secret.username, secret.owner, secret.schema))
    database = quoted(str(await connection.scalar(text("SELECT current_database()"))))
    await _make_role(connection, secret.owner, "NOLOGIN")
    await _make_role(connection, secret.username, "LOGIN")
    await _set_password(connection, secret)
    if not await _may_act_as(connection, secret.owner):
        await _run(connection, f"GRANT {owner} TO CURRENT_USER")
    await _run(
        connection,
        f"GRANT CONNECT ON DATABASE {database} TO {user}",
        f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}",
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA {schema} TO {user}",
        f"ALTER ROLE {user} IN DATABASE {database} SET search_path TO {schema}",
        *(
            f"ALTER ROLE {user} IN DATABASE {database} SET {name} TO '{value}'"
            for name, value in LIMITS.items()
        ),
        f"SET LOCAL ROLE {owner}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {user}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {user}",
        "RESET ROLE",
    )


async def _make_role(connection: AsyncConnection, name: str, login: str) -> None:
    query = text("SELECT count(*) FROM pg_roles WHERE rolname = :name")
    word = "ALTER" if await connection.scalar(query, {"name": name}) else "CREATE"
    await _run(connection, f"{word} ROLE {quoted(name)} {login} NOCREATEDB NOCREATEROLE")


async def _set_password(connection: AsyncConnection, secret: RoleSecret) -> None:
    """Set the password unless it stands: a new salt would break copies of the verifier."""
    if await connection.scalar(text("SELECT has_table_privilege('pg_authid', 'SELECT')")):
        query = text("SELECT rolpassword FROM pg_authid WHERE rolname = :name")
        stands = await connection.scalar(query, {"name": secret.username})
        if verifies(stands, secret.password):
            return
    await _run(
        connection, f"ALTER ROLE {quoted(secret.username)} PASSWORD '{verifier(secret.password)}'"
    )


async def _may_act_as(connection: AsyncConnection, role: str) -> bool:
    query = text("SELECT pg_has_role(current_user, :role, 'MEMBER')")
    return bool(await connection.scalar(query, {"role": role}))


async def _run(connection: AsyncConnection, *statements: str) -> None:
    for statement in statements:
        await connection.exec_driver_sql(statement)
