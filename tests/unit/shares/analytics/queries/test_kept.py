"""What is kept is made once, given while fresh, and bounded."""

import asyncio

import pytest

from pithead.shares.analytics.queries.kept import Keeping, Kept

pytestmark = pytest.mark.gate

KEEPING = Keeping(fresh_ms=10, stale_ms=100, size_max=3)


class Clock:
    def __init__(self) -> None:
        self.ms = 1000

    def __call__(self) -> int:
        return self.ms


class Maker:
    """Makes numbers, one after the other; waits for `gate` when there is one."""

    def __init__(self) -> None:
        self.made = 0
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self) -> int:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.made += 1
        return self.made


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_fresh_answer_is_not_made_again(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock)
    make = Maker()
    assert await kept.get("a", make) == 1
    clock.ms += 9
    assert await kept.get("a", make) == 1
    assert await kept.get("b", make) == 2


async def test_an_older_answer_is_given_at_once_and_made_anew(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock)
    make = Maker()
    await kept.get("a", make)
    clock.ms += 50
    make.gate = asyncio.Event()
    assert await kept.get("a", make) == 1
    make.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await kept.get("a", make) == 2


async def test_an_answer_that_is_too_old_is_waited_for(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock)
    make = Maker()
    assert not kept.gives("a")
    await kept.get("a", make)
    clock.ms += 99
    assert kept.gives("a")
    clock.ms += 1
    assert not kept.gives("a")
    assert await kept.get("a", make) == 2


async def test_one_making_serves_all_who_wait_and_survives_who_leaves(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock)
    make = Maker()
    make.gate = asyncio.Event()
    waiting = [asyncio.create_task(kept.get("a", make)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    make.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [1, 1, 1, 1]


async def test_a_failure_is_raised_and_not_kept(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock)
    make = Maker()
    make.error = LookupError("away")
    with pytest.raises(LookupError):
        await kept.get("a", make)
    make.error = None
    assert await kept.get("a", make) == 1


async def test_a_failure_that_nobody_waits_for_is_said(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock)
    make = Maker()
    await kept.get("a", make)
    clock.ms += 50
    make.error = LookupError("the store is away")
    assert await kept.get("a", make) == 1
    await asyncio.sleep(0.01)
    assert "the store is away" in caplog.text
    assert await kept.get("a", make) == 1


async def test_what_was_asked_longest_ago_goes_first(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock, lambda value: 1)
    make = Maker()
    for key in "abc":
        await kept.get(key, make)
    await kept.get("a", make)
    await kept.get("d", make)
    assert kept.held == 3
    made = make.made
    await kept.get("a", make)
    assert make.made == made
    await kept.get("b", make)
    assert make.made == made + 1


async def test_one_answer_may_be_larger_than_the_bound(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock, lambda value: 50)
    make = Maker()
    await kept.get("a", make)
    assert await kept.get("a", make) == 1
    await kept.get("b", make)
    assert kept.held == 50


async def test_closing_ends_what_is_under_way(clock: Clock) -> None:
    kept: Kept[str, int] = Kept(KEEPING, clock)
    make = Maker()
    make.gate = asyncio.Event()
    waiting = asyncio.create_task(kept.get("a", make))
    await asyncio.sleep(0)
    await kept.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
