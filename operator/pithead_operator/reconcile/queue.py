"""Answers for which key is worked on when: one worker a key, coalesced, delayed, backed off.

A key that is added while it waits is one entry; one that is added while it is
worked on runs once more after. Failures back off per key, and a success clears
them. Keys are few (pools and namespaces), so the queue is as large as they are.
"""

import asyncio
import heapq
import random
from typing import NamedTuple

from pithead_operator import metrics

BACK_OFF_SECONDS_MIN = 0.5
BACK_OFF_SECONDS_MAX = 60.0
COALESCE_SECONDS = 0.1
"""Events come in bursts; what they ask for is done once."""


class Key(NamedTuple):
    """What a worker takes up: one pool, or with an empty name the hub of a namespace."""

    namespace: str
    pool: str = ""

    @property
    def kind(self) -> str:
        """Word for metrics and logs."""
        return "pool" if self.pool else "hub"


class Queue:
    """Keys that want a worker."""

    def __init__(self) -> None:
        self._waiting: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._active: set[Key] = set()
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key, delay: float = COALESCE_SECONDS) -> None:
        """Have `key` worked on in `delay` seconds, or sooner when that was asked for already."""
        due = asyncio.get_running_loop().time() + delay
        if key in self._active:
            self._again[key] = min(due, self._again.get(key, due))
            return
        if key in self._waiting and self._waiting[key] <= due:
            return
        self._waiting[key] = due
        heapq.heappush(self._heap, (due, key))
        metrics.QUEUE_DEPTH.set(len(self._waiting))
        self._wake.set()

    async def take(self) -> Key:
        """The next key that is due; `done` or `failed` must follow."""
        while True:
            now = asyncio.get_running_loop().time()
            while self._heap and self._waiting.get(self._heap[0][1]) != self._heap[0][0]:
                heapq.heappop(self._heap)
            if self._heap and self._heap[0][0] <= now:
                _, key = heapq.heappop(self._heap)
                del self._waiting[key]
                self._active.add(key)
                metrics.QUEUE_DEPTH.set(len(self._waiting))
                # Another taker may be waiting for what is due next.
                self._wake.set()
                return key
            self._wake.clear()
            pause = self._heap[0][0] - now if self._heap else None
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def done(self, key: Key, again: float | None = None) -> None:
        """The work succeeded; `again` asks for another look in so many seconds."""
        self._failures.pop(key, None)
        self._release(key, again)

    def failed(self, key: Key) -> None:
        """The work failed: it is tried again, each time after a longer pause."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(BACK_OFF_SECONDS_MIN * 2 ** min(count - 1, 10), BACK_OFF_SECONDS_MAX)
        self._again.pop(key, None)
        self._release(key, pause * random.uniform(0.8, 1.0))  # noqa: S311 - spreads load

    def _release(self, key: Key, again: float | None) -> None:
        self._active.discard(key)
        due = self._again.pop(key, None)
        if due is not None:
            self.add(key, max(0.0, due - asyncio.get_running_loop().time()))
        if again is not None:
            self.add(key, again)
