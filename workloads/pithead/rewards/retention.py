"""Lets the log of a pool's solved blocks go, behind the position that rewards has committed."""

import logging
from collections.abc import Callable

from pithead.log.retention import Keep, trim
from pithead.log.share_log import LogReader, ShareLog
from pithead.log.topics import blocks_topic
from pithead.rewards.database import Database, log_positions

logger = logging.getLogger(__name__)


class BlockRetention:
    """Trims one pool's block log; nothing but rewards reads it."""

    def __init__(
        self,
        database: Database,
        log: ShareLog,
        reader: LogReader,
        pool: str,
        keep: Keep,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._log = log
        self._reader = reader
        self._topic = blocks_topic(pool)
        self._keep = keep
        self._now_ms = now_ms

    async def step(self) -> int:
        """Trim every partition once; 0, as nothing is urgent in it. Raises LogError."""
        log = await self._reader.log_id()
        async with self._database.read() as connection:
            positions = await log_positions(connection, self._topic, log)
        for partition in set(await self._reader.partitions()) & positions.keys():
            start = await trim(
                self._log,
                self._reader,
                self._topic,
                partition,
                behind=positions[partition],
                keep=self._keep,
                now_ms=self._now_ms(),
            )
            if start is not None:
                logger.info("%s/%s begins at %d now", self._topic, partition, start)
        return 0
