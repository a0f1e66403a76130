"""Hashing off the loop: everything handed in comes back once, with its own value."""

import asyncio
import threading
from typing import Any, cast

import pytest

from pithead.stratum.hashpool import CHUNK_MAX, HashPool
from pithead.stratum.validation import Candidate

pytestmark = pytest.mark.gate


def candidate(number: int) -> Candidate:
    return Candidate(cast("Any", None), bytes([number % 256]), b"", b"", b"", number, 0, 0)


async def test_every_candidate_comes_back_once_on_the_loop() -> None:
    loop_thread = threading.get_ident()
    seen: dict[int, int] = {}
    threads: set[int] = set()

    def slow(header: bytes) -> int:
        threads.add(threading.get_ident())
        return header[0] + 1

    def done(ticket: int, hashed: Candidate, value: int) -> None:
        assert threading.get_ident() == loop_thread
        assert ticket not in seen
        assert value == hashed.header[0] + 1
        seen[ticket] = value

    pool: HashPool[int] = HashPool(slow, done)
    for number in range(10 * CHUNK_MAX + 1):
        pool.submit(number, candidate(number))
    await pool.drain()
    assert len(seen) == 10 * CHUNK_MAX + 1
    assert loop_thread not in threads
    pool.close()


async def test_an_idle_pool_drains_at_once() -> None:
    pool: HashPool[int] = HashPool(lambda _: 0, lambda *_: None)
    async with asyncio.timeout(1):
        await pool.drain()
    pool.close()
