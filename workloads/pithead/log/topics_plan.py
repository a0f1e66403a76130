"""What must happen to topics so that they keep records as the log promises. Pure.

Topics are made when missing, grown to the partitions wanted, and their settings
corrected. Partitions are never taken away, and replicas are not moved: whoever
runs the brokers must do that, and is told. Settings that others made and that
the log does not care about stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pithead.log.chunk import RECORD_BYTES_MAX

NAME_CHARS_MAX = 249
"""Of Kafka."""

SEGMENT_BYTES = 128 * 1024 * 1024
"""What is deleted behind accounting frees whole segments only."""

RECORD_FRAME_BYTES = 64 * 1024
"""More than Kafka adds to a record."""


class TopicWanted(Protocol):
    """One topic as it should be; `config.TopicSettings` is one."""

    @property
    def name(self) -> str:
        """Its name in Kafka."""

    @property
    def partitions(self) -> int:
        """At least so many."""

    @property
    def replicas(self) -> int:
        """Of each partition."""


@dataclass(frozen=True, slots=True)
class TopicFound:
    """One topic as it is."""

    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    settings: Mapping[str, str]
    """In effect, defaults of the brokers included."""
    own: Mapping[str, str]
    """Those that were set for this topic."""


@dataclass(frozen=True, slots=True)
class TopicsPlan:
    """Changes in the order they are made, then what they cannot mend."""

    create: tuple[TopicWanted, ...]
    grow: Mapping[str, int]
    """Partitions by topic."""
    alter: Mapping[str, Mapping[str, str]]
    """All settings that a topic has of its own afterwards, by topic."""
    problems: tuple[str, ...]


def new_topic_settings(replicas: int) -> dict[str, str]:
    """Return the settings that a topic is made with; the first of them is its owner's to change."""
    return {"segment.bytes": str(SEGMENT_BYTES), **topic_settings(replicas)}


def topic_settings(replicas: int) -> dict[str, str]:
    """Return the settings under which a topic loses no record by itself.

    A confirmed record has at least two copies wherever there are two replicas:
    with three, one broker may be away; with two, the log waits for both.
    """
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": str(2 if replicas >= 2 else 1),
        "max.message.bytes": str(RECORD_BYTES_MAX + RECORD_FRAME_BYTES),
        # By the brokers' clock it is told which producers have fallen silent.
        "message.timestamp.type": "LogAppendTime",
    }


def plan_topics(
    wanted: Sequence[TopicWanted], found: Mapping[str, TopicFound], brokers: int
) -> TopicsPlan:
    """Compare topics wanted and found in a cluster of so many brokers."""
    create: list[TopicWanted] = []
    grow: dict[str, int] = {}
    alter: dict[str, Mapping[str, str]] = {}
    problems: list[str] = []
    for topic in wanted:
        existing = found.get(topic.name)
        if existing is None:
            trouble = _cannot_create(topic, brokers)
            if trouble:
                problems.append(trouble)
            else:
                create.append(topic)
            continue
        if existing.partitions < topic.partitions:
            grow[topic.name] = topic.partitions
        if existing.replicas < topic.replicas:
            problems.append(
                f"topic {topic.name} has {existing.replicas} replicas and should have "
                f"{topic.replicas}: add replicas with kafka-reassign-partitions, or ask for fewer"
            )
        settings = topic_settings(min(topic.replicas, existing.replicas))
        if any(existing.settings.get(name) != value for name, value in settings.items()):
            alter[topic.name] = {**existing.own, **settings}
    return TopicsPlan(tuple(create), grow, alter, tuple(problems))


def _cannot_create(topic: TopicWanted, brokers: int) -> str:
    if len(topic.name) > NAME_CHARS_MAX:
        return f"topic {topic.name[:40]}... has a name of more than {NAME_CHARS_MAX} characters"
    if topic.partitions < 1 or topic.replicas < 1:
        return f"topic {topic.name} needs at least one partition and one replica"
    if topic.replicas > brokers:
        return (
            f"topic {topic.name} should have {topic.replicas} replicas, and there are {brokers} "
            "brokers: ask for fewer, or add brokers"
        )
    return ""
