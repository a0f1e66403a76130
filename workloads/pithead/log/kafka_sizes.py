"""How many bytes the partitions of a topic take on the brokers' disks.

aiokafka has no such question, so the one of the protocol (DescribeLogDirs, key 35,
version 1, which every broker since 2.0 answers) is written down here. Each
broker tells of the replicas that it has; the largest of a partition counts. The
question needs the right `Describe` on the cluster. A user without it gets an
empty answer, which is told from a topic without partitions by asking for those
that are known to exist.
"""

from collections.abc import Iterable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

API_KEY = 35


class _ResponseV1(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = API_KEY
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "log_dirs",
            Array(
                ("error_code", Int16),
                ("log_dir", String("utf-8")),
                (
                    "topics",
                    Array(
                        ("name", String("utf-8")),
                        (
                            "partitions",
                            Array(
                                ("partition_index", Int32),
                                ("partition_size", Int64),
                                ("offset_lag", Int64),
                                ("is_future_key", Boolean),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


class _RequestV1(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = API_KEY
    API_VERSION = 1
    RESPONSE_TYPE = _ResponseV1
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )


class DescribeLogDirs(Request[_RequestV1]):  # type: ignore[misc]  # aiokafka has no types
    """The question for some partitions of one topic."""

    API_KEY = API_KEY

    def __init__(self, topic: str, partitions: Iterable[int]) -> None:
        self._topics = [(topic, list(partitions))]

    def build(self, request_struct_class: type[_RequestV1]) -> _RequestV1:
        """Return the message in the version that the broker speaks."""
        return request_struct_class(self._topics)


async def sizes(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> dict[int, int]:
    """Return the bytes of each partition, without those that no broker tells of.

    Raises the errors of the client when no broker answers; one that is away is
    left out, as others have replicas of its partitions.
    """
    found: dict[int, int] = {}
    answered = False
    failure: KafkaError | None = None
    described = await admin.describe_cluster()
    for broker in described["brokers"]:
        request = DescribeLogDirs(topic, range(partitions))
        try:
            answer: Any = await admin._client.send(broker["node_id"], request)
        except KafkaError as error:
            failure = error
            continue
        answered = True
        for _code, _folder, topics in answer.log_dirs:
            for _name, replicas in topics:
                for number, size, _lag, future in replicas:
                    # A replica that is being moved to another disk is there twice for a while.
                    if not future:
                        found[number] = max(found.get(number, 0), size)
    if failure is not None and not answered:
        raise failure
    return found
