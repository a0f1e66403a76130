"""The protocol of a share log; services know only this.

A topic has partitions, a partition is an ordered run of records with one writer
and any number of readers, each keeping its own position. A position is an
integer that grows from record to record and means something only together with
its topic and partition; 0 is the beginning of a new one.
"""

from typing import NamedTuple, Protocol


class LogRecord(NamedTuple):
    """One record as read."""

    position: int
    next_position: int
    """Where to read on; commit it in the same transaction as the record's data."""
    payload: bytes


class LogWriter(Protocol):
    """The single writer of one partition."""

    async def append(self, payload: bytes) -> int:
        """Make `payload` durable and return the position after it.

        Records keep the order of the calls. Concurrent calls share one write
        and one sync. After `LogFull` neither this record nor a later one of the
        same moment is in the log; a cancelled call may still have written.
        """
        ...

    async def close(self) -> None:
        """Finish what was appended and give the partition free; a second call does nothing."""
        ...


class LogReader(Protocol):
    """Reads a topic; holds no position of its own."""

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
        """Return the position after the last durable record; 0 for an unknown partition."""
        ...

    async def wait(self, partition: str, position: int, timeout_ms: int) -> bool:
        """Wait until there is a record at `position` (True) or the time is over (False)."""
        ...

    async def close(self) -> None:
        """Give files and connections back."""
        ...


class ShareLog(Protocol):
    """Where writers and readers come from."""

    async def writer(self, topic: str, partition: str) -> LogWriter:
        """Open the only writer of a partition, made when missing; `LogBusy` while there is one."""
        ...

    def reader(self, topic: str) -> LogReader:
        """Return a reader of a topic, which need not exist yet."""
        ...

    async def delete_before(self, topic: str, partition: str, position: int) -> int:
        """Let records before `position` go, as far as whole files do; return the new start."""
        ...
