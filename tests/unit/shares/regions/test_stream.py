"""A region's records at the hub: each counts once, through cuts, kills and exchanged logs.

Hypothesis lets edges write into a region's log while the relay's connection is cut at
any moment, a process dies at its commit, the relay is restarted, the region's log is
exchanged, the hub forgets its positions, accounting polls, and heights are sealed with
the region or, after long enough, without it. Both ends are the real ones over real
files and a real database.
"""

import asyncio
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, select

from pithead.contracts.share_log_pb2 import BlockRecord
from pithead.log.errors import LogPartitionUnknown, LogUnavailable
from pithead.log.topics import blocks_topic, shares_topic
from pithead.log.writer import FileWriter
from pithead.shares import schema
from pithead.shares.audit import recount
from pithead.shares.regions import stream
from pithead.shares.relay import metrics as relay_metrics
from pithead.store import reading
from tests.support.accounting import Killed
from tests.support.databases import DATABASES
from tests.support.regions import RegionBench, hurried
from tests.support.shares import POOL, Share, make_batch, payload, producer_id

pytestmark = pytest.mark.gate


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch)


class Write(NamedTuple):
    producer: int
    weights: list[int]


class Connect(NamedTuple):
    """And let it go on for so long."""

    ms: int


STEPS = st.lists(
    st.builds(Write, st.integers(1, 3), st.lists(st.integers(1, 9), max_size=3))
    | st.builds(Connect, st.sampled_from([0, 1, 2, 5, 10, 15, 20, 30]))
    | st.sampled_from(
        [
            *("relay", "relay", "cut", "die", "restart", "poll", "exchange", "forget"),
            *("seal", "seal", "pass"),
        ]
    ),
    min_size=5,
    max_size=25,
)


def block(height: int, region: str = "eu", pool: str = POOL) -> bytes:
    record = BlockRecord(
        format=1, producer=producer_id(1), sequence=height, pool=pool, region=region, height=height
    )
    return record.SerializeToString()


async def positions(bench: RegionBench) -> dict[str, tuple[str, int, int]]:
    """(region's log, position, released) of shares, by partition."""
    table = schema.relay_positions
    async with reading(bench.engine) as connection:
        rows = await connection.execute(select(table).where(table.c.topic == shares_topic(POOL)))
        return {row.partition: (row.log, row.position, row.released) for row in rows}


async def aside(bench: RegionBench) -> list[tuple[str, str]]:
    async with reading(bench.engine) as connection:
        rows = await connection.execute(
            select(schema.set_aside).order_by("topic", "partition", "position")
        )
        return [(row.partition, row.reason) for row in rows]


