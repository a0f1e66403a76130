"""Producers that share partitions, as in Kafka: who is closed, and that nothing is lost by it.

Hypothesis lets several producers write into two partitions by the log's own clock, fall silent for
more than a minute, come back, and repeat batches; accounting polls, dies, and seals. Each share
counts once, what was sealed never changes, and a recount from the log agrees.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from pithead.shares import schema
from pithead.shares.audit import audit_pools, recount
from pithead.shares.states import ProducerState
from pithead.store import reading
from tests.support.accounting import SharedBench
from tests.support.shares import Share, make_batch, payload, producer_id

pytestmark = pytest.mark.gate

SILENCE_MS = 60_001


class Write(NamedTuple):
    producer: int
    shares: list[Share]
    repeated: bool


class Pass(NamedTuple):
    ms: int


SHARES = st.lists(
    st.builds(
        Share,
        account=st.integers(1, 2),
        height=st.integers(20, 24),
        weight=st.integers(1, 9),
        time_ms=st.just(0),
    ),
    max_size=3,
)
STEPS = st.lists(
    st.builds(Write, st.integers(1, 4), SHARES, st.booleans())
    | st.builds(Pass, st.sampled_from([1_000, 30_000, SILENCE_MS]))
    | st.sampled_from(["poll", "poll", "seal", "seal", "die", "restart"]),
    min_size=5,
    max_size=40,
)


async def sealed_cells(bench: SharedBench) -> dict[tuple[object, ...], tuple[int, int]]:
    sealed = await bench.sealed_height() or 0
    cells = await bench.cells()
    # Index 4 of a key is the height at which the cell counts.
    return {key: value for key, value in cells.items() if int(str(key[4])) <= sealed}


@settings(max_examples=50, deadline=None)
@given(steps=STEPS)
def test_what_silent_producers_bring_later_is_late_and_never_lost(
    steps: list[Write | Pass | str],
) -> None:
    async def check(directory: Path) -> None:
        async with await SharedBench.make(directory) as bench:
            sequences: dict[int, int] = {}
            weight = shares = 0
            sealed: dict[tuple[object, ...], tuple[int, int]] = {}
            for number, step in enumerate([*steps, "poll"]):
                if isinstance(step, Write):
                    sequence = sequences.get(step.producer, 0)
                    sequences[step.producer] = sequence + 1
                    weight += sum(share.weight for share in step.shares)
                    shares += len(step.shares)
                    batch = payload(
                        make_batch(producer_id(step.producer), sequence, step.shares, promise=20)
                    )
                    for _ in range(2 if step.repeated else 1):
                        await bench.write(str(step.producer % 2), batch)
                elif isinstance(step, Pass):
                    bench.shared.now_ms += step.ms
                elif step == "poll":
                    await bench.consumer.poll()
                elif step == "die":
                    await bench.poll_but_die()
                elif step == "restart":
                    bench.restart()
                else:
                    await bench.settle_segments()
                    await bench.sealer.step(22 + number // 8)
                    now_sealed = await sealed_cells(bench)
                    assert {key: now_sealed.get(key) for key in sealed} == sealed
                    sealed = now_sealed
            cells = (await bench.cells()).values()
            assert (sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)) == (
                weight,
                shares,
            )
            now_sealed = await sealed_cells(bench)
            assert {key: now_sealed.get(key) for key in sealed} == sealed
            assert await recount(bench.engine, bench.log) == []

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(check(Path(directory)))


async def state(bench: SharedBench, number: int) -> str:
    return (await bench.producer(number))[0]


async def write(bench: SharedBench, producer: int, sequence: int, **values: object) -> None:
    """Write a batch into partition 0 now, read it, and let its segments be known."""
    shares = values.pop("shares", ())
    batch = make_batch(producer_id(producer), sequence, shares, **values)  # type: ignore[arg-type]
    await bench.write("0", payload(batch))
    await bench.consumer.poll()
    await bench.settle_segments()


async def test_a_new_producer_proves_nothing_of_an_earlier_one_beside_it(tmp_path: Path) -> None:
    async with await SharedBench.make(tmp_path) as bench:
        await write(bench, 1, 0, promise=20)
        await write(bench, 2, 0, promise=50)
        assert [await state(bench, 1), await state(bench, 2)] == [ProducerState.OPEN] * 2
        assert await bench.decisions() == []
        assert await bench.sealer.step(40) is None, "the first one still may credit height 20"


async def test_a_producer_is_closed_when_its_partition_has_moved_past_it(tmp_path: Path) -> None:
    async with await SharedBench.make(tmp_path) as bench:
        await write(bench, 1, 0, promise=20, time_ms=9_000_000)
        bench.shared.now_ms = 60_000
        # Of another region, and with a clock of its own that is wrong: neither matters.
        await write(bench, 2, 0, promise=50, region="us", time_ms=99_000_000)
        await bench.sealer.step(40)
        assert await state(bench, 1) == ProducerState.OPEN
        bench.shared.now_ms = 60_001
        await write(bench, 2, 1, promise=50, region="us", time_ms=99_000_000)
        # Its neighbour goes on writing: what is unread of the partition holds nothing up.
        await bench.write("0", payload(make_batch(producer_id(2), 2, promise=50, region="us")))
        await bench.sealer.step(40)
        assert await state(bench, 1) == ProducerState.CLOSED
        assert await state(bench, 2) == ProducerState.OPEN
        assert await bench.decisions() == [("close producer", producer_id(1).hex())]


async def test_a_producer_alone_in_its_partition_is_closed_by_its_region(tmp_path: Path) -> None:
    async with await SharedBench.make(tmp_path) as bench:
        await write(bench, 1, 0, promise=20)
        bench.shared.now_ms = 60_001
        await bench.write("1", payload(make_batch(producer_id(2), 0, promise=50)))
        await bench.consumer.poll()
        await bench.write("0", payload(make_batch(producer_id(1), 1, promise=20)))
        await bench.sealer.step(40)
        assert await state(bench, 1) == ProducerState.OPEN, "what it wrote is not read yet"
        await bench.consumer.poll()
        bench.shared.now_ms = 120_003
        await bench.write("1", payload(make_batch(producer_id(2), 1, promise=50)))
        await bench.consumer.poll()
        await bench.sealer.step(40)
        assert await state(bench, 1) == ProducerState.CLOSED


async def test_a_region_that_is_gone_for_good_holds_up_nobody(tmp_path: Path) -> None:
    """All regions write one log: its other regions prove that the last edge of one is dead."""
    async with await SharedBench.make(tmp_path) as bench:
        await write(bench, 1, 0, promise=20, region="asia")
        bench.shared.now_ms = 60_000
        await bench.write("1", payload(make_batch(producer_id(2), 0, promise=50, region="us")))
        await bench.consumer.poll()
        await bench.sealer.step(40)
        assert await state(bench, 1) == ProducerState.OPEN
        bench.shared.now_ms = 60_001
        await bench.write("1", payload(make_batch(producer_id(2), 1, promise=50, region="us")))
        await bench.write("0", payload(make_batch(producer_id(1), 1, promise=20, region="asia")))
        await bench.sealer.step(40)
        await bench.consumer.poll()
        assert await state(bench, 1) == ProducerState.OPEN, "it lives"
        bench.shared.now_ms = 120_003
        await bench.write("1", payload(make_batch(producer_id(2), 2, promise=50, region="us")))
        await bench.consumer.poll()
        assert await bench.sealer.step(40) == 38
        assert await state(bench, 1) == ProducerState.CLOSED
        assert await state(bench, 2) == ProducerState.OPEN
        assert await bench.decisions() == [("close producer", producer_id(1).hex())]


async def test_shares_of_a_closed_producer_are_late_and_counted(tmp_path: Path) -> None:
    async with await SharedBench.make(tmp_path) as bench:
        await write(bench, 1, 0, promise=20, shares=[Share(1, 20)])
        bench.shared.now_ms = 60_001
        await write(bench, 2, 0, promise=50)
        assert await bench.sealer.step(40) == 38
        await write(bench, 1, 1, promise=20, shares=[Share(1, 21, weight=5)])
        cells = await bench.cells()
        assert {(key[4], key[5]): value for key, value in cells.items()} == {
            (20, 0): (1, 1),
            (39, 39): (5, 1),
        }
        assert await state(bench, 1) == ProducerState.CLOSED
        assert await recount(bench.engine, bench.log) == []


async def test_another_log_in_its_place_is_read_from_the_beginning_and_counts_once(
    tmp_path: Path,
) -> None:
    async with await SharedBench.make(tmp_path) as bench:
        await write(bench, 1, 0, promise=20, shares=[Share(1, 20)])
        await write(bench, 1, 1, promise=20, shares=[Share(1, 20)])
        bench.shared.name = "second"
        # The other log repeats what this one had, and has more.
        await bench.write("0", payload(make_batch(producer_id(1), 2, [Share(1, 20)], promise=20)))
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(3, 3)]
        async with reading(bench.engine) as connection:
            row = (await connection.execute(select(schema.positions))).one()
        assert (row.log, row.position) == ("second", await bench.reader.end("0"))
        assert [action for action, _ in await bench.decisions()] == ["follow another log"]
        (audit,) = await audit_pools(bench.engine, bench.log)
        assert (audit.cells, audit.archive, audit.lost) == ([], [], 0)


async def test_no_height_is_sealed_by_what_was_noted_of_another_log(tmp_path: Path) -> None:
    async with await SharedBench.make(tmp_path) as bench:
        await write(bench, 1, 0, promise=30)
        assert await bench.sealer.step(22) is None
        await write(bench, 1, 1, promise=40)
        bench.shared.name = "second"
        assert await bench.sealer.step(50) is None, "nothing of the second log is read"
        await bench.consumer.poll()
        assert await bench.sealer.step(50) == 39
