"""Schemas and roles of services on a real PostgreSQL: who may do what, twice, at once."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pithead.store import (
    StoreRefused,
    StoreUnreachable,
    check_version,
    open_store,
    reading,
    transaction,
)
from pithead.store.migrate import head
from pithead.store.provision import provision_all
from pithead.store.roles import RoleSecret, provision
from pithead.store.scram import verifier, verifies
from tests.support.databases import DATABASES
from tests.support.postgresql import PostgresServer

pytestmark = [pytest.mark.full, pytest.mark.needs("postgres")]

SERVICES = ("ledger", "shares", "rewards", "payouts")

Logins = Mapping[str, tuple[str, str]]


@pytest.fixture
async def database(postgresql: PostgresServer, tmp_path: Path) -> AsyncIterator[str]:
    """Name of an empty database on the server of the session; roles made for it go with it."""
    DATABASES.server = postgresql
    url = await DATABASES.empty(tmp_path, "hub")
    name = url.split("@/")[1].split("?")[0]
    yield name
    await DATABASES.drop_made()
    DATABASES.server = None
    async with admin(postgresql) as connection:
        roles = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'hub\\_%'")
        for role in sorted(row["rolname"] for row in roles):
            await connection.execute(f'DROP ROLE "{role}"')


class admin:  # noqa: N801 - reads as a function
    """A connection of the superuser."""

    def __init__(self, server: PostgresServer, database: str = "postgres") -> None:
        self._server = server
        self._database = database

    async def __aenter__(self) -> "asyncpg.Connection[asyncpg.Record]":
        self._connection = await asyncpg.connect(
            host=self._server.address,
            port=self._server.port,
            user="postgres",
            password=self._server.password,
            database=self._database,
        )
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


def logins(salt: str = "") -> Logins:
    return {service: (f"hub_{service}", f"secret of {service}{salt}") for service in SERVICES}


async def run_as(server: PostgresServer, database: str, login: tuple[str, str], sql: str) -> object:
    engine = open_store(server.url(database, login[0], login[1].replace(" ", "%20")))
    try:
        async with transaction(engine) as connection:
            result = await connection.execute(text(sql))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


async def test_each_service_finds_its_tables_at_its_revision(
    postgresql: PostgresServer, database: str
) -> None:
    revisions = await provision_all(postgresql.url(database), logins())
    assert revisions == {service: head(f"pithead.{service}") for service in SERVICES}
    for service, login in logins().items():
        engine = open_store(postgresql.url(database, login[0], login[1].replace(" ", "%20")))
        await check_version(engine, revisions[service])
        await engine.dispose()


async def test_a_role_writes_its_own_rows_and_nothing_else(
    postgresql: PostgresServer, database: str
) -> None:
    await provision_all(postgresql.url(database), logins())
    ledger = logins()["ledger"]
    insert = "INSERT INTO books VALUES ('c/n', 'CHAIN', '', -1)"
    await run_as(postgresql, database, ledger, insert)
    assert await run_as(postgresql, database, ledger, "SELECT balance FROM books") == -1
    shares = logins()["shares"]
    adding = "INSERT INTO decisions (at_ms, who, action, subject, reason) VALUES (1,'','','','')"
    await run_as(postgresql, database, shares, adding)
    for sql, said in {
        "SELECT * FROM hub_shares.pools": "permission denied for schema hub_shares",
        "INSERT INTO hub_rewards.schemes VALUES ('p')": "permission denied for schema hub_rewards",
        "CREATE TABLE mine (k int)": "permission denied for schema hub_ledger",
        "DROP TABLE books": "must be owner of table books",
        "ALTER TABLE entries DISABLE TRIGGER ALL": "must be owner of table entries",
        "TRUNCATE books": "permission denied for table books",
        "UPDATE alembic_version SET version_num = '9'": "permission denied for table alembic",
        "SET ROLE hub_shares": "permission denied to set role",
        "SET ROLE hub_ledger_owner": "permission denied to set role",
        "CREATE SCHEMA other": "permission denied for database",
        "CREATE ROLE other": "permission denied to create role",
    }.items():
        with pytest.raises(DBAPIError, match=said):
            await run_as(postgresql, database, ledger, sql)


async def test_limits_come_with_the_role_so_that_no_session_sets_any(
    postgresql: PostgresServer, database: str
) -> None:
    await provision_all(postgresql.url(database), logins())
    for name, limit in {"statement_timeout": "3min", "search_path": "hub_ledger"}.items():
        assert await run_as(postgresql, database, logins()["ledger"], f"SHOW {name}") == limit


async def test_a_wrong_password_is_refused_and_named_as_the_cause(
    postgresql: PostgresServer, database: str
) -> None:
    await provision_all(postgresql.url(database), logins())
    engine = open_store(postgresql.url(database, "hub_ledger", "wrong"))
    with pytest.raises(StoreUnreachable, match=r"authentication failed .* check host, port, user"):
        await check_version(engine, "0001")
    await engine.dispose()


async def test_repeating_changes_nothing_and_a_new_password_replaces_the_old(
    postgresql: PostgresServer, database: str
) -> None:
    url = postgresql.url(database)
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'hub_ledger'"
    first = await provision_all(url, logins())
    async with admin(postgresql) as connection:
        before = await connection.fetchval(query)
        assert verifies(before, "secret of ledger")
        assert await provision_all(url, logins()) == first
        assert await connection.fetchval(query) == before
        await provision_all(url, logins(" new"))
        assert verifies(await connection.fetchval(query), "secret of ledger new")
    assert await run_as(postgresql, database, logins(" new")["ledger"], "SELECT 1") == 1
    with pytest.raises(DBAPIError, match="authentication failed"):
        await run_as(postgresql, database, logins()["ledger"], "SELECT 1")


async def test_from_four_places_at_once_all_reach_the_same(
    postgresql: PostgresServer, database: str
) -> None:
    url = postgresql.url(database)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(provision_all(url, logins())) for _ in range(4)]
    assert len({tuple(task.result().items()) for task in tasks}) == 1
    async with admin(postgresql, database) as connection:
        owners = await connection.fetch(
            "SELECT DISTINCT schemaname, tableowner FROM pg_tables WHERE schemaname LIKE 'hub%'"
        )
    expected = {(f"hub_{service}", f"hub_{service}_owner") for service in SERVICES}
    assert {tuple(row) for row in owners} == expected


async def test_an_administrator_who_is_no_superuser_is_enough(
    postgresql: PostgresServer, database: str
) -> None:
    async with admin(postgresql) as connection:
        await connection.execute("CREATE ROLE hub_zadmin LOGIN CREATEROLE PASSWORD 'adm'")
        await connection.execute(f'GRANT CREATE ON DATABASE "{database}" TO hub_zadmin')
    url = postgresql.url(database, "hub_zadmin", "adm")
    assert await provision_all(url, logins()) == await provision_all(url, logins())
    assert await run_as(postgresql, database, logins()["ledger"], "SELECT number FROM head") == 0


async def test_an_administrator_without_rights_is_refused_and_nothing_is_made(
    postgresql: PostgresServer, database: str
) -> None:
    async with admin(postgresql) as connection:
        await connection.execute("CREATE ROLE hub_nobody LOGIN PASSWORD 'no'")
        with pytest.raises(StoreRefused, match=r"permission denied .* must be a superuser"):
            await provision(
                postgresql.url(database, "hub_nobody", "no"),
                {"ledger": RoleSecret("hub_ledger", "x")},
            )
        query = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'hub_ledger%'"
        assert await connection.fetchval(query) == 0


async def test_no_password_reaches_the_server_as_text(
    postgresql: PostgresServer, database: str
) -> None:
    async with admin(postgresql) as connection:
        await connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        await connection.execute("SELECT pg_reload_conf()")
    try:
        await provision_all(postgresql.url(database), logins(" never seen"))
        log = (postgresql.directory / "log").read_text()
        assert "CREATE SCHEMA IF NOT EXISTS" in log
        assert "never seen" not in log
    finally:
        async with admin(postgresql) as connection:
            await connection.execute("ALTER SYSTEM RESET log_statement")
            await connection.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ({"ledger": RoleSecret("Robert'); --", "x")}, "database user .*want a lower-case letter"),
        ({"ledger": RoleSecret("pg_x", "x")}, "not beginning with pg_"),
        ({"ledger": RoleSecret("a" * 58, "x")}, "at most 57"),
        ({"ledger": RoleSecret("a", "x"), "shares": RoleSecret("a", "x")}, "cannot share"),
        ({"ledger": RoleSecret("a", "x"), "shares": RoleSecret("a_owner", "x")}, "cannot share"),
        ({"ledger": RoleSecret("a", "")}, "password is printable ASCII"),
        ({"ledger": RoleSecret("a", "pässword")}, "password is printable ASCII"),
    ],
    ids=["quotes", "reserved", "long", "same", "owner", "no password", "umlaut"],
)
async def test_names_and_passwords_that_cannot_be_are_refused_before_anything(
    services: dict[str, RoleSecret], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        await provision("postgresql+asyncpg://nobody@127.0.0.1:1/none", services)


async def test_a_server_that_is_away_is_unreachable() -> None:
    with pytest.raises(StoreUnreachable, match=r"cannot be opened .*check host, port"):
        await provision_all("postgresql+asyncpg://nobody:x@127.0.0.1:1/none", logins())


def test_a_verifier_is_that_of_the_standard() -> None:
    # The salt and iterations of RFC 7677's example, whose password is "pencil".
    made = verifier("pencil", bytes.fromhex("5b6d99689d12358ec7a44bd1b8b8eb5b"))
    assert verifies(made, "pencil")
    assert not verifies(made, "pencils")
    assert not verifies("md5" + "0" * 32, "pencil")
    assert not verifies(None, "pencil")


async def test_a_reader_sees_only_its_own_search_path(
    postgresql: PostgresServer, database: str
) -> None:
    await provision_all(postgresql.url(database), logins())
    user, secret = logins()["shares"]
    engine = open_store(postgresql.url(database, user, secret.replace(" ", "%20")))
    async with reading(engine) as connection:
        assert await connection.scalar(text("SHOW search_path")) == "hub_shares"
    await engine.dispose()
