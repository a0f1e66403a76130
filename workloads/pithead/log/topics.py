"""Names of topics and the version of records. Pure."""

FORMAT = 2
"""Version of the records that this program writes into every topic.

1: a batch's logins are messages. 2: they are columns, with the best share of each."""

FORMATS_BACK = 2
"""Readers accept versions N-2 to N: the hub is upgraded before the regions."""


def accepts(record_format: int) -> bool:
    """Tell whether this program reads records of `record_format`."""
    return max(1, FORMAT - FORMATS_BACK) <= record_format <= FORMAT


def shares_topic(pool: str) -> str:
    """Return the topic of a pool's share batches; `pool` is its poolId."""
    return f"shares.{pool}"


def blocks_topic(pool: str) -> str:
    """Return the topic of a pool's solved blocks; `pool` is its poolId."""
    return f"blocks.{pool}"


def is_blocks(topic: str) -> bool:
    """Tell whether a topic, as `shares_topic` and `blocks_topic` name them, holds solved blocks."""
    return topic.startswith(blocks_topic(""))


KAFKA_PREFIX = "pithead."


def kafka_topic(topic: str) -> str:
    """Return the name that a topic has in Kafka, where others may have theirs beside it."""
    return f"{KAFKA_PREFIX}{topic}"
