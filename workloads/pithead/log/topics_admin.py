"""Makes and checks the topics of a share log in Kafka; what to do is decided in `topics_plan`.

A repeat does nothing, so it may be cut off at any moment and run by two at once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidPartitionsError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

from pithead.log.errors import LogUnavailable, TopicsUnfit
from pithead.log.kafka_client import KafkaAccess, look, place_of, start_admin, stop_admin
from pithead.log.kafka_errors import NOT_ALLOWED, translated
from pithead.log.topics_plan import (
    TopicFound,
    TopicsPlan,
    TopicWanted,
    new_topic_settings,
    plan_topics,
)

SETTLED_S = 20.0
"""For new partitions to get leaders, and for all brokers to say so."""

LOOK_S = 0.2

TOPIC_OVERRIDE = 1
"""Source of a setting that was set for the topic itself."""


async def ensure_topics(kafka: KafkaAccess, wanted: Sequence[TopicWanted]) -> dict[str, int]:
    """Make topics as they are wanted; return how many partitions each has.

    Raises TopicsUnfit, with everything else done, for what only the brokers'
    owner can mend; LogNotAllowed; LogUnavailable, after which a repeat helps.
    """
    place = place_of(kafka)
    admin = await start_admin(kafka)
    try:
        async with asyncio.timeout(SETTLED_S):
            return await _until_settled(admin, place, wanted)
    except TimeoutError as error:
        reason = f"topics were not ready within {SETTLED_S:g} s"
        raise LogUnavailable(place, reason) from error
    except (KafkaError, OSError) as error:
        raise translated(error, place) from error
    finally:
        await stop_admin(admin)


async def delete_topics(kafka: KafkaAccess, names: Sequence[str]) -> None:
    """Delete topics, for measurements that made them; nothing else may. Raises LogError."""
    admin = await start_admin(kafka)
    try:
        await admin.delete_topics(list(names))
    except (KafkaError, OSError) as error:
        raise translated(error, place_of(kafka)) from error
    finally:
        await stop_admin(admin)


async def _until_settled(
    admin: AIOKafkaAdminClient, place: str, wanted: Sequence[TopicWanted]
) -> dict[str, int]:
    """Compare and change until nothing is left to do and every partition has a leader."""
    while True:
        cluster = await look(admin)
        topics = await _topics(admin, wanted)
        found = await _found(admin, topics)
        plan = plan_topics(wanted, found, cluster.brokers)
        problems = [*plan.problems, *await _carry_out(admin, plan)]
        if problems:
            raise TopicsUnfit(place, problems)
        changed = plan.create or plan.grow or plan.alter
        if not changed and all(_led(topic) for topic in topics):
            return {name: topic.partitions for name, topic in found.items()}
        await asyncio.sleep(LOOK_S)


async def _topics(admin: AIOKafkaAdminClient, wanted: Sequence[TopicWanted]) -> list[Any]:
    # All are listed: to ask for one by its name could make it.
    names = {topic.name for topic in wanted}
    return [each for each in await admin.describe_topics() if each["topic"] in names]


async def _found(admin: AIOKafkaAdminClient, topics: Sequence[Any]) -> dict[str, TopicFound]:
    if not topics:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, each["topic"]) for each in topics]
    entries: dict[str, list[Any]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, settings in response.resources:
            _check(code, message, name)
            entries[name] = settings
    return {
        each["topic"]: TopicFound(
            partitions=len(each["partitions"]),
            replicas=min(len(partition["replicas"]) for partition in each["partitions"]),
            settings={entry[0]: entry[1] for entry in entries[each["topic"]]},
            own={
                entry[0]: entry[1] for entry in entries[each["topic"]] if entry[3] == TOPIC_OVERRIDE
            },
        )
        for each in topics
    }


def _led(topic: Mapping[str, Any]) -> bool:
    return all(
        partition["leader"] >= 0 and not partition["error_code"]
        for partition in topic["partitions"]
    )


async def _carry_out(admin: AIOKafkaAdminClient, plan: TopicsPlan) -> list[str]:
    """Change what can be changed; return what brokers refuse for good."""
    problems = []
    if plan.create:
        new = [
            NewTopic(
                topic.name,
                topic.partitions,
                topic.replicas,
                topic_configs=new_topic_settings(topic.replicas),
            )
            for topic in plan.create
        ]
        for name, code, message in (await admin.create_topics(new)).topic_errors:
            # Another may have made it since: the next round compares.
            if code != TopicAlreadyExistsError.errno:
                problems += _refused(code, message, name)
    for name, partitions in plan.grow.items():
        try:
            await admin.create_partitions({name: NewPartitions(partitions)})
        except InvalidPartitionsError as error:
            problems.append(f"topic {name} cannot have {partitions} partitions: {error}")
    if plan.alter:
        altered = [
            ConfigResource(ConfigResourceType.TOPIC, name, dict(settings))
            for name, settings in plan.alter.items()
        ]
        for response in await admin.alter_configs(altered):
            for code, message, _, name in response.resources:
                problems += _refused(code, message, name)
    return problems


def _refused(code: int, message: str | None, name: str) -> list[str]:
    """Return the problem that an answer names, if any; raises what is not the topic's fault."""
    kind = for_code(code)
    if kind is NoError:
        return []
    if kind.retriable or issubclass(kind, NOT_ALLOWED):
        _check(code, message, name)
    return [f"topic {name} is refused: {message or kind.__name__}"]


def _check(code: int, message: str | None, name: str) -> None:
    if code:
        raise for_code(code)(f"topic {name}: {message or for_code(code).__name__}")
