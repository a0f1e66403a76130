"""Answers that are kept for some seconds, so that a page which many look at is made once.

One making of an answer serves all who wait for it, and goes on when they have left:
the store would finish its work anyhow. An answer that is no longer fresh is still
given for a while and made anew meanwhile, so that a wait is rare. The clock is the
caller's.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long, and how much."""

    fresh_ms: int
    """An answer of this age is given without another thought."""
    stale_ms: int
    """One of this age is still given, while a new one is made; an older one is not."""
    size_max: int
    """In whatever `size` counts."""


@dataclass(slots=True)
class _Entry(Generic[ValueT]):
    value: ValueT
    made_ms: int
    size: int


class Kept(Generic[KeyT, ValueT]):
    """Answers by key; the least recently asked go first when there are too many."""

    def __init__(
        self,
        keeping: Keeping,
        now_ms: Callable[[], int],
        size: Callable[[ValueT], int] = lambda _: 1,
    ) -> None:
        self._keeping = keeping
        self._now_ms = now_ms
        self._size = size
        self._entries: OrderedDict[KeyT, _Entry[ValueT]] = OrderedDict()
        self._making: dict[KeyT, asyncio.Task[ValueT]] = {}
        self._held = 0

    @property
    def held(self) -> int:
        """Size of all that is kept."""
        return self._held

    async def get(self, key: KeyT, make: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """Give the kept answer, or make it. Raises what `make` raises, which is not kept."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            age_ms = self._now_ms() - entry.made_ms
            if age_ms < self._keeping.fresh_ms:
                return entry.value
            if age_ms < self._keeping.stale_ms:
                # Nobody waits for this one, so what goes wrong with it is said here.
                self._start(key, make).add_done_callback(_say_failure)
                return entry.value
        # Shielded: whoever else waits for it must not lose it to our caller's deadline.
        return await asyncio.shield(self._start(key, make))

    def gives(self, key: KeyT) -> bool:
        """Whether an answer can be given at once."""
        entry = self._entries.get(key)
        return entry is not None and self._now_ms() - entry.made_ms < self._keeping.stale_ms

    def forget(self, key: KeyT) -> None:
        """Make this one anew when it is asked for next."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._held -= entry.size

    def _start(self, key: KeyT, make: Callable[[], Awaitable[ValueT]]) -> asyncio.Task[ValueT]:
        task = self._making.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._make(key, make))
            self._making[key] = task
            task.add_done_callback(lambda done: self._made(key, done))
        return task

    async def _make(self, key: KeyT, make: Callable[[], Awaitable[ValueT]]) -> ValueT:
        made_ms = self._now_ms()
        value = await make()
        self._keep(key, _Entry(value, made_ms, self._size(value)))
        return value

    def _keep(self, key: KeyT, entry: _Entry[ValueT]) -> None:
        self.forget(key)
        self._entries[key] = entry
        self._held += entry.size
        while self._held > self._keeping.size_max and len(self._entries) > 1:
            _, gone = self._entries.popitem(last=False)
            self._held -= gone.size

    def _made(self, key: KeyT, task: asyncio.Task[ValueT]) -> None:
        self._making.pop(key, None)
        if not task.cancelled():
            # Raised to those who wait; asyncio would complain when all of them have left.
            task.exception()

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _say_failure(task: "asyncio.Task[ValueT]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("a kept answer could not be made anew: %s", error)
