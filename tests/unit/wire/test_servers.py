"""Databases and topics, made in real servers."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from pithead.config import (
    KafkaSettings,
    ServiceRole,
    TopicSettings,
    WireDatabasesSettings,
    WireTopicsSettings,
)
from pithead.process import TaskFailed
from pithead.store import check_version, open_store
from pithead.store.migrate import head
from pithead.wire.databases import make_databases
from pithead.wire.topics import make_topics
from tests.support.databases import DATABASES
from tests.support.kafka import KafkaBroker, KafkaFiles, running_broker
from tests.support.litecoind import free_port
from tests.support.postgresql import PostgresServer

SERVICES = ("ledger", "payouts", "rewards", "shares")


def wired(url: str) -> WireDatabasesSettings:
    parsed = make_url(url)
    mark = secrets.token_hex(4)
    return WireDatabasesSettings(
        admin_url=parsed.set(username=None, password=None).render_as_string(hide_password=False),
        username=parsed.username or "",
        password=parsed.password or "",
        services=tuple(
            ServiceRole(service=each, username=f"t{mark}_{each}", password=f"{each}/p@ss:1")
            for each in SERVICES
        ),
    )


@pytest.fixture
async def database(postgresql: PostgresServer, tmp_path: Path) -> AsyncIterator[str]:
    DATABASES.server = postgresql
    url = await DATABASES.empty(tmp_path, "hub")
    yield postgresql.url(make_url(url).database or "")
    await DATABASES.drop_made()
    DATABASES.server = None


@pytest.mark.full
@pytest.mark.needs("postgres")
async def test_each_service_finds_its_tables_by_its_own_role(database: str) -> None:
    settings = wired(database)
    revisions = {each: head(f"pithead.{each}") for each in SERVICES}
    for _ in range(2):
        assert await make_databases(settings, within_s=10) == {"revisions": revisions}
    for role in settings.services:
        url = make_url(database).set(username=role.username, password=role.password)
        engine = open_store(url.render_as_string(hide_password=False))
        await check_version(engine, revisions[role.service])
        await engine.dispose()


@pytest.mark.full
@pytest.mark.needs("postgres")
async def test_wrong_password_of_the_administrator_is_told(database: str) -> None:
    settings = wired(make_url(database).set(password="wrong").render_as_string(False))
    with pytest.raises(TaskFailed, match="check host, port, user and password"):
        await make_databases(settings, within_s=0)


@pytest.mark.gate
async def test_server_that_is_away_is_named_without_its_password() -> None:
    settings = wired(f"postgresql+asyncpg://admin:geheim@127.0.0.1:{free_port()}/hub")
    with pytest.raises(TaskFailed, match="check host, port, user and password") as caught:
        await make_databases(settings, within_s=0)
    assert "geheim" not in str(caught.value)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with running_broker(KafkaFiles(tmp_path_factory.mktemp("kafka"))) as running:
        yield running


@pytest.mark.full
@pytest.mark.needs("kafka")
async def test_topics_are_made_and_only_grow(broker: KafkaBroker) -> None:
    for partitions in (2, 4, 3):
        settings = WireTopicsSettings(
            kafka=broker.settings,
            topics=(
                TopicSettings(name="pithead.shares.gold", partitions=partitions, replicas=1),
                TopicSettings(name="pithead.blocks.gold", partitions=1, replicas=1),
            ),
        )
        told = await make_topics(settings, within_s=30)
        shares = min(partitions, 4) if partitions != 3 else 4
        assert told == {"topics": {"pithead.shares.gold": shares, "pithead.blocks.gold": 1}}


@pytest.mark.full
@pytest.mark.needs("kafka")
async def test_topics_that_the_brokers_can_not_hold_are_told(broker: KafkaBroker) -> None:
    settings = WireTopicsSettings(
        kafka=broker.settings,
        topics=(TopicSettings(name="pithead.shares.tin", partitions=1, replicas=3),),
    )
    with pytest.raises(TaskFailed, match=r"pithead\.shares\.tin"):
        await make_topics(settings, within_s=30)


@pytest.mark.gate
async def test_broker_that_is_away_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = WireTopicsSettings(
        kafka=KafkaSettings(bootstrap_servers=(address,)),
        topics=(TopicSettings(name="pithead.shares.gold", partitions=1, replicas=1),),
    )
    with pytest.raises(TaskFailed, match=address):
        await make_topics(settings, within_s=0)
