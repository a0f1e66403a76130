"""A writer that is killed between, before, after and within its statements counts every row once.

Each round puts batches into the log (new ones, late ones, some that lie there already) and lets
a real process write them, which dies by SIGKILL at a drawn statement or finishes. At the end a
whole one finishes, and all tables are compared with a recount in plain Python.
"""

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from pithead.config import (
    AnalyticsSettings,
    ClickHouseSettings,
    ColumnarSettings,
    LogSettings,
    PeerSettings,
    ServeSettings,
    store,
)
from pithead.contracts.share_log_pb2 import ShareBatch
from tests.support.analytics import append, expected, mixed_batch
from tests.support.columnar import COLUMNAR
from tests.support.recount import differences, read_all
from tests.support.shares import COIN_SETTINGS, POOL_SETTINGS, make_store, producer_id, store_url

ROUND_LIMIT_S = 60
STATEMENTS = {"chdb": 4, "clickhouse": 16}
"""Of one plan, about."""


def settings_of(directory: Path) -> AnalyticsSettings:
    """Settings of the process under test."""
    columnar = ColumnarSettings(directory=directory / "columnar")
    if COLUMNAR.server is not None:
        reach = COLUMNAR.reach(directory)
        columnar = ColumnarSettings(
            clickhouse=ClickHouseSettings(
                host=reach.host,
                port=reach.port,
                database=reach.database,
                password=reach.password,
            )
        )
    return AnalyticsSettings(
        database=store_url(directory),
        serve=ServeSettings(address=f"unix:{directory}/a.sock"),
        log=LogSettings(directory=directory / "log"),
        pools=(POOL_SETTINGS,),
        coins=(COIN_SETTINGS,),
        store=columnar,
        shares=PeerSettings(address="unix:/nowhere"),
        rewards=PeerSettings(address="unix:/nowhere"),
    )


async def campaign(directory: Path, kind: str, rounds: int, seed: int) -> dict[str, int]:
    """Run the rounds; return how often the process died, by when. Fails on any difference."""
    print(f"seed {seed}")
    dice = random.Random(seed)
    engine, pool = await make_store(directory)
    settings = directory / "analytics.json"
    store(settings, settings_of(directory))
    start_ms = int(time.time() * 1000) - 2 * 86_400_000
    batches: list[ShareBatch] = []
    died = dict.fromkeys(("before", "after", "within", "not"), 0)
    for number in range(rounds):
        new = [
            mixed_batch(
                dice,
                producer_id(number + 1),
                sequence,
                # Every third round comes a day late.
                start_ms + number * 50_000 + sequence * 20_000 - 86_400_000 * (number % 3 == 2),
                shares=dice.randrange(60),
                region=dice.choice(("eu", "us")),
            )
            for sequence in range(dice.randrange(1, 5))
        ]
        again = dice.sample(batches, min(len(batches), dice.randrange(3)))
        batches += new
        await append(directory / "log", [*new, *again], partition=f"eu-{number % 2}")
        when = dice.choice(("before", "after", "within"))
        at = dice.randrange(1, STATEMENTS[kind] + 1)
        code = await child(settings, at, when, dice.random() * 8)
        assert code in (0, -signal.SIGKILL)
        died[when if code else "not"] += 1
    assert await child(settings, 0, "before", 0) == 0
    door = await COLUMNAR.door(directory)
    try:
        assert differences(await expected(engine, pool, batches), await read_all(door)) == []
    finally:
        await door.close()
        await engine.dispose()
    return died


async def child(settings: Path, at: int, when: str, delay_ms: float) -> int:
    """Run the process; its exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.analytics_child",
        str(settings),
        str(at),
        when,
        str(delay_ms),
        cwd=Path(__file__).parents[2],
    )
    async with asyncio.timeout(ROUND_LIMIT_S):
        return await process.wait()


@pytest.mark.columnar
async def test_a_writer_killed_anywhere_counts_every_row_once(
    tmp_path: Path, columnar_kind: str
) -> None:
    died = await campaign(tmp_path, columnar_kind, rounds=6, seed=7)
    assert sum(died.values()) - died["not"] >= 3


@pytest.mark.proof
@pytest.mark.needs("chdb")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("columnar_kind", ["chdb", "clickhouse"], indirect=True)
async def test_three_hundred_kills_change_nothing(tmp_path: Path, columnar_kind: str) -> None:
    died = await campaign(tmp_path, columnar_kind, rounds=400, seed=time.time_ns())
    print(f"killed on {columnar_kind}: {died}")
    assert sum(died.values()) - died["not"] >= 300
