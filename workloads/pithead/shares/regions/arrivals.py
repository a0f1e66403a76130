"""What of a region's records is let into the hub's log. Pure.

A region may speak for itself alone: a record of another region or pool, or one of
which that can not be told, is set aside with a reason. Whether a batch makes sense
beyond that, accounting judges when it reads it.
"""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from pithead.contracts.share_log_pb2 import BlockRecord, ShareBatch
from pithead.log.chunk import RECORD_BYTES_MAX
from pithead.log.topics import blocks_topic, shares_topic
from pithead.shares.states import INT63_MAX

PRODUCER_BYTES = 16


class Topic(NamedTuple):
    """A topic that a region may push to."""

    name: str
    pool: str
    """poolId."""
    blocks: bool


class Arrival(NamedTuple):
    """One record that came."""

    position: int
    next_position: int
    payload: bytes
    fault: str = ""
    """Why it is set aside; empty for one that is let in."""
    producer: bytes = b""
    time_ms: int = 0
    """When the region's log took it; the producer's own clock where it keeps no time."""
    height: int = 0
    """Of a solved block, else 0."""


def topics_of(pools: list[str]) -> dict[str, Topic]:
    """The topics of pools, by name."""
    topics = [Topic(shares_topic(pool), pool, blocks=False) for pool in pools]
    topics += [Topic(blocks_topic(pool), pool, blocks=True) for pool in pools]
    return {topic.name: topic for topic in topics}


def judge(
    topic: Topic, region: str, *, position: int, next_position: int, payload: bytes, time_ms: int
) -> Arrival:
    """Look at one record of a region; `time_ms` is its log's, 0 where it keeps none."""
    arrival = Arrival(position, next_position, payload, time_ms=min(time_ms, INT63_MAX))
    if len(payload) > RECORD_BYTES_MAX:
        fault = f"{len(payload)} bytes, at most {RECORD_BYTES_MAX} are allowed"
        return arrival._replace(fault=fault, payload=payload[:RECORD_BYTES_MAX])
    record: ShareBatch | BlockRecord = BlockRecord() if topic.blocks else ShareBatch()
    try:
        record.ParseFromString(payload)
    except DecodeError:
        return arrival._replace(fault=f"{len(payload)} bytes are no {type(record).__name__}")
    if record.region != region:
        return arrival._replace(fault=f"region: it comes from {region}, it says {record.region!r}")
    if record.pool != topic.pool:
        return arrival._replace(fault=f"pool: expected {topic.pool}, got {record.pool!r}")
    if len(record.producer) != PRODUCER_BYTES:
        return arrival._replace(fault=f"producer: {len(record.producer)} bytes")
    if isinstance(record, BlockRecord):
        return arrival._replace(producer=record.producer, height=record.height)
    moment_ms = time_ms or record.time_base_ms
    return arrival._replace(producer=record.producer, time_ms=min(moment_ms, INT63_MAX))
