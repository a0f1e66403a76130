"""A disk whose power fails when a test says so, and then keeps what disks keep.

What was synced is there. Of what was written since, any beginning may be there, the last piece of
it cut anywhere. Names of files are kept: the door of the log covers bytes only.
"""

import os
from collections.abc import Callable
from pathlib import Path

from pithead.log.disk import SystemDisk

Choose = Callable[[int], int]
"""Choose a number from 0 to this one."""


class PowerCut(Exception):
    """Raised by every call from the moment at which the power fails."""


class CrashingDisk(SystemDisk):
    """The system's files until `left` calls are over; None: for ever."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.next_error: OSError | None = None
        """For the next write or sync, after half of it was done."""
        self._durable: dict[Path, bytes] = {}
        self._since: dict[Path, list[tuple[int, bytes | None]]] = {}
        """Writes (offset, data) and truncations (size, None) since the last sync."""

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        path = self._called(descriptor)
        error, self.next_error = self.next_error, None
        if error is not None:
            data = data[: len(data) // 2]
        self._since[path].append((offset, data))
        super().write(descriptor, data, offset)
        if error is not None:
            raise error

    def sync(self, descriptor: int) -> None:
        path = self._called(descriptor)
        error, self.next_error = self.next_error, None
        if error is not None:
            raise error
        super().sync(descriptor)
        self._durable[path] = path.read_bytes()
        self._since[path].clear()

    def truncate(self, descriptor: int, size: int) -> None:
        self._since[self._called(descriptor)].append((size, None))
        super().truncate(descriptor, size)

    def power_back(self, choose: Choose) -> None:
        """Make the files what the crash left of them."""
        for path, writes in self._since.items():
            if not path.exists():
                continue
            content = bytearray(self._durable[path])
            kept = choose(len(writes))
            for number, (offset, data) in enumerate(writes[:kept]):
                if data is None:
                    del content[offset:]
                    continue
                piece = data[: choose(len(data))] if number == kept - 1 else data
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(piece)] = piece
            path.write_bytes(content)
        self.left = None
        self._durable.clear()
        self._since.clear()

    def _called(self, descriptor: int) -> Path:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise PowerCut
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        # A chunk is written under one name and then gets another.
        for known in [each for each in self._since if each.with_suffix(".new") == path]:
            del self._since[known], self._durable[known]
        if path not in self._since:
            before = path.with_suffix(".new")
            durable = self._durable.pop(before, b"")
            self._durable[path] = durable or path.read_bytes()
            self._since[path] = self._since.pop(before, [])
        return path
