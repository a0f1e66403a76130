"""What the spool must know of the records that it keeps: whose they are, their end. Pure."""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from pithead.contracts.share_log_pb2 import BlockRecord, ShareBatch
from pithead.log.codec import encode_batch
from pithead.log.errors import LogCorrupt
from pithead.log.topics import is_blocks


class Kept(NamedTuple):
    """One record of the spool."""

    producer: bytes
    time_ms: int
    """By its producer's clock, Unix milliseconds."""


def producer_of(topic: str, payload: bytes) -> bytes:
    """Return whose record it is; as `look`, without reading all of it where that can be had."""
    # Fields are written in their order: a one-byte format, then the 16 bytes of the producer.
    if payload[:1] == b"\x08" and payload[2:4] == b"\x12\x10":
        return payload[4:20]
    return look(topic, payload).producer


def look(topic: str, payload: bytes) -> Kept:
    """Return what a record of `topic` says of itself; LogCorrupt when it is none."""
    try:
        if is_blocks(topic):
            record = BlockRecord.FromString(payload)
            return Kept(record.producer, record.found_ms)
        batch = ShareBatch.FromString(payload)
        return Kept(batch.producer, batch.time_base_ms)
    except DecodeError as error:
        raise LogCorrupt(f"spool of {topic}", -1, "a record is no record of this topic") from error


def ending(topic: str, payload: bytes) -> bytes | None:
    """Return the `end` that the producer of its last record would have written next.

    None where there is nothing to end: it has ended, or the topic knows no end.
    The end credits nothing and keeps the promise, so that it may follow anything.
    """
    if is_blocks(topic):
        return None
    last = ShareBatch.FromString(payload)
    if last.end:
        return None
    return encode_batch(
        ShareBatch(
            producer=last.producer,
            sequence=last.sequence + 1,
            promise=last.promise,
            pool=last.pool,
            coin=last.coin,
            region=last.region,
            time_base_ms=last.time_base_ms + max(last.time_offset_ms, default=0),
            end=True,
        )
    )
