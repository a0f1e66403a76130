"""Seals over regions with logs of their own: asked, waited for, and sealed without.

The region's relay and the hub's intake are the real ones over chunk files; only the
wire between them is a test's.
"""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pithead.shares import schema
from pithead.shares.audit import recount
from pithead.shares.query import WindowQuestion, read_window
from pithead.shares.states import ProducerState
from pithead.store import reading
from tests.support.regions import RegionBench, hurried
from tests.support.shares import POOL, Share, make_batch, parent, payload, producer_id

pytestmark = pytest.mark.databases

MATURITY = 10
"""Of the chain: nine blocks above a height nobody is waited for any more."""


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch)


async def counted(bench: RegionBench) -> None:
    """Bring all of the region, count it, and let the nodes know its segments."""
    await bench.until_relayed()
    await bench.consumer.poll()
    await bench.settle_segments()


async def told(bench: RegionBench) -> None:
    """Wait until the region has answered the newest question."""

    async def answered() -> bool:
        async with reading(bench.engine) as connection:
            row = (await connection.execute(select(schema.relay_streams))).one()
        return bool(row.answered == row.asked and row.told_ms == bench.now_ms)

    await bench.until(answered)


async def sealed_at(bench: RegionBench, node_height: int) -> int | None:
    """Step as the service does until nothing moves any more; what was sealed last."""
    sealed = await bench.sealer.step(node_height)
    if bench.connected:
        await told(bench)
    await bench.consumer.poll()
    for _ in range(2):
        sealed = await bench.sealer.step(node_height) or sealed
        await bench.consumer.poll()
    return sealed


async def long_away(bench: RegionBench, node_height: int) -> None:
    """Let so much time pass that a region is away, and was for long enough."""
    bench.now_ms += 61_000
    assert await sealed_at(bench, node_height) is None
    bench.now_ms += 60_000


async def window(bench: RegionBench, height: int) -> tuple[bool, str, bytes]:
    async with reading(bench.engine) as connection:
        question = WindowQuestion(POOL, "pplns", height, parent(height), 1000)
        answer = await read_window(connection, question)
    newest = answer.taken.newest.name if answer.taken.newest else ""
    return answer.sealed, newest, answer.hash