async def start_of(bench: RegionBench, topic: str, partition: str) -> int:
    reader = bench.far.reader(topic)
    try:
        return await reader.start(partition)
    finally:
        await reader.close()


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_each_record_of_a_region_counts_once_whatever_is_cut_or_killed(
    steps: list[Write | Connect | str],
) -> None:
    async def check(directory: Path) -> None:
        async with await RegionBench.make(directory) as bench:
            sequences: dict[int, int] = {}
            weight = shares = 0
            sealed: dict[tuple[object, ...], tuple[int, int]] = {}
            for number, step in enumerate(steps):
                if isinstance(step, Write):
                    sequence = sequences.get(step.producer, 0)
                    sequences[step.producer] = sequence + 1
                    weight += sum(step.weights)
                    shares += len(step.weights)
                    batch = make_batch(
                        producer_id(step.producer),
                        sequence,
                        [Share(1, 20 + number // 8, weight=each) for each in step.weights],
                        promise=20,
                    )
                    await bench.mine(str(step.producer % 2), payload(batch))
                elif isinstance(step, Connect):
                    await bench.connect()
                    await asyncio.sleep(step.ms / 1000)
                elif step == "relay":
                    await bench.until_relayed()
                elif step == "cut":
                    await bench.cut()
                elif step == "die":
                    await die_at_commit(bench)
                elif step == "restart":
                    await bench.restart_relay()
                elif step == "poll":
                    await bench.consumer.poll()
                elif step == "exchange":
                    # Everything is still in it, as if copied to another cluster.
                    bench.far.name = f"far {number}"
                elif step == "forget":
                    await forget_positions(bench)
                elif step == "pass":
                    bench.now_ms += 61_000
                    bench.far.now_ms += 61_000
                else:
                    await bench.settle_segments()
                    await bench.sealer.step(24 + number)
                    assert sealed.items() <= (await sealed_cells(bench)).items()
                    sealed = await sealed_cells(bench)
            await bench.until_relayed()
            await bench.consumer.poll()
            assert sealed.items() <= (await bench.cells()).items()
            cells = (await bench.cells()).values()
            assert (sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)) == (
                weight,
                shares,
            )
            assert await recount(bench.engine, bench.log) == []
            assert await aside(bench) == []

    async def example() -> None:
        async with asyncio.timeout(30):
            with DATABASES.example() as directory:
                await check(directory)

    asyncio.run(example())


async def sealed_cells(bench: RegionBench) -> dict[tuple[object, ...], tuple[int, int]]:
    height = await bench.sealed_height() or 0
    # Index 4 of a key is the height at which the cell counts.
    return {key: cell for key, cell in (await bench.cells()).items() if int(str(key[4])) <= height}


async def die_at_commit(bench: RegionBench) -> None:
    """Let the hub die at the next commit, after the records are in its log."""
    died = asyncio.Event()

    def die(_connection: Connection) -> None:
        died.set()
        raise Killed

    event.listen(bench.engine.sync_engine, "commit", die)
    try:
        async with asyncio.timeout(0.02):
            await died.wait()
    except TimeoutError:
        pass
    finally:
        event.remove(bench.engine.sync_engine, "commit", die)
    await bench.cut()


async def forget_positions(bench: RegionBench) -> None:
    """The hub's database comes back without what it knew of the region."""
    await bench.cut()
    async with bench.engine.begin() as connection:
        await connection.execute(schema.relay_positions.delete())


async def test_what_speaks_for_others_or_can_not_be_read_is_set_aside(tmp_path: Path) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await bench.write("us-0", payload(make_batch(producer_id(7), 0, promise=20, region="us")))
        await bench.consumer.poll()
        await bench.mine("eu-0", payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=20)))
        await bench.mine("eu-0", payload(make_batch(producer_id(2), 0, promise=20, region="us")))
        await bench.mine("eu-0", payload(make_batch(producer_id(3), 0, promise=20, pool="other")))
        await bench.mine("eu-0", payload(make_batch(producer_id(7), 1, promise=90)))
        await bench.mine("eu-0", b"\xff no batch")
        await bench.solve("0", block(20))
        await bench.solve("0", block(20, region="us"))
        await bench.until_relayed()
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(1, 1)]
        assert await bench.producer(7) == ("open", 0, 20)
        assert await aside(bench) == [
            ("eu/0", "region: it comes from eu, it says 'us'"),
            ("eu/eu-0", "region: it comes from eu, it says 'us'"),
            ("eu/eu-0", f"pool: expected {POOL}, got 'other'"),
            ("eu/eu-0", "producer: it has written in us"),
            ("eu/eu-0", "10 bytes are no ShareBatch"),
        ]
        # What was not let in holds nothing up, and comes no second time.
        await bench.connect()
        await bench.until_relayed()
        assert len(await aside(bench)) == 5


