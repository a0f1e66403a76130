"""How much of its byte bound a log has used, and whether new shares may still come in.

The bound is kept by refusing shares, never by deleting: what was answered `true`
stays until its readers are past it. Promises, ends and solved blocks go on being
written at the bound; they are small, and accounting needs them to free space.
"""

from collections.abc import Sequence

from pithead.log.share_log import ShareLog

FREED = 16
"""Once full, a log stays so until one part in so many of its bound is free again: else every
record that goes would let in as many shares, and refuse the next ones."""


class Bound:
    """The bound and what was last measured. Pure."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        """At the last measurement."""
        self.full = False

    @property
    def half(self) -> bool:
        """Whether it is time to tell somebody."""
        return self.bytes * 2 >= self.bytes_max

    def measured(self, size: int) -> None:
        """Take a measurement in."""
        self.bytes = size
        self.full = size >= self.bytes_max - (self.bytes_max // FREED if self.full else 0)


async def used(log: ShareLog, topics: Sequence[str]) -> int:
    """Return the bytes that some topics hold together; raises LogError and OSError."""
    held = [await log.held(topic) for topic in topics]
    return sum(partition.bytes for each in held for partition in each.values())
