"""The protocol of a share log; services know only this.

A topic has partitions, a partition is an ordered run of records with any number
of readers, each keeping its own position. A position is an integer that grows
from record to record and means something only together with its log, topic and
partition; 0 is the beginning of a new one.
"""

from typing import NamedTuple, Protocol


class LogRecord(NamedTuple):
    """One record as read."""

    position: int
    next_position: int
    """Where to read on; commit it in the same transaction as the record's data."""
    payload: bytes
    appended_ms: int | None = None
    """When the log took it, by the log's own clock, Unix milliseconds; None where it keeps none."""


class Held(NamedTuple):
    """What one partition holds."""

    start: int
    """Earliest position that is left."""
    end: int
    bytes: int
    """On the disk of a machine that has it; positions need not count bytes."""


class LogWriter(Protocol):
    """A writer of one partition."""

    async def append(self, payload: bytes) -> int:
        """Make `payload` durable and return the position after it.

        Records keep the order of the calls. Concurrent calls share one write
        and one sync. After `LogFull` neither this record nor a later one of the
        same moment is in the log; after `LogUnavailable` and after a cancelled
        call it may be or come into it: repeat the same bytes. `WRITER_STAYS` in
        `errors` says which errors leave the writer usable.
        """
        ...

    async def close(self) -> None:
        """Finish what was appended and give everything back; a second call does nothing."""
        ...


class LogReader(Protocol):
    """Reads a topic; holds no position of its own."""

    @property
    def exclusive(self) -> bool:
        """Whether a partition has one writer at a time: a new one proves the earlier one gone."""
        ...

    async def log_id(self) -> str:
        """Return the name of the log whose positions these are; another name, other positions."""
        ...

    async def partitions(self) -> list[str]:
        """Return the partitions that exist now, sorted."""
        ...

    async def read(self, partition: str, position: int, bytes_max: int) -> list[LogRecord]:
        """Return the records from `position` on, about `bytes_max` of them, [] at the end.

        At least one record comes when there is one, however large. Only durable
        records are shown.
        """
        ...

    async def start(self, partition: str) -> int:
        """Return the earliest position that retention has left."""
        ...

    async def end(self, partition: str) -> int:
        """Return the position after the last durable record."""
        ...

    async def since(self, partition: str, time_ms: int) -> int:
        """Return a position before which the log took everything earlier than Unix `time_ms`.

        The end when nothing came later; earlier than could be where the log keeps
        no time of each record.
        """
        ...

    async def wait(self, partition: str, position: int, timeout_ms: int) -> bool:
        """Wait until there is a record at `position` (True) or the time is over (False)."""
        ...

    async def close(self) -> None:
        """Give files and connections back."""
        ...


class ShareLog(Protocol):
    """Where writers and readers come from."""

    async def partition_for(self, topic: str, producer: bytes) -> str:
        """Return the partition for a producer that was given none; it keeps it all its life."""
        ...

    async def writer(self, topic: str, partition: str) -> LogWriter:
        """Open a writer of a partition; `LogBusy` while an exclusive one has another."""
        ...

    def reader(self, topic: str) -> LogReader:
        """Return a reader of a topic; nothing is opened before its first use."""
        ...

    async def delete_before(self, topic: str, partition: str, position: int) -> int:
        """Let records before `position` go, perhaps fewer; return the new start."""
        ...

    async def held(self, topic: str) -> dict[str, Held]:
        """Return what each partition of a topic holds, by its name."""
        ...