async def test_a_region_lets_go_of_what_accounting_has_read_and_keeps_the_rest(
    tmp_path: Path,
) -> None:
    topic = shares_topic(POOL)
    async with await RegionBench.make(tmp_path) as bench:
        for sequence in range(40):
            batch = make_batch(producer_id(1), sequence, [Share(1, 20)], promise=20)
            await bench.mine("0", payload(batch))
        await bench.until_relayed()
        await asyncio.sleep(0.05)
        assert await start_of(bench, topic, "0") == 0, "nothing of it is counted"
        await bench.consumer.poll()

        async def cut() -> bool:
            return await start_of(bench, topic, "0") > 1024

        await bench.until(cut)
        await bench.cut()
        await bench.restart_relay()
        batch = make_batch(producer_id(1), 40, [Share(1, 20)], promise=20)
        await bench.mine("0", payload(batch))
        await bench.until_relayed()
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(41, 41)]
        async with reading(bench.engine) as connection:
            assert not [*await connection.execute(select(schema.relay_pairs))][5:], "pruned"
        assert await bench.decisions() == []


async def test_blocks_stay_in_the_region_until_they_are_sealed_and_mature(tmp_path: Path) -> None:
    topic = blocks_topic(POOL)
    async with await RegionBench.make(tmp_path) as bench:
        await bench.mine("0", payload(make_batch(producer_id(1), 0, promise=20)))
        await bench.mine("0", payload(make_batch(producer_id(1), 1, promise=90)))
        for height in range(20, 60):
            await bench.solve("0", block(height))
        await bench.until_relayed()
        await bench.consumer.poll()
        assert await start_of(bench, topic, "0") == 0
        async with bench.engine.begin() as connection:
            await connection.execute(schema.pools.update().values(sealed_height=69))

        async def cut() -> bool:
            return await start_of(bench, topic, "0") > 0

        await bench.until(cut)
        records = await bench.far.reader(topic).read("0", await start_of(bench, topic, "0"), 1)
        first = BlockRecord.FromString(records[0].payload)
        assert 20 < first.height <= 60, "69 is sealed, ten blocks later 59 can be spent"


async def test_what_a_region_has_lost_is_told_and_the_rest_is_taken(tmp_path: Path) -> None:
    topic = shares_topic(POOL)
    async with await RegionBench.make(tmp_path) as bench:
        await bench.mine("0", payload(make_batch(producer_id(1), 0, promise=20)))
        await bench.until_relayed()
        await bench.cut()
        for sequence in range(1, 40):
            batch = make_batch(producer_id(1), sequence, [Share(1, 20)], promise=20)
            await bench.mine("0", payload(batch))
        gone = await bench.far.delete_before(topic, "0", 4000)
        assert gone > 1024
        await bench.until_relayed()
        assert await bench.decisions() == [("records of a region are gone", f"eu: {topic}/0")]
        await bench.consumer.poll()
        assert sum(shares for _, shares in (await bench.cells()).values()) < 39
        assert (await bench.producer(1))[0] == "open", "what is missing holds seals"


async def test_an_exchanged_or_restored_region_log_is_read_from_its_beginning(
    tmp_path: Path,
) -> None:
    topic = shares_topic(POOL)
    async with await RegionBench.make(tmp_path) as bench:
        for sequence in range(3):
            await bench.mine("0", payload(make_batch(producer_id(1), sequence, [Share(1, 20)])))
        await bench.until_relayed()
        bench.far.name = "new"
        await bench.mine("0", payload(make_batch(producer_id(1), 3, [Share(1, 20)])))
        await bench.until_relayed()
        assert [action for action, _ in await bench.decisions()] == [
            "follow another log of a region"
        ]
        await bench.cut()
        async with bench.engine.begin() as connection:
            await connection.execute(schema.relay_positions.update().values(position=1 << 20))
        await bench.until_relayed()
        async with bench.engine.begin() as connection:
            # Inside of the log, yet no record begins there.
            await bench.cut()
            await connection.execute(schema.relay_positions.update().values(position=3))
        await bench.until_relayed()
        assert await bench.decisions() == [
            ("follow another log of a region", f"eu: {topic}/0"),
            ("replay partition of a region", f"eu: {topic}/0"),
            ("replay partition of a region", f"eu: {topic}/0"),
        ]
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(4, 4)]


