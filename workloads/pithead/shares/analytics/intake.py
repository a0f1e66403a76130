"""Reads the log for analytics: the next plan's records, and those of a plan again.

How much one plan takes is bounded in bytes, rows and days, so that memory is bounded
however far behind the reader is, and no insert touches more daily partitions than a
server lets it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pithead.log.columns import Columns
from pithead.log.errors import LogPositionInvalid, LogTruncated
from pithead.log.share_log import LogReader, LogRecord
from pithead.shares.analytics.plans import Plan
from pithead.shares.records import Read, examine

BYTES_MAX = 16 * 1024 * 1024
"""Of the log in one plan: some 270,000 shares where each batch names a worker for every share."""

READ_BYTES_MAX = 1024 * 1024
"""Of one partition at a time."""

ROWS_MAX = 500_000
"""Shares in one plan: one block of an insert, some 100 MB while it is made."""

RECORDS_MAX = 20_000
"""Records in one plan: each may have to be named as seen before."""

DAYS_MAX = 60
"""Days that the rows of one plan lie in; a server refuses blocks for more than 100 partitions."""

DAY_MS = 86_400_000


@dataclass(slots=True)
class Taken:
    """Records for one plan."""

    reads: list[Read] = field(default_factory=list)
    """In the order of their partitions."""
    lost: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    """By partition whose position is gone: that, where to go on, and why."""
    more: bool = False
    """Whether a bound was met, so that there may be more."""
    size: int = 0
    rows: int = 0
    days: set[int] = field(default_factory=set)

    def fits(self, record: LogRecord, read: Read) -> bool:
        """Take a record unless a bound would be passed; the first is always taken."""
        days = days_of(read.columns) if read.columns is not None else set()
        rows = len(read.columns) if read.columns is not None else 0
        if self.reads and (
            self.size + len(record.payload) > BYTES_MAX
            or self.rows + rows > ROWS_MAX
            or len(self.reads) >= RECORDS_MAX
            or len(self.days | days) > DAYS_MAX
        ):
            self.more = True
            return False
        self.size += len(record.payload)
        self.rows += rows
        self.days |= days
        self.reads.append(read)
        return True


class Unrepeatable(Exception):
    """Raised when a plan's records are no longer in the log."""


def moment_ms(read: Read) -> int:
    """When the log took a record; by its producer's own clock where the log keeps no time."""
    if read.record.appended_ms is not None or read.columns is None:
        return read.record.appended_ms or 0
    return int(read.columns.batch.time_base_ms)


def days_of(columns: Columns) -> set[int]:
    """Days since the Unix epoch that a batch's rows lie in."""
    days = {int(columns.batch.time_base_ms) // DAY_MS}
    if len(columns):
        days |= set(np.unique(columns.time_ms // DAY_MS).tolist())
    return days


class Intake:
    """Reads one pool's topic."""

    def __init__(self, reader: LogReader, pool: str, coin: str) -> None:
        self._reader = reader
        self._pool = pool
        self._coin = coin
        self._last = ""

    async def log_id(self) -> str:
        """Name of the log that is there now."""
        return await self._reader.log_id()

    async def next(self, positions: Mapping[str, int]) -> Taken:
        """Records from the positions on; partitions without one begin at their start."""
        taken = Taken()
        present = await self._reader.partitions()
        # Behind the one that met a bound the last time, so that none waits for another.
        turn = sum(name <= self._last for name in present)
        for partition in (*present[turn:], *present[:turn]):
            position = positions.get(partition)
            if position is None:
                position = await self._reader.start(partition)
            if not await self._take(taken, partition, position):
                self._last = partition
                break
        return taken

    async def _take(self, taken: Taken, partition: str, position: int) -> bool:
        while True:
            try:
                records = await self._reader.read(partition, position, READ_BYTES_MAX)
            except (LogTruncated, LogPositionInvalid) as error:
                start = await self._reader.start(partition)
                taken.lost[partition] = (position, start, str(error))
                return True
            for record in records:
                read = examine(partition, record, self._pool, self._coin)
                if read.newer:
                    # Accounting stands before it too, until the hub is upgraded.
                    return True
                if not taken.fits(record, read):
                    return False
                position = record.next_position
            if not records:
                return True

    async def again(self, plan: Plan) -> list[Read]:
        """The records of a plan. Unrepeatable when the log no longer has them."""
        if await self._reader.log_id() != plan.log:
            raise Unrepeatable("another log stands in the place of the one that was read")
        reads: list[Read] = []
        for partition, (start, end) in sorted(plan.ranges.items()):
            reads += [
                examine(partition, record, self._pool, self._coin)
                for record in await self._range(partition, start, end)
            ]
        return reads

    async def _range(self, partition: str, start: int, end: int) -> list[LogRecord]:
        found: list[LogRecord] = []
        position = start
        while position < end:
            try:
                records = await self._reader.read(partition, position, READ_BYTES_MAX)
            except (LogTruncated, LogPositionInvalid) as error:
                raise Unrepeatable(str(error)) from error
            if not records:
                raise Unrepeatable(f"{partition} ends at {position}, before {end}")
            found += [record for record in records if record.position < end]
            position = records[-1].next_position
        return found
