"""Seals on a real log and database."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import QueuePool, select

from pithead.log.reader import FileReader
from pithead.log.share_log import LogRecord
from pithead.shares import schema
from pithead.shares.audit import recount
from pithead.shares.decisions import DecisionRefused, close_producer, decide_segment
from pithead.shares.query import WindowQuestion, read_window
from pithead.shares.states import ProducerState, SegmentState
from pithead.store import open_store, reading, transaction
from tests.support.accounting import Bench
from tests.support.databases import DATABASES
from tests.support.shares import (
    POOL,
    Share,
    make_batch,
    parent,
    payload,
    producer_id,
)

pytestmark = pytest.mark.databases


async def write_and_poll(bench: Bench, partition: str, *batches: bytes) -> None:
    for batch in batches:
        await bench.write(partition, batch)
    await bench.consumer.poll()
    await bench.settle_segments()


async def seals(bench: Bench) -> list[tuple[int, int, dict[str, int]]]:
    async with reading(bench.engine) as connection:
        rows = await connection.execute(select(schema.seals).order_by("last_height"))
        return [(row.first_height, row.last_height, row.cut) for row in rows]


async def test_heights_are_sealed_from_the_first_one_seen_and_empty_ones_as_a_range(
    tmp_path: Path,
) -> None:
    async with await Bench.make(tmp_path) as bench:
        assert await bench.sealer.step(100) is None
        first = payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=20))
        await write_and_poll(bench, "eu-0", first)
        assert await bench.sealer.step(100) is None
        await write_and_poll(bench, "eu-0", payload(make_batch(producer_id(1), 1, promise=40)))
        assert await bench.sealer.step(100) == 39
        end = await bench.reader.end("eu-0")
        assert await seals(bench) == [(20, 39, {"eu-0": end})]


async def test_nothing_is_sealed_before_the_log_of_that_moment_is_read(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await write_and_poll(bench, "eu-0", payload(make_batch(producer_id(1), 0, promise=20)))
        await bench.write(
            "eu-1", payload(make_batch(producer_id(2), 0, [Share(1, 21)], promise=30))
        )
        await bench.write("eu-0", payload(make_batch(producer_id(1), 1, promise=30)))
        assert await bench.sealer.step(25) is None
        await bench.consumer.poll()
        assert await bench.sealer.step(25) == 20, "the segment of 21 is not decided"
        await bench.settle_segments()
        assert await bench.sealer.step(25) == 23
        assert await bench.sealer.step(25) is None


async def test_a_late_share_counts_first_at_the_lowest_unsealed_height(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        on_time = payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=23))
        await write_and_poll(bench, "eu-0", on_time)
        assert await bench.sealer.step(24) == 22
        late = payload(make_batch(producer_id(2), 0, [Share(2, 20, weight=5)], promise=23))
        here = payload(make_batch(producer_id(1), 1, [Share(1, 23)], promise=23))
        await write_and_poll(bench, "eu-1", late)
        await write_and_poll(bench, "eu-0", here)
        async with reading(bench.engine) as connection:
            final = await read_window(connection, WindowQuestion(POOL, "pplns", 22, parent(22), 9))
            next_one = await read_window(
                connection, WindowQuestion(POOL, "pplns", 23, parent(23), 2)
            )
        assert final.sealed
        assert [(entry.account, entry.last) for entry in final.accounts] == [(1, 1)]
        assert not next_one.sealed
        assert next_one.taken.oldest is not None
        assert next_one.taken.oldest.name == "23/late"
        assert (next_one.taken.group_weight, next_one.taken.needed) == (5, 1)
        assert await recount(bench.engine, bench.log) == []


async def test_a_missing_batch_holds_seals_until_it_comes(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await write_and_poll(
            bench,
            "eu-0",
            payload(make_batch(producer_id(1), 0, promise=20)),
            payload(make_batch(producer_id(1), 2, promise=30)),
        )
        assert await bench.sealer.step(40) is None
        missing = payload(make_batch(producer_id(1), 1, [Share(1, 20)], promise=20))
        await write_and_poll(bench, "eu-0", missing)
        assert await bench.sealer.step(40) == 29


async def test_a_silent_producer_is_closed_when_its_region_has_moved_on(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        silent = payload(make_batch(producer_id(1), 0, promise=20, time_ms=1_000))
        other_region = payload(
            make_batch(producer_id(3), 0, promise=50, time_ms=1_000, region="us")
        )
        await write_and_poll(bench, "eu-0", silent)
        await write_and_poll(bench, "us-0", other_region)
        alive = payload(make_batch(producer_id(2), 0, promise=50, time_ms=61_000))
        await write_and_poll(bench, "eu-1", alive)
        assert await bench.sealer.step(40) is None
        moved = payload(make_batch(producer_id(2), 1, promise=50, time_ms=61_001))
        await write_and_poll(bench, "eu-1", moved)
        # What it wrote meanwhile is not read yet: then it is not silent.
        await bench.write(
            "eu-0", payload(make_batch(producer_id(1), 1, promise=20, time_ms=61_000))
        )
        await bench.sealer.step(40)
        assert (await bench.producer(1))[0] == ProducerState.OPEN
        await bench.consumer.poll()
        moved = payload(make_batch(producer_id(2), 2, promise=50, time_ms=121_001))
        await write_and_poll(bench, "eu-1", moved)
        assert await bench.sealer.step(40) == 38
        assert (await bench.producer(1))[0] == ProducerState.CLOSED
        assert (await bench.producer(3))[0] == ProducerState.OPEN
        assert await bench.decisions() == [("close producer", producer_id(1).hex())]


async def test_closing_by_hand_lets_seals_go_on_and_leaves_a_decision(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await write_and_poll(bench, "eu-0", payload(make_batch(producer_id(1), 0, promise=20)))
        assert await bench.sealer.step(40) is None
        await close_producer(bench.engine, producer_id(1), who="ann", reason="lost", now_ms=1)
        assert await bench.sealer.step(40) == 38
        with pytest.raises(DecisionRefused, match="is not open"):
            await close_producer(bench.engine, producer_id(1), who="ann", reason="x", now_ms=1)
        assert await bench.decisions() == [("close producer", producer_id(1).hex())]


async def test_a_disputed_segment_decided_after_its_seal_counts_late(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        batch = make_batch(producer_id(1), 0, [Share(1, 20, weight=3), Share(2, 21)], promise=30)
        await write_and_poll(bench, "eu-0", payload(batch))
        async with transaction(bench.engine) as connection:
            await connection.execute(
                schema.segments.update()
                .where(schema.segments.c.height == 20)
                .values(state=SegmentState.DISPUTED)
            )
        assert await bench.sealer.step(26) == 24
        question = WindowQuestion(POOL, "pplns", 22, parent(22), 100)
        async with reading(bench.engine) as connection:
            before = await read_window(connection, question)
        assert [entry.account for entry in before.accounts] == [2]
        await decide_segment(
            bench.engine, 1, right=True, who="ann", reason="seen elsewhere", now_ms=1
        )
        async with reading(bench.engine) as connection:
            assert (await read_window(connection, question)).hash == before.hash
            later = WindowQuestion(POOL, "pplns", 25, parent(25), 100)
            answer = await read_window(connection, later)
        assert [(entry.account, entry.full, entry.last) for entry in answer.accounts] == [
            (1, 3, 0),
            (2, 0, 1),
        ]
        assert await recount(bench.engine, bench.log) == []
        with pytest.raises(DecisionRefused, match="is not disputed"):
            await decide_segment(bench.engine, 1, right=True, who="a", reason="b", now_ms=1)


async def test_a_recount_after_a_partition_was_read_again_differs_in_nothing(
    tmp_path: Path,
) -> None:
    async with await Bench.make(tmp_path) as bench:
        first = payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=23))
        second = payload(make_batch(producer_id(1), 1, promise=23))
        await write_and_poll(bench, "eu-0", first, second)
        assert await bench.sealer.step(24) == 22
    # The disk came back without its last records, and the log went on from there.
    engine = open_store(await DATABASES.migrated(tmp_path, "shares"))
    async with Bench(tmp_path / "restored", engine, bench.pool) as again:
        await again.write("eu-0", first)
        await again.consumer.poll()
        late = payload(make_batch(producer_id(2), 0, [Share(2, 20, weight=5)], promise=23))
        await again.write("eu-0", late)
        await again.consumer.poll()
        await again.consumer.poll()
        assert sorted(weight for weight, _ in (await again.cells()).values()) == [1, 5]
        assert await recount(again.engine, again.log) == []


async def test_a_recount_holds_no_connection_while_it_reads_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Bench.make(tmp_path) as bench:
        await write_and_poll(bench, "eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        pool, read = bench.engine.pool, FileReader.read
        assert isinstance(pool, QueuePool)
        held: list[int] = []

        async def watched(reader: FileReader, *arguments: Any) -> list[LogRecord]:
            held.append(pool.checkedout())
            return await read(reader, *arguments)

        monkeypatch.setattr(FileReader, "read", watched)
        assert await recount(bench.engine, bench.log) == []
        assert held
        assert not any(held)


async def test_a_recount_finds_a_cell_that_was_tampered_with(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        await write_and_poll(bench, "eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        assert await recount(bench.engine, bench.log) == []
        async with transaction(bench.engine) as connection:
            await connection.execute(schema.cells.update().values(weight=2))
        (difference,) = await recount(bench.engine, bench.log)
        assert (difference.expected, difference.got) == ((1, 1), (2, 1))
