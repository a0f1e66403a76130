"""Slow PoW functions off the event loop: scrypt takes some 190 us and releases the GIL.

What arrives while the threads are busy is hashed together, so the cost of
crossing threads is shared when the load is high. SHA-256d is not worth it.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from pithead.stratum.validation import Candidate

THREADS = 2
CHUNK_MAX = 32
"""Headers hashed by one thread in one go: about 6 ms of scrypt, the latency it may add."""
WAITING_MAX = 20_000
"""Shares that wait for a thread: some seconds of work; beyond it the edge is overloaded."""

logger = logging.getLogger(__name__)

TicketT = TypeVar("TicketT")
Done = Callable[[TicketT, Candidate, int], None]


class HashPool(Generic[TicketT]):
    """Hashes candidates in order of arrival, and calls back on the loop."""

    def __init__(self, pow_function: Callable[[bytes], int], done: Done[TicketT]) -> None:
        self._pow = pow_function
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pow")
        self._waiting: list[tuple[TicketT, Candidate]] = []
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def full(self) -> bool:
        """Tell whether nothing more may be handed in now."""
        return len(self._waiting) >= WAITING_MAX

    def submit(self, ticket: TicketT, candidate: Candidate) -> None:
        """Hash a candidate; `done(ticket, candidate, value)` follows on the loop."""
        self._waiting.append((ticket, candidate))
        self._idle.clear()
        if self._busy < THREADS:
            self._dispatch()

    async def drain(self) -> None:
        """Wait until everything handed in has been hashed and called back."""
        await self._idle.wait()

    def close(self) -> None:
        """Give the threads back; nothing may be handed in any more."""
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _dispatch(self) -> None:
        chunk, self._waiting = self._waiting[:CHUNK_MAX], self._waiting[CHUNK_MAX:]
        self._busy += 1
        future = self._loop.run_in_executor(self._threads, self._hash, chunk)
        future.add_done_callback(lambda done: self._finished(chunk, done))

    def _hash(self, chunk: list[tuple[TicketT, Candidate]]) -> list[int]:
        function = self._pow
        return [function(candidate.header) for _, candidate in chunk]

    def _finished(
        self, chunk: list[tuple[TicketT, Candidate]], future: asyncio.Future[list[int]]
    ) -> None:
        self._busy -= 1
        if future.cancelled():
            return
        values = future.result()
        if self._waiting:
            self._dispatch()
        for (ticket, candidate), value in zip(chunk, values, strict=True):
            try:
                self._done(ticket, candidate, value)
            except Exception:
                # A fault of this program on one share; those of others wait behind it.
                logger.exception("a hashed share could not be decided")
        if not self._busy and not self._waiting:
            self._idle.set()