async def begun(bench: RegionBench) -> None:
    """A region whose producer 1 has promised 30, and a hub's own edge that is far ahead."""
    bench.far.now_ms = 1_000
    await bench.mine("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=30)))
    await bench.write("hub-0", payload(make_batch(producer_id(9), 0, promise=90, region="us")))
    await counted(bench)


async def test_a_height_is_sealed_once_the_region_is_read_past_its_end_of_that_moment(
    tmp_path: Path,
) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await begun(bench)
        assert await sealed_at(bench, 25) == 23
        assert await sealed_at(bench, 50) == 29, "its producer has promised no more"
        await bench.mine("eu-0", payload(make_batch(producer_id(1), 1, promise=60)))
        await counted(bench)
        assert await sealed_at(bench, 51) == 49
        assert "seal without regions" not in dict(await bench.decisions())


async def test_a_region_that_is_away_is_waited_for_until_nine_tenths_of_maturity(
    tmp_path: Path,
) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await begun(bench)
        assert await sealed_at(bench, 25) == 23
        await bench.cut()
        # Cut off, the region goes on mining.
        await bench.mine(
            "eu-0", payload(make_batch(producer_id(1), 1, [Share(1, 30, weight=5)], promise=34))
        )
        await long_away(bench, 32)
        assert await sealed_at(bench, 32) is None
        assert await sealed_at(bench, 33) == 24, "of 25 to 31 it is not known what it has"
        assert await sealed_at(bench, 38) == 29
        # Beyond its promise it still might have something, but is waited for no longer.
        assert await sealed_at(bench, 40) == 31
        final = await window(bench, 31)
        assert final[0]
        reasons = [
            (row.subject, row.reason.partition(" was")[0]) for row in await seal_decisions(bench)
        ]
        assert reasons == [
            (f"{POOL} heights 24 to 24", "eu"),
            (f"{POOL} heights 25 to 29", "eu"),
            (f"{POOL} heights 30 to 31", "eu"),
        ]
        # It comes back: what it brings of 30 is late, what is sealed stays as it was.
        await counted(bench)
        cells = await bench.cells()
        assert {(key[4], key[5]): value for key, value in cells.items()} == {
            (20, 0): (1, 1),
            (32, 32): (5, 1),
        }
        assert await window(bench, 31) == final
        assert await sealed_at(bench, 41) == 33, "its promise counts again"
        assert await window(bench, 31) == final
        assert (await window(bench, 33))[:2] == (True, "32/late")
        assert await recount(bench.engine, bench.log) == []


async def test_a_hub_that_slept_has_seen_no_region_away_meanwhile(tmp_path: Path) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await begun(bench)
        assert await sealed_at(bench, 25) == 23
        await bench.cut()
        bench.now_ms += 61_000
        assert await sealed_at(bench, 40) is None
        # It wakes hours later: relays must have their time to dial.
        bench.now_ms += 3_600_000
        assert await sealed_at(bench, 40) is None
        bench.now_ms += 60_000
        assert await sealed_at(bench, 40) == 31


async def seal_decisions(bench: RegionBench) -> list[Any]:
    table = schema.decisions
    async with reading(bench.engine) as connection:
        rows = await connection.execute(
            select(table).where(table.c.action == "seal without regions").order_by(table.c.id)
        )
        return list(rows)


async def test_a_region_that_never_came_is_waited_for_likewise(tmp_path: Path) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await bench.write("hub-0", payload(make_batch(producer_id(9), 0, promise=20, region="us")))
        await bench.write("hub-0", payload(make_batch(producer_id(9), 1, promise=90, region="us")))
        await bench.consumer.poll()
        await long_away(bench, 28)
        assert await sealed_at(bench, 28) is None
        assert await sealed_at(bench, 29) == 20
        await bench.mine("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 29)], promise=60)))
        await counted(bench)
        assert await sealed_at(bench, 30) == 28, "asked and read"
        assert (29, 0) in {(key[4], key[5]) for key in await bench.cells()}


async def test_what_a_region_wrote_before_it_answered_is_waited_for(tmp_path: Path) -> None:
    """It may be relayed long after its answer."""
    async with await RegionBench.make(tmp_path) as bench:
        await begun(bench)
        await bench.sealer.step(25)
        # Told while a batch of a new producer is not relayed: the answer's end is past it.
        await bench.cut()
        await bench.mine("eu-1", payload(make_batch(producer_id(2), 0, [Share(2, 22)], promise=22)))
        await bench.until_relayed()
        await told(bench)
        await bench.sealer.step(25)
        await bench.sealer.step(25)
        assert await bench.sealed_height() == 19, "the batch is in the hub's log and not counted"
        await bench.consumer.poll()
        await bench.settle_segments()
        assert await sealed_at(bench, 25) == 21


async def test_a_producer_is_silent_only_by_its_own_regions_log(tmp_path: Path) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await begun(bench)
        # Other regions go on for hours: that proves nothing.
        bench.hub.now_ms = 10_000_000
        await bench.write("hub-0", payload(make_batch(producer_id(9), 1, promise=90, region="us")))
        await bench.consumer.poll()
        assert await sealed_at(bench, 50) == 29
        assert (await bench.producer(1))[0] == ProducerState.OPEN
        # Its region's log moves on, by an edge in another partition.
        bench.far.now_ms = 61_000
        await bench.mine("eu-1", payload(make_batch(producer_id(2), 0, promise=90)))
        await counted(bench)
        await sealed_at(bench, 51)
        assert (await bench.producer(1))[0] == ProducerState.OPEN
        bench.far.now_ms = 61_001
        await bench.mine("eu-1", payload(make_batch(producer_id(2), 1, promise=90)))
        await counted(bench)
        await sealed_at(bench, 52)
        assert await sealed_at(bench, 52) in (50, None)
        assert (await bench.producer(1))[0] == ProducerState.CLOSED
        assert await bench.sealed_height() == 50
        assert await bench.decisions() == [("close producer", producer_id(1).hex())]


async def test_a_region_whose_log_stands_still_counts_as_away(tmp_path: Path) -> None:
    """Its last edge died with its promise: nobody is left to move its log."""
    async with await RegionBench.make(tmp_path) as bench:
        await begun(bench)
        assert await sealed_at(bench, 25) == 23
        bench.now_ms += 61_000
        assert await sealed_at(bench, 32) == 29, "it answers, and has promised so much"
        assert await sealed_at(bench, 41) is None
        bench.now_ms += 60_000
        assert await sealed_at(bench, 41) == 32
        assert (await bench.producer(1))[0] == ProducerState.OPEN
