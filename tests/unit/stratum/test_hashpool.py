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


async def test_a_fault_on_one_share_does_not_hold_up_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[int] = []

    def done(ticket: int, _hashed: Candidate, _value: int) -> None:
        if ticket == 1:
            raise RuntimeError("a fault")
        seen.append(ticket)

    pool: HashPool[int] = HashPool(lambda _: 0, done)
    for number in range(CHUNK_MAX):
        pool.submit(number, candidate(number))
    async with asyncio.timeout(5):
        await pool.drain()
    pool.close()
    assert sorted(seen) == [0, *range(2, CHUNK_MAX)]
    assert "could not be decided" in caplog.text
