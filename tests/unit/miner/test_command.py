"""`pithead mine` as a process."""

import asyncio
import logging
import signal
import sys
from collections import Counter

import pytest

from pithead.miner.command import mine, summary
from pithead.miner.fleet import Fleet
from pithead.miner.record import Tally
from pithead.miner.worker import WorkerSpec
from tests.unit.miner.pool import TinyPool
from tests.unit.miner.test_worker import LIMIT_S, until

pytestmark = pytest.mark.gate

PROGRAM = """
import os
import sys
from pithead.miner.command import run_mine
sys.exit(run_mine(sys.argv[1], ["a.1", "a.2"], "x", [2000.0], "sha256d", supervisor=os.getppid()))
"""


async def start(url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, stderr=asyncio.subprocess.PIPE
    )


async def test_the_process_mines_until_it_is_told_to_stop() -> None:
    async with TinyPool() as pool:
        process = await start(f"stratum+tcp://127.0.0.1:{pool.port}")
        await until(lambda: len(pool.valid) >= 10)
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0
    assert sorted(pool.logins) == ["a.1", "a.2"]
    assert f"{len(pool.valid)} shares accepted" in errors.decode()


async def test_an_address_of_no_pool_is_wrong_usage() -> None:
    process = await start("http://127.0.0.1:80")
    _, errors = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 2
    assert b"stratum+tcp://HOST:PORT" in errors
    assert b"Traceback" not in errors


async def test_figures_are_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stop = asyncio.Event()
    async with TinyPool() as pool:
        fleet = Fleet(f"127.0.0.1:{pool.port}", [WorkerSpec("a", hashrate=2000.0)])
        task = asyncio.create_task(mine(fleet, stop, interval_s=0.02))
        await until(lambda: "shares accepted" in caplog.text)
        stop.set()
        await asyncio.wait_for(task, LIMIT_S)


def test_the_summary_names_what_there_is() -> None:
    assert summary(Tally(accepted=3, hashes=100)) == "3 shares accepted, 100 hashes"
    tally = Tally(3, Counter({21: 2, None: 1}), 4, 1, 100)
    assert summary(tally) == (
        "3 shares accepted, 2 refused with code 21, 1 refused with no code, "
        "4 without an answer, 100 hashes"
    )
