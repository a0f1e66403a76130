"""What a log lets go once its readers are past it, and how much it keeps behind them.

Deleting is the hub's alone, and a decision of its settings: without a limit a log
keeps everything. Never does anything go that one of its readers has not read.
"""

from typing import Protocol

from pithead.log.share_log import LogReader, ShareLog


class Keep(Protocol):
    """How much stays behind the slowest reader; `config.KeepSettings` is one.

    Where both are given, what keeps less counts; where neither is, everything stays.
    """

    @property
    def bytes(self) -> int | None:
        """So many, by the partition's mean."""

    @property
    def ms(self) -> int | None:
        """By the time at which the log took them."""


async def trim(
    log: ShareLog,
    reader: LogReader,
    topic: str,
    partition: str,
    *,
    behind: int,
    keep: Keep,
    now_ms: int,
) -> int | None:
    """Delete what lies so far before `behind` that `keep` does not hold it; return the new start.

    None when there was nothing to delete. Positions need not count bytes: they are
    converted by the partition's mean, for what is kept is a convenience and the
    bound is `behind`. Raises LogError and OSError.
    """
    limits = []
    held = (await log.held(topic)).get(partition)
    if held is None or (keep.bytes is None and keep.ms is None):
        return None
    if keep.bytes is not None:
        records = -(-keep.bytes * (held.end - held.start) // max(1, held.bytes))
        limits.append(behind - records)
    if keep.ms is not None:
        limits.append(await reader.since(partition, now_ms - keep.ms))
    position = min(behind, max(limits))
    if position <= held.start:
        return None
    start = await log.delete_before(topic, partition, position)
    return start if start > held.start else None
