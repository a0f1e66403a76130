"""A log of chunk files that behaves as one whose partitions many producers share.

Its records carry the times that a test gives, as a broker's clock would, and it has a name that a
test can change, as another cluster in its place would. KafkaLog is proven to do the same on a real
broker; this one is quick enough for a property test.
"""

from pathlib import Path

from pithead.log.file_log import FileLog
from pithead.log.reader import FileReader
from pithead.log.share_log import LogRecord


class SharedReader(FileReader):
    """A reader whose records carry times."""

    exclusive = False

    def __init__(self, directory: Path, log: "SharedLog") -> None:
        super().__init__(directory)
        self._log = log

    async def log_id(self) -> str:
        return self._log.name

    async def read(self, partition: str, position: int, bytes_max: int) -> list[LogRecord]:
        found = await super().read(partition, position, bytes_max)
        return [
            record._replace(appended_ms=self._log.times_ms[partition, record.position])
            for record in found
        ]


class SharedLog(FileLog):
    """The log; its writers are still one a partition."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.name = "first"
        self.times_ms: dict[tuple[str, int], int] = {}
        """By partition and position."""
        self.now_ms = 0
        self._ends: dict[str, int] = {}

    def reader(self, topic: str) -> SharedReader:
        return SharedReader(self.root / topic, self)

    def appended(self, partition: str, end: int) -> None:
        """Note that the record up to `end` was appended now."""
        self.times_ms[partition, self._ends.get(partition, 0)] = self.now_ms
        self._ends[partition] = end
