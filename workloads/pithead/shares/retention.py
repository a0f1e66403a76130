"""Lets the log of a pool's shares go, behind all who read it.

A *floor* is the position before which one of the readers needs nothing any more:
accounting's is what it has committed, and others add theirs. The lowest counts. A
floor that cannot be told now (None) keeps everything until it can.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.log.retention import Keep, trim
from pithead.log.share_log import LogReader, ShareLog
from pithead.shares import metrics
from pithead.shares.analytics import plans
from pithead.shares.intake import read_positions
from pithead.store import reading

Floor = Callable[[str, str, str], Awaitable[int | None]]
"""Position by topic, partition and the log's id; None: everything must stay for now."""

NO_SAY = (1 << 63) - 1
"""Floor of a reader that needs nothing."""

ANALYTICS_BEHIND_BYTES = 16 * 1024**3
"""Eight hours of 10,000 shares a second at 60 bytes each."""

logger = logging.getLogger(__name__)


def accounting_floor(engine: AsyncEngine) -> Floor:
    """Return the floor of accounting: where it reads on, as committed with the cells."""

    async def floor(topic: str, partition: str, log: str) -> int | None:
        async with reading(engine) as connection:
            return (await read_positions(connection, topic, log)).get(partition)

    return floor


def analytics_floor(engine: AsyncEngine, log: ShareLog, behind_bytes_max: int) -> Floor:
    """Return the floor of analytics: what is not written yet stays, unless that is too much.

    Analytics may be down or gone for good, and no money depends on it: once it is more
    than `behind_bytes_max` behind, it is not waited for, and what it misses is told.
    """

    async def floor(topic: str, partition: str, log_id: str) -> int | None:
        async with reading(engine) as connection:
            plan = await plans.read_plan(connection, topic)
            positions = await plans.read_positions(connection, topic, log_id)
        position = positions.get(partition)
        if position is None and not plan.done and plan.log == log_id and partition in plan.ranges:
            position = plan.ranges[partition][0]
        if position is None:
            return NO_SAY
        held = (await log.held(topic)).get(partition)
        if held is None:
            return NO_SAY
        behind = (held.end - position) * held.bytes // max(1, held.end - held.start)
        if behind <= behind_bytes_max:
            return position
        metrics.ANALYTICS_LEFT_BEHIND.labels(topic).inc()
        logger.warning(
            "%s/%s: analytics is %d bytes behind and is not waited for", topic, partition, behind
        )
        return NO_SAY

    return floor


class Retention:
    """Trims one topic."""

    def __init__(
        self,
        log: ShareLog,
        reader: LogReader,
        topic: str,
        floors: Sequence[Floor],
        keep: Keep,
        now_ms: Callable[[], int],
    ) -> None:
        self._log = log
        self._reader = reader
        self._topic = topic
        self._floors = tuple(floors)
        self._keep = keep
        self._now_ms = now_ms

    async def step(self) -> int:
        """Trim every partition once; 0, as nothing is urgent in it. Raises LogError."""
        log = await self._reader.log_id()
        for partition in await self._reader.partitions():
            behind = await self._lowest(partition, log)
            if behind is None:
                continue
            start = await trim(
                self._log,
                self._reader,
                self._topic,
                partition,
                behind=behind,
                keep=self._keep,
                now_ms=self._now_ms(),
            )
            if start is not None:
                metrics.LOG_TRIMMED.labels(self._topic).inc()
                logger.info("%s/%s begins at %d now", self._topic, partition, start)
        return 0

    async def _lowest(self, partition: str, log: str) -> int | None:
        lowest: int | None = None
        for floor in self._floors:
            position = await floor(self._topic, partition, log)
            if position is None:
                return None
            lowest = position if lowest is None else min(lowest, position)
        return lowest
