"""The writer of a FileLog partition: group commit around `PartitionFiles`.

Appends wait in a queue; one thread takes all that waits, writes it in one piece,
syncs once, and answers them in order. While it syncs, the next group gathers,
so the group size follows the load without a timer.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from pithead.log.chunk import FRAME_BYTES, RECORD_BYTES_MAX
from pithead.log.errors import (
    LogBroken,
    LogClosed,
    LogFull,
    LogOverloaded,
    RecordTooLarge,
)
from pithead.log.partition import PartitionFiles

GROUP_BYTES_MAX = 8 * 1024 * 1024
"""One write and sync; bounds how long the first of a group waits for the last."""

QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""About 20 million shares: a disk that is so far behind will not catch up by waiting."""


class WriterStatistics(NamedTuple):
    """A writer's figures at this moment."""

    end: int
    """Position after the last durable record."""
    records: int
    """Records made durable since the writer was opened."""
    groups: int
    """Writes with a sync that they took."""
    waiting_records: int
    """Records not yet answered."""
    waiting_bytes: int
    """Their size in the log."""


class _Waiting(NamedTuple):
    payload: bytes
    answer: asyncio.Future[int]

    @property
    def size(self) -> int:
        return FRAME_BYTES + len(self.payload)


class FileWriter:
    """The single writer of one partition; implements `LogWriter`."""

    def __init__(self, files: PartitionFiles) -> None:
        """Write to opened and locked files; belongs to the running event loop."""
        self._files = files
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log-writer")
        self._queue: deque[_Waiting] = deque()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._records = 0
        self._groups = 0
        self._committing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._broken: LogBroken | None = None

    async def append(self, payload: bytes) -> int:
        """Make `payload` durable and return the position after it.

        `LogFull`, `LogOverloaded` and `RecordTooLarge`: it is not in the log.
        `LogBroken`: unknown; this writer is of no more use. `LogClosed`: it was
        closed. A cancelled call may still write its record.
        """
        self._refuse_when_unusable(payload)
        waiting = _Waiting(payload, self._loop.create_future())
        self._queue.append(waiting)
        self._waiting_records += 1
        self._waiting_bytes += waiting.size
        if self._committing is None:
            self._committing = self._loop.create_task(self._commit_all())
        return await waiting.answer

    async def close(self) -> None:
        """Finish what was appended and give the partition free; a second call does nothing."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    def statistics(self) -> WriterStatistics:
        """Return the figures of this moment."""
        return WriterStatistics(
            self._files.end,
            self._records,
            self._groups,
            self._waiting_records,
            self._waiting_bytes,
        )

    def _refuse_when_unusable(self, payload: bytes) -> None:
        path = str(self._files.directory)
        if self._broken is not None:
            raise LogBroken(self._broken.path, self._broken.reason) from self._broken
        if self._closing is not None:
            raise LogClosed(path)
        if len(payload) > RECORD_BYTES_MAX:
            raise RecordTooLarge(path, len(payload), RECORD_BYTES_MAX)
        if self._waiting_bytes + len(payload) > QUEUE_BYTES_MAX:
            raise LogOverloaded(path, self._waiting_bytes, QUEUE_BYTES_MAX)

    async def _commit_all(self) -> None:
        try:
            while self._queue:
                await self._commit(self._take_group())
        finally:
            self._committing = None

    async def _commit(self, group: list[_Waiting]) -> None:
        payloads = [waiting.payload for waiting in group]
        try:
            ends = await self._loop.run_in_executor(self._thread, self._files.write, payloads)
        except LogFull as error:
            # Whoever waits came after the failed group: were one of them kept,
            # the log would show a later record without the earlier one.
            self._fail([*group, *self._take_all()], error)
        except LogBroken as error:
            await self._break(group, error)
        except Exception as error:
            await self._break(group, LogBroken(self._files.path, f"unexpected {error!r}"))
            raise
        else:
            self._records += len(group)
            self._groups += 1
            self._forget(group)
            for waiting, end in zip(group, ends, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(end)

    async def _break(self, group: list[_Waiting], error: LogBroken) -> None:
        self._broken = error
        self._fail([*group, *self._take_all()], error)
        await self._loop.run_in_executor(self._thread, self._files.abandon)
        self._thread.shutdown(wait=False)

    def _take_group(self) -> list[_Waiting]:
        group = [self._queue.popleft()]
        size = group[0].size
        while self._queue and size + self._queue[0].size <= GROUP_BYTES_MAX:
            waiting = self._queue.popleft()
            size += waiting.size
            group.append(waiting)
        return group

    def _take_all(self) -> list[_Waiting]:
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def _fail(self, group: list[_Waiting], error: LogFull | LogBroken) -> None:
        self._forget(group)
        for waiting in group:
            if not waiting.answer.done():
                # Each caller gets its own: a shared one would gather tracebacks.
                own = type(error)(error.path, error.reason)
                own.__cause__ = error
                waiting.answer.set_exception(own)

    def _forget(self, group: Sequence[_Waiting]) -> None:
        self._waiting_records -= len(group)
        self._waiting_bytes -= sum(waiting.size for waiting in group)

    async def _close(self) -> None:
        if self._committing is not None:
            await self._committing
        if self._broken is None:
            await self._loop.run_in_executor(self._thread, self._files.close)
            self._thread.shutdown(wait=False)
