"""A disk that fails as told, named after its faults."""

import errno
import os

from pithead.log.disk import SystemDisk


class FailingDisk(SystemDisk):
    """Does what the system does, except for the failures that a test orders.

    Each attribute holds the errno for the next call of its kind; None is none.
    """

    def __init__(self) -> None:
        self.write_errno: int | None = None
        self.sync_errno: int | None = None
        self.truncate_errno: int | None = None
        self.syncs = 0

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write half of it and fail, when told."""
        code, self.write_errno = self.write_errno, None
        if code is not None:
            super().write(descriptor, data[: len(data) // 2], offset)
            raise OSError(code, os.strerror(code))
        super().write(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        """Fail without having synced, when told."""
        self.syncs += 1
        code, self.sync_errno = self.sync_errno, None
        if code is not None:
            raise OSError(code, os.strerror(code))
        super().sync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Fail without having cut, when told."""
        code, self.truncate_errno = self.truncate_errno, None
        if code is not None:
            raise OSError(code, os.strerror(code))
        super().truncate(descriptor, size)


NO_SPACE = errno.ENOSPC
IO_ERROR = errno.EIO
