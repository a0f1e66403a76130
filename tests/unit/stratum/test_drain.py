"""CalmMoves in steps: who is asked when, and what shortens the waits."""

import asyncio
import time
from pathlib import Path

import pytest

from pithead.config import DrainSettings
from pithead.stratum import metrics
from pithead.stratum.drain import Drain, Phase
from tests.unit.stratum.edge_bench import EdgeBench, FakeMiner, edge_bench, until
from tests.unit.stratum.support import template

pytestmark = pytest.mark.gate

LONG_MS = 600_000


def asked(miner: FakeMiner) -> int:
    return miner.port.methods().count("client.reconnect")


class Scene:
    """A drain under way."""

    def __init__(self, bench: EdgeBench, settings: DrainSettings) -> None:
        self.urgent = asyncio.Event()
        self.closed: list[Phase] = []
        self.drain = Drain(settings, bench.edge, self.urgent, self._close)
        self.task = asyncio.create_task(self.drain.run())

    def _close(self) -> None:
        self.closed.append(self.drain.phase)


async def test_nobody_is_asked_while_it_lingers_and_newcomers_are_taken_in(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        scene = Scene(bench, DrainSettings(linger_ms=LONG_MS))
        await until(lambda: scene.drain.phase is Phase.LINGERING)
        newcomer = await bench.miner(2)
        assert (asked(one), asked(newcomer), scene.closed) == (0, 0, [])
        scene.urgent.set()
        await scene.task
        assert (asked(one), asked(newcomer)) == (1, 1)
        assert scene.closed == [Phase.SENDING_AWAY]
        assert scene.drain.phase is Phase.FLUSHING
        assert metrics.DRAIN._value.get() == Phase.FLUSHING


@pytest.mark.parametrize(("miners", "slices"), [(7, 3), (2, 5), (6, 1), (0, 4)])
async def test_every_miner_is_asked_once_however_they_are_sliced(
    tmp_path: Path, miners: int, slices: int
) -> None:
    async with edge_bench(tmp_path) as bench:
        all_miners = [await bench.miner(number) for number in range(1, miners + 1)]
        scene = Scene(bench, DrainSettings(reconnect_ms=20 * slices, slices=slices))
        await scene.task
        assert [asked(miner) for miner in all_miners] == [1] * miners


async def test_slices_are_spread_over_the_time(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        first, second = await bench.miner(1), await bench.miner(2)
        began = time.monotonic()
        scene = Scene(bench, DrainSettings(reconnect_ms=400, slices=2))
        await until(lambda: asked(first))
        assert not asked(second)
        await until(lambda: asked(second))
        assert time.monotonic() - began >= 0.19
        await scene.task
        assert time.monotonic() - began >= 0.39


async def test_it_is_over_when_everybody_has_left(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        one = await bench.miner()
        scene = Scene(bench, DrainSettings(reconnect_ms=LONG_MS))
        await until(lambda: asked(one))
        bench.edge.disconnected(one.miner)
        async with asyncio.timeout(2):
            await scene.task


async def test_who_was_never_asked_is_counted_when_it_is_closed(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        before = metrics.CALM_MOVES_BROKEN._value.get()
        one, _ = await bench.miner(1), await bench.miner(2)
        bench.edge.reconnect([one.miner], "drain")
        bench.edge.close_all()
        assert metrics.CALM_MOVES_BROKEN._value.get() == before + 1
