"""How the share log stands behind an edge: what waits on this machine, and how full the log is.

Looks at both every moment, shows them as metrics, and tells the batcher when no
new shares may come in.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pithead.log.errors import LogError
from pithead.log.room import Bound, used
from pithead.log.share_log import ShareLog
from pithead.log.spooled import SpooledLog
from pithead.stratum import metrics
from pithead.stratum.batcher import Batcher

LOOK_S = 0.25
MEASURE_S = 10.0
"""A log grows by megabytes in it, some seconds long; brokers are asked by every edge."""
MEASURE_S_MAX = 10.0

logger = logging.getLogger(__name__)


class Backlog(NamedTuple):
    """What an edge tells of its log."""

    degraded: str = ""
    """One sentence while the edge is ready and yet not as it should be; else empty."""
    spooling: bool = False
    bytes: int = 0
    """That wait on this machine."""
    records: int = 0
    age_s: int = 0
    """Of the oldest record that waits."""


class BacklogWatch:
    """Keeps the figures and the batcher's `full` up to date."""

    def __init__(
        self,
        log: ShareLog,
        topics: Sequence[str],
        spool: SpooledLog | None,
        bytes_max: int | None,
        batcher: Batcher,
        unix_ms: Callable[[], int],
    ) -> None:
        """`log` is the one whose bytes count; `spool` stands before it, or None."""
        self._log = log
        self._topics = topics
        self._spool = spool
        self._bound = Bound(bytes_max) if bytes_max is not None else None
        self._batcher = batcher
        self._unix_ms = unix_ms
        self._unmeasured = False
        metrics.LOG_BYTES_MAX.set(bytes_max or 0)

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            if self._bound is not None:
                group.create_task(self._measure(self._bound))

    def told(self) -> Backlog:
        """Return how it stands at this moment."""
        state = self._spool.state() if self._spool is not None else None
        if state is None or not state.spooling:
            half = self._bound is not None and self._bound.half
            return Backlog("the share log has used half of its byte bound" if half else "")
        age_ms = self._unix_ms() - state.oldest_ms if state.oldest_ms else 0
        return Backlog(
            degraded=f"shares are kept on this machine, {state.bytes} bytes in {state.records} "
            f"records, until the share log takes them: {state.trouble or 'being sent'}",
            spooling=True,
            bytes=state.bytes,
            records=state.records,
            age_s=max(0, age_ms // 1000),
        )

    def look(self) -> None:
        """Bring metrics and batcher up to date."""
        told = self.told()
        metrics.SPOOLING.set(told.spooling)
        metrics.SPOOL_BYTES.set(told.bytes)
        metrics.SPOOL_BATCHES.set(told.records)
        metrics.SPOOL_AGE_SECONDS.set(told.age_s)
        full = ""
        if self._bound is not None and self._bound.full:
            full = (
                f"it holds {self._bound.bytes} bytes, the bound is {self._bound.bytes_max}: "
                "let accounting catch up, or raise bytesMax"
            )
        elif self._spool is not None and self._spool.state().full:
            full = f"the spool of this machine is full, {told.bytes} bytes: {told.degraded}"
        if full and not self._batcher.full:
            logger.error("shares are refused, the share log is full: %s", full)
        elif self._batcher.full and not full:
            logger.warning("the share log has room again")
        self._batcher.full = full

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    async def _measure(self, bound: Bound) -> None:
        while True:
            try:
                async with asyncio.timeout(MEASURE_S_MAX):
                    bound.measured(await used(self._log, self._topics))
            except (LogError, OSError, TimeoutError) as error:
                # What was measured last goes on to count: a log that is away does not grow.
                metrics.LOG_UNMEASURED.inc()
                if not self._unmeasured:
                    logger.warning("the size of the share log can not be told: %s", error)
                self._unmeasured = True
            else:
                self._unmeasured = False
            metrics.LOG_BYTES.set(bound.bytes)
            metrics.LOG_HALF_FULL.set(bound.half)
            metrics.LOG_FULL.set(bound.full)
            await asyncio.sleep(MEASURE_S)
