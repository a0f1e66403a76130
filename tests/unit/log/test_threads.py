"""Work in a thread is over when its caller is, also when that was cancelled."""

import asyncio
import threading

import pytest

from pithead.log.threads import to_its_end

pytestmark = pytest.mark.gate


async def test_a_result_comes_back_and_an_error_is_raised() -> None:
    assert await to_its_end(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await to_its_end(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
async def test_a_cancelled_caller_waits_for_its_thread(fails: bool) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        may_end.wait(5)
        ended.append(True)
        if fails:
            raise OSError

    task = asyncio.create_task(to_its_end(work))
    async with asyncio.timeout(5):
        while not begun.is_set():
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
