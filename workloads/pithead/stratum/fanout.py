"""Brings work to miners: all of them at a new template, one at a retarget."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from pithead.stratum import metrics
from pithead.stratum.jobs import JobBook, WorkEntry
from pithead.stratum.miner import Miner

CHUNK = 512
"""Connections served in one go at a new job: some 4 ms, so that shares are answered in between."""


class FanOut:
    """Sends jobs to authorized miners."""

    def __init__(self, book: JobBook) -> None:
        self.authorized: dict[Miner, None] = {}
        """Miners with a durable login, in the order of their coming."""
        self._book = book
        self._loop = asyncio.get_running_loop()

    def offer(self, miner: Miner) -> None:
        """Bring one miner onto the current work at its present weight."""
        entry = self._book.current
        if entry is None or miner not in self.authorized:
            return
        session = miner.session
        data = session.offer(self._book, entry)
        if not data and session.weight_for(entry) != session.shown_weight:
            metrics.JOB_DIFFICULTY_WAITS.inc()
        miner.write(data)

    def send(self, entry: WorkEntry) -> None:
        """Bring all miners onto a work, a chunk at a time."""
        metrics.UNIQUE_WORK_SERIALS.set(self._book.serials)
        self._send_chunk(entry, iter(list(self.authorized)), self._loop.time())

    def _send_chunk(self, entry: WorkEntry, miners: Iterable[Miner], started: float) -> None:
        book = self._book
        if entry is not book.current:
            # A newer work has its own round, which reaches everybody.
            return
        chunk = list(islice(miners, CHUNK))
        for miner in chunk:
            if not miner.gone:
                miner.write(miner.session.offer(book, entry))
        if len(chunk) == CHUNK:
            self._loop.call_soon(self._send_chunk, entry, miners, started)
        else:
            metrics.FAN_OUT_SECONDS.observe(self._loop.time() - started)
