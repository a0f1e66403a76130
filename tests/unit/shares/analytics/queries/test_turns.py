"""The bounded queue before the store."""

import asyncio

import pytest

from pithead.shares.analytics.queries.turns import AT_ONCE, WAITING_MAX, TooBusy, Turns

pytestmark = pytest.mark.gate


async def test_no_more_than_so_many_are_asked_at_once() -> None:
    turns, running, most = Turns(), 0, 0

    async def ask() -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return most

    await asyncio.gather(*(turns.run(ask) for _ in range(5 * AT_ONCE)))
    assert most == AT_ONCE


async def test_who_comes_when_too_many_wait_is_refused() -> None:
    turns, gate = Turns(), asyncio.Event()
    waiting = [asyncio.create_task(turns.run(gate.wait)) for _ in range(AT_ONCE + WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(TooBusy, match="ask again"):
        await turns.run(gate.wait)
    gate.set()
    assert all(await asyncio.gather(*waiting))
    assert await turns.run(gate.wait)


async def test_a_turn_is_held_until_the_store_has_answered_even_when_nobody_waits() -> None:
    turns, gate, asked = Turns(), asyncio.Event(), 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await gate.wait()

    left = [asyncio.create_task(turns.run(ask)) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    late = asyncio.create_task(turns.run(ask))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asked == AT_ONCE
    gate.set()
    await late
    assert asked == AT_ONCE + 1
    await turns.close()


async def test_an_error_reaches_who_asked_and_frees_the_turn() -> None:
    turns = Turns()

    async def fail() -> None:
        raise LookupError("gone")

    for _ in range(2 * AT_ONCE):
        with pytest.raises(LookupError):
            await turns.run(fail)
