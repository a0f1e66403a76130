"""Which partition each producer of a spool writes, remembered beside the spool.

A producer keeps its partition all its life, also when there are more of them by
the time at which another process sends what it left behind. The file is small
JSON, replaced as a whole before the first record that needs it is sent.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pithead.log.disk import sync_directory
from pithead.log.errors import LogCorrupt

NAME = "partitions.json"
NEW_NAME = "partitions.json.new"


class Assignments:
    """The partitions of the producers of one topic's spool; synchronous."""

    def __init__(self, directory: Path) -> None:
        """Load what is there; LogCorrupt when it cannot be read."""
        self._path = directory / NAME
        self._new = directory / NEW_NAME
        self._known: dict[str, str] = {}
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return
        try:
            self._known = {str(producer): str(name) for producer, name in json.loads(text).items()}
        except (ValueError, AttributeError) as error:
            raise LogCorrupt(str(self._path), 0, "it is no JSON object") from error

    def get(self, producer: bytes) -> str | None:
        """Return the partition of a producer, None when none was ever chosen."""
        return self._known.get(producer.hex())

    def put(self, producer: bytes, partition: str, needed: Iterable[bytes]) -> None:
        """Remember a choice durably, and forget producers that are not `needed` any more."""
        keep = {each.hex() for each in needed}
        known = {name: found for name, found in self._known.items() if name in keep}
        known[producer.hex()] = partition
        with self._new.open("w") as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
        self._new.rename(self._path)
        sync_directory(self._path.parent)
        self._known = known
