"""Keys: coalesced, delayed, backed off, one worker each."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from pithead_operator.reconcile.queue import BACK_OFF_SECONDS_MAX, Key, Queue

pytestmark = pytest.mark.gate

A, B = Key("ns", "a"), Key("ns", "b")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        scheduled: list[Any] = getattr(self, "_scheduled", [])
        if not getattr(self, "_ready", None) and scheduled:
            self.now = max(self.now, scheduled[0].when())
        super()._run_once()  # type: ignore[misc]  # the loop's own, which has no types


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def test_a_key_that_is_added_often_is_taken_once(loop: VirtualLoop) -> None:
    async def scene() -> None:
        queue = Queue()
        for _ in range(5):
            queue.add(A)
        assert await queue.take() == A
        queue.done(A)
        assert len(queue) == 0

    loop.run_until_complete(scene())


def test_a_key_is_not_taken_twice_at_a_time_and_runs_again_after(loop: VirtualLoop) -> None:
    async def scene() -> None:
        queue = Queue()
        queue.add(A)
        await queue.take()
        queue.add(A)
        queue.add(B)
        assert await queue.take() == B
        queue.done(A)
        assert await queue.take() == A

    loop.run_until_complete(scene())


def test_a_sooner_wish_wins_and_a_later_one_is_no_loss(loop: VirtualLoop) -> None:
    async def scene() -> None:
        queue = Queue()
        queue.add(A, 60)
        queue.add(A, 1)
        queue.add(A, 30)
        begin = loop.time()
        await queue.take()
        assert loop.time() - begin == pytest.approx(1, abs=0.01)
        queue.done(A)
        assert len(queue) == 0

    loop.run_until_complete(scene())


def test_failures_back_off_to_a_bound_and_a_success_clears_them(loop: VirtualLoop) -> None:
    async def scene() -> None:
        queue = Queue()
        queue.add(A, 0)
        pauses = []
        for _ in range(12):
            await queue.take()
            begin = loop.time()
            queue.failed(A)
            await queue.take()
            pauses.append(loop.time() - begin)
            queue.failed(A)
        assert pauses[0] < 1
        assert pauses[-1] == pytest.approx(BACK_OFF_SECONDS_MAX * 0.9, rel=0.15)
        await queue.take()
        queue.done(A)
        queue.add(A, 0)
        await queue.take()
        begin = loop.time()
        queue.failed(A)
        await queue.take()
        assert loop.time() - begin < 1

    loop.run_until_complete(scene())


def test_an_event_does_not_cut_a_back_off_short(loop: VirtualLoop) -> None:
    async def scene() -> None:
        queue = Queue()
        queue.add(A, 0)
        for _ in range(6):
            await queue.take()
            queue.add(A, 0)
            begin = loop.time()
            queue.failed(A)
        await queue.take()
        assert loop.time() - begin > 5

    loop.run_until_complete(scene())


def test_one_that_is_done_may_ask_for_another_look(loop: VirtualLoop) -> None:
    async def scene() -> None:
        queue = Queue()
        queue.add(A, 0)
        await queue.take()
        queue.done(A, again=7)
        begin = loop.time()
        assert await queue.take() == A
        assert loop.time() - begin == pytest.approx(7, abs=0.01)

    loop.run_until_complete(scene())
