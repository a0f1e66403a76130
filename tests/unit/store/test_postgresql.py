"""What is PostgreSQL's alone: a pooler in between, sizes, and a server that goes away."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.ledger.posting import Ledger
from pithead.ledger.verify import verify
from pithead.shares.checker import Checker
from pithead.shares.consume import Consumer
from pithead.shares.pools import register
from pithead.store import (
    StoreUnreachable,
    check_version,
    open_store,
    reading,
    take_turns,
    transaction,
    wait_for_version,
)
from pithead.store.migrate import migrate
from pithead.store.postgresql import Sizes, driver_url
from tests.support.accounting import Bench
from tests.support.databases import DATABASES
from tests.support.postgresql import PgBouncer, PostgresServer
from tests.support.shares import (
    COIN_SETTINGS,
    POOL_SETTINGS,
    Share,
    make_batch,
    payload,
    producer_id,
)
from tests.unit.ledger.support import CHAIN, entry, payable

pytestmark = [pytest.mark.full, pytest.mark.needs("postgres")]


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pithead-postgresql-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def own_server(directory: Path) -> Iterator[PostgresServer]:
    """A server that the test may kill."""
    server = PostgresServer(directory / "server", secrets.token_hex(8), options={"fsync": "off"})
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def database(postgresql: PostgresServer, tmp_path: Path) -> AsyncIterator[str]:
    DATABASES.server = postgresql
    url = await DATABASES.empty(tmp_path, "pooled")
    yield make_url(url).database or ""
    await DATABASES.drop_made()
    DATABASES.server = None


@pytest.fixture
def pooler(postgresql: PostgresServer, directory: Path) -> Iterator[PgBouncer]:
    """Fewer sessions than an engine opens connections, handed round."""
    pooler = PgBouncer(directory / "pooler", postgresql, pool_size=3)
    pooler.start()
    yield pooler
    pooler.stop()


POOL_METRICS = (
    "pithead_store_connections_max",
    "pithead_store_connections_in_use",
    "pithead_store_connections_idle",
    "pithead_store_transactions_waiting",
    "pithead_store_waits_given_up_total",
)


def sample(name: str) -> float:
    found = REGISTRY.get_sample_value(name)
    assert found is not None
    return found


async def value(engine: AsyncEngine) -> object:
    async with reading(engine) as connection:
        return await connection.scalar(text("SELECT 1"))


@pytest.mark.needs("postgres", "pgbouncer")
async def test_a_ledger_behind_a_pooler_books_from_many_sides(
    pooler: PgBouncer, database: str
) -> None:
    url = pooler.url(database)
    await migrate(url, "pithead.ledger")
    engines = [open_store(url) for _ in range(3)]
    books = [Ledger(engine) for engine in engines]
    await books[0].post(entry("start", (CHAIN, -1000), (payable(1), 1000)), 1)

    async def move(book: Ledger, side: int) -> None:
        for number in range(15):
            legs = ((payable(1), -1), (payable(2 + side), 1))
            await book.post(entry(f"m{side}-{number}", *legs), 1)
            await book.balances("devchain/regtest")

    async with asyncio.TaskGroup() as group:
        for side in range(9):
            group.create_task(move(books[side % 3], side))
    held = dict(await books[1].balances("devchain/regtest"))
    assert held[payable(1)] == 1000 - 9 * 15
    assert await verify(engines[2]) == []
    for engine in engines:
        await engine.dispose()


@pytest.mark.needs("postgres", "pgbouncer")
async def test_accounting_behind_a_pooler_counts_once(
    pooler: PgBouncer, database: str, tmp_path: Path
) -> None:
    url = pooler.url(database)
    await migrate(url, "pithead.shares")
    engine = open_store(url, Sizes(most=6))
    (pool,) = await register(engine, [POOL_SETTINGS], [COIN_SETTINGS])
    batches = 24
    async with Bench(tmp_path, engine, pool) as bench:
        checker = Checker(engine, pool, 100, lambda: 1)
        consumer = Consumer(engine, bench.reader, pool, lambda: 1, checker)

        async def book() -> None:
            for sequence in range(batches):
                lines = [Share(1 + sequence % 3, 20, weight=2), Share(4, 20)]
                for partition in ("eu-0", "eu-1"):
                    batch = make_batch(producer_id(1), sequence, lines, promise=20)
                    await bench.write(partition, payload(batch))
                await consumer.poll()

        async def check() -> None:
            checked = 0
            while checked < batches:
                checked += await checker.step()
                await bench.sealer.step(30)
                await asyncio.sleep(0)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(book())
            group.create_task(check())
        assert sum(weight for weight, _ in (await bench.cells()).values()) == 3 * batches
        async with reading(engine) as connection:
            query = text("SELECT batches, checked, failed FROM checks")
            assert (await connection.execute(query)).one() == (batches, batches, batches)


@pytest.mark.needs("postgres", "pgbouncer")
async def test_nothing_of_a_transaction_stays_in_the_poolers_session(
    pooler: PgBouncer, database: str
) -> None:
    engine = open_store(pooler.url(database))
    async with reading(engine) as connection:
        await connection.scalar(text("SELECT 1"))
    async with transaction(engine) as connection:
        await take_turns(connection, "a/name")
        # As many rows as parameters go through an executemany, which prepares once.
        await connection.execute(text("CREATE TABLE t (k int)"))
        rows = [{"k": number} for number in range(50)]
        await connection.execute(text("INSERT INTO t VALUES (:k)"), rows)
    for _ in range(6):
        async with transaction(engine) as connection:
            left = "SELECT count(*) FROM pg_prepared_statements"
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert await connection.scalar(text(left)) == 0
            assert await connection.scalar(text(locks)) == 0
            level = await connection.scalar(text("SHOW transaction_isolation"))
            assert level == "read committed"
            assert await connection.scalar(text("SHOW transaction_read_only")) == "off"
    await engine.dispose()


async def test_a_server_that_comes_back_is_used_again_without_an_error(
    own_server: PostgresServer,
) -> None:
    engine = open_store(own_server.url())
    assert await value(engine) == 1
    own_server.stop()
    own_server.start()
    # The pooled connection is dead; it is noticed before anything is asked over it.
    assert await value(engine) == 1
    await engine.dispose()


async def test_a_server_killed_inside_a_transaction_is_a_database_error_and_nothing_is_kept(
    own_server: PostgresServer,
) -> None:
    engine = open_store(own_server.url())
    async with transaction(engine) as connection:
        await connection.execute(text("CREATE TABLE t (k int)"))

    async def interrupted() -> None:
        async with transaction(engine) as connection:
            await connection.execute(text("INSERT INTO t VALUES (1)"))
            own_server.stop(kill=True)
            await connection.execute(text("INSERT INTO t VALUES (2)"))

    with pytest.raises(DBAPIError):
        await interrupted()
    with pytest.raises(DBAPIError) as caught:
        await value(engine)
    assert caught.value.connection_invalidated
    own_server.start()
    async with reading(engine) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM t")) == 0
    await engine.dispose()


async def test_a_connection_cut_by_the_server_is_an_error_once_and_then_replaced(
    postgresql: PostgresServer, database: str
) -> None:
    engine = open_store(postgresql.url(database))
    with pytest.raises(DBAPIError):
        async with transaction(engine) as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert await value(engine) == 1
    await engine.dispose()


async def test_a_service_waits_for_a_server_that_is_away(own_server: PostgresServer) -> None:
    await migrate(own_server.url(), "pithead.ledger")
    own_server.stop()
    engine = open_store(own_server.url())
    with pytest.raises(StoreUnreachable, match="check host, port, user and password"):
        await check_version(engine, "0001")
    stop = asyncio.Event()
    waiting = asyncio.create_task(wait_for_version(engine, "0001", stop))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    own_server.start()
    async with asyncio.timeout(10):
        assert await waiting
    await engine.dispose()


async def test_no_more_connections_are_opened_than_the_pool_has(
    postgresql: PostgresServer, database: str
) -> None:
    engine = open_store(postgresql.url(database), Sizes(most=3))

    async def look() -> int:
        async with reading(engine) as connection:
            await connection.execute(text("SELECT pg_sleep(0.01)"))
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            return int(await connection.scalar(text(query)) or 0)

    seen = await asyncio.gather(*(look() for _ in range(12)))
    assert max(seen) == 3
    await engine.dispose()


async def test_the_pool_tells_who_has_connections_and_who_waits_in_vain(
    postgresql: PostgresServer, database: str
) -> None:
    before = {name: sample(name) for name in POOL_METRICS}
    engine = open_store(postgresql.url(database), Sizes(most=2, wait_s=0.2))

    def grown() -> dict[str, float]:
        return {name: sample(name) - before[name] for name in POOL_METRICS}

    async with transaction(engine), reading(engine):
        waiting = asyncio.create_task(value(engine))
        await asyncio.sleep(0.05)
        assert grown() == dict(zip(POOL_METRICS, (2, 2, 0, 1, 0), strict=True))
        with pytest.raises(DBAPIError) as caught:
            await waiting
        assert caught.value.connection_invalidated
    assert grown() == dict(zip(POOL_METRICS, (2, 0, 2, 0, 1), strict=True))
    assert await value(engine) == 1
    await engine.dispose()


async def test_a_statement_that_takes_too_long_is_ended_at_the_server_too(
    postgresql: PostgresServer, database: str
) -> None:
    engine = open_store(postgresql.url(database), Sizes(most=1, statement_s=0.3))
    with pytest.raises(DBAPIError):
        async with transaction(engine) as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(5), reading(engine) as connection:
        while await connection.scalar(text(query)):
            await asyncio.sleep(0.02)
    await engine.dispose()


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", {}), ("?sslmode=require", {"ssl": "require"}), ("?sslmode=disable", {"ssl": "disable"})],
    ids=["none", "require", "disable"],
)
def test_libpqs_word_for_tls_is_understood(query: str, expected: dict[str, object]) -> None:
    url, tls = driver_url(f"postgresql://u:p@h:5/d{query}")
    assert (url.drivername, url.host, url.database) == ("postgresql+asyncpg", "h", "d")
    assert (dict(url.query), tls) == ({}, expected)