async def test_another_hub_log_gets_what_accounting_had_not_read(tmp_path: Path) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await bench.mine("0", payload(make_batch(producer_id(1), 0, [Share(1, 20)], promise=20)))
        await bench.until_relayed()
        await bench.consumer.poll()
        await bench.mine("0", payload(make_batch(producer_id(1), 1, [Share(1, 20)], promise=20)))
        await bench.until_relayed()
        # The hub's Kafka is lost with a batch that was relayed and not read.
        bench.hub.name, bench.hub._root = "second", tmp_path / "second"
        bench.hub.root = bench.hub._root
        bench.reader = bench.hub.reader(shares_topic(POOL))
        bench.restart()
        await bench.until(lambda: _is_false(bench))
        await bench.until_relayed()
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(2, 2)]
        assert [action for action, _ in await bench.decisions()] == ["follow another log"]


async def _is_false(bench: RegionBench) -> bool:
    return not bench.connected


async def test_a_second_connection_takes_over_and_the_first_changes_nothing_more(
    tmp_path: Path,
) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await bench.mine("0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        await bench.until_relayed()
        first, bench._tasks = bench._tasks, []
        await bench.restart_relay()
        await bench.connect()
        async with asyncio.timeout(5):
            await asyncio.gather(*first)
        assert bench.connected
        await bench.mine("0", payload(make_batch(producer_id(1), 1, [Share(1, 20)])))
        await bench.until_relayed()
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(2, 2)]


async def test_new_partitions_of_a_region_are_relayed_too(tmp_path: Path) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        await bench.mine("0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        await bench.until_relayed()
        await bench.mine("1", payload(make_batch(producer_id(2), 0, [Share(2, 20)])))
        await bench.until_relayed()
        await bench.consumer.poll()
        assert len(await bench.cells()) == 2


async def test_a_partition_that_the_hub_has_not_waits_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await RegionBench.make(tmp_path) as bench:
        writer = bench.hub.writer

        async def narrow(topic: str, partition: str) -> FileWriter:
            if partition == "1":
                raise LogPartitionUnknown("hub", partition, 1)
            return await writer(topic, partition)

        monkeypatch.setattr(bench.hub, "writer", narrow)
        await bench.mine("1", payload(make_batch(producer_id(2), 0, [Share(2, 20)])))
        await bench.mine("0", payload(make_batch(producer_id(1), 0, [Share(1, 20)])))
        await bench.connect()

        async def first_is_there() -> bool:
            await bench.consumer.poll()
            return len(await bench.cells()) == 1

        await bench.until(first_is_there)
        assert "has partition 1, the hub's has only 1" in caplog.text
        monkeypatch.setattr(bench.hub, "writer", writer)
        await bench.until_relayed()
        await bench.consumer.poll()
        assert len(await bench.cells()) == 2


async def test_what_is_under_way_is_bounded_while_the_hubs_log_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "WINDOW_BYTES", 2048)
    async with await RegionBench.make(tmp_path) as bench:
        away = True
        writer = bench.hub.writer

        async def maybe(topic: str, partition: str) -> FileWriter:
            if away:
                raise LogUnavailable("hub", "no broker")
            return await writer(topic, partition)

        monkeypatch.setattr(bench.hub, "writer", maybe)
        pushed = relay_metrics.BYTES.labels(POOL)._value.get()
        for sequence in range(60):
            batch = make_batch(producer_id(1), sequence, [Share(1, 20)], promise=20)
            await bench.mine("0", payload(batch))
        await bench.connect()
        await asyncio.sleep(0.3)
        assert (await positions(bench))["0"] == ("far", 0, 0), "nothing is told as durable"
        assert bench.region.backlog.stored[shares_topic(POOL), "0"] == 0
        assert 1024 < relay_metrics.BYTES.labels(POOL)._value.get() - pushed <= 4096
        away = False
        await bench.until_relayed()
        await bench.consumer.poll()
        assert list((await bench.cells()).values()) == [(60, 60)]
