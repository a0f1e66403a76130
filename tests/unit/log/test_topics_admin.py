"""Topics on a real broker: made, grown, corrected, and what is refused."""

from collections.abc import Iterator

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pithead.config import KafkaSettings, TopicSettings
from pithead.log.errors import LogUnavailable, TopicsUnfit
from pithead.log.kafka_client import start_admin, stop_admin
from pithead.log.topics_admin import ensure_topics
from pithead.log.topics_plan import topic_settings
from tests.support.kafka import KafkaBroker, KafkaFiles, free_ports, running_broker

pytestmark = [pytest.mark.full, pytest.mark.needs("kafka"), pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with running_broker(KafkaFiles(tmp_path_factory.mktemp("kafka"))) as running:
        yield running


def wanted(name: str, partitions: int = 2, replicas: int = 1) -> TopicSettings:
    return TopicSettings(name=name, partitions=partitions, replicas=replicas)


async def settings_of(broker: KafkaBroker, name: str) -> dict[str, str]:
    admin = await start_admin(broker.settings)
    try:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}
    finally:
        await stop_admin(admin)


async def test_topics_are_made_once_and_grow(broker: KafkaBroker) -> None:
    first = await ensure_topics(broker.settings, [wanted("a"), wanted("b", 3)])
    assert first == {"a": 2, "b": 3}
    assert await ensure_topics(broker.settings, [wanted("a"), wanted("b", 1)]) == first
    assert await ensure_topics(broker.settings, [wanted("a", 4)]) == {"a": 4}
    settings = await settings_of(broker, "a")
    assert {name: settings[name] for name in topic_settings(1)} == topic_settings(1)


async def test_a_topic_of_somebody_else_is_corrected_without_losing_its_own_settings(
    broker: KafkaBroker,
) -> None:
    admin = await start_admin(broker.settings)
    own = {"retention.ms": "1000", "cleanup.policy": "compact", "segment.bytes": "1048576"}
    await admin.create_topics([NewTopic("theirs", 1, 1, topic_configs=own)])
    await stop_admin(admin)
    assert await ensure_topics(broker.settings, [wanted("theirs", 2)]) == {"theirs": 2}
    settings = await settings_of(broker, "theirs")
    assert settings["retention.ms"] == "-1"
    assert settings["cleanup.policy"] == "delete"
    assert settings["segment.bytes"] == "1048576"


async def test_what_the_brokers_cannot_do_is_told_and_the_rest_is_done(
    broker: KafkaBroker,
) -> None:
    with pytest.raises(TopicsUnfit, match="should have 3 replicas, and there are 1 brokers"):
        await ensure_topics(broker.settings, [wanted("wide", replicas=3), wanted("good")])
    assert await ensure_topics(broker.settings, [wanted("good")]) == {"good": 2}


async def test_names_that_kafka_takes_for_the_same_are_told(broker: KafkaBroker) -> None:
    await ensure_topics(broker.settings, [wanted("x.y")])
    with pytest.raises(TopicsUnfit, match=r"topic x_y is refused: .*collides"):
        await ensure_topics(broker.settings, [wanted("x_y")])


async def test_without_a_broker_it_is_tried_again_later() -> None:
    (port,) = free_ports(1)
    away = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{port}",))
    with pytest.raises(LogUnavailable):
        await ensure_topics(away, [wanted("a")])
