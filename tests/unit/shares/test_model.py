"""Accounting against a dictionary of shares, through everything that may befall log and database.

Hypothesis writes batches of several producers out of order, into any partition and again,
leaves gaps and fills some later, adds partitions, exchanges the log, copies the database
and puts the copy back; accounting polls, dies, starts anew and seals meanwhile. In the
end what is credited is what is durable, each share once; marks and missing numbers are
right; and no cell ever changed once its height was sealed.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from pithead.shares import schema
from pithead.shares.states import ProducerState
from pithead.store import open_store, reading, transaction
from tests.support.accounting import SharedBench
from tests.support.shares import (
    MINUTE_MS,
    Share,
    address,
    make_batch,
    make_store,
    parent,
    payload,
    producer_id,
    store_url,
)

pytestmark = pytest.mark.gate

PARTITIONS_MAX = 5
FIRST_HEIGHT = 20
Cells = dict[tuple[object, ...], tuple[int, int]]


class Write(NamedTuple):
    """The next batch of a producer; one that is held back leaves a gap."""

    producer: int
    partition: int
    shares: list[Share]
    held: bool


class Fill(NamedTuple):
    """One of the batches held back comes after all."""

    which: int
    partition: int


class Repeat(NamedTuple):
    """One of the batches that are in the log comes again, wherever."""

    which: int
    partition: int


SHARES = st.lists(
    st.builds(
        Share,
        account=st.integers(1, 3),
        height=st.integers(FIRST_HEIGHT, FIRST_HEIGHT + 4),
        weight=st.integers(1, 9) | st.just(1 << 50),
        time_ms=st.integers(0, 2 * MINUTE_MS),
        slot=st.integers(0, 1),
        fork=st.integers(0, 1),
    ),
    max_size=4,
)
PARTITIONS = st.integers(0, PARTITIONS_MAX - 1)
STEPS = st.lists(
    st.one_of(
        st.builds(Write, st.integers(1, 3), PARTITIONS, SHARES, st.booleans()),
        st.builds(Write, st.integers(1, 3), PARTITIONS, SHARES, st.just(value=False)),
        st.builds(Fill, st.integers(0, 99), PARTITIONS),
        st.builds(Repeat, st.integers(0, 99), PARTITIONS),
        st.sampled_from(["poll", "seal", "die", "restart", "grow"]),
        st.sampled_from(["poll", "seal", "backup", "restore", "exchange"]),
    ),
    min_size=8,
    max_size=40,
)


def height_of(key: tuple[object, ...]) -> int:
    """Height that a cell counts at."""
    return int(str(key[4]))


class World:
    """Log, database and their copies, and what the model knows."""

    def __init__(self, directory: Path, bench: SharedBench) -> None:
        self.directory = directory
        self.bench = bench
        self.partitions = 2
        self.logs = 0
        self.copied = False
        self.next: Counter[int] = Counter()
        self.content: dict[tuple[int, int], list[Share]] = {}
        self.held: list[tuple[int, int]] = []
        self.durable: list[tuple[int, int]] = []
        self.sealed: Cells = {}
        self.sealed_height = 0

    async def do(self, number: int, step: Write | Fill | Repeat | str) -> None:
        bench = self.bench
        if isinstance(step, Write):
            name = (step.producer, self.next[step.producer])
            self.next[step.producer] += 1
            self.content[name] = step.shares
            if step.held:
                self.held.append(name)
            else:
                await self.write(name, step.partition)
        elif isinstance(step, Fill):
            if self.held:
                await self.write(self.held.pop(step.which % len(self.held)), step.partition)
        elif isinstance(step, Repeat):
            if self.durable:
                await self.write(self.durable[step.which % len(self.durable)], step.partition)
        elif step == "poll":
            await bench.consumer.poll()
        elif step == "die":
            await bench.poll_but_die()
        elif step == "restart":
            bench.restart()
        elif step == "grow":
            self.partitions = min(self.partitions + 1, PARTITIONS_MAX)
        elif step == "exchange":
            self.logs += 1
            bench.shared.name = f"log {self.logs}"
        elif step == "backup":
            self.copy()
        elif step == "restore":
            await self.restore()
        else:
            await self.seal(FIRST_HEIGHT + number // 6)
        await self.check_sealed()

    async def write(self, name: tuple[int, int], partition: int) -> None:
        producer, sequence = name
        # A promise of 0, so that the first share starts the pool's sealing.
        batch = make_batch(producer_id(producer), sequence, self.content[name], promise=0)
        await self.bench.write(str(partition % self.partitions), payload(batch))
        if name not in self.durable:
            self.durable.append(name)

    async def seal(self, node_height: int) -> None:
        await self.bench.settle_segments()
        async with transaction(self.bench.engine) as connection:
            await connection.execute(update(schema.producers).values(state=ProducerState.CLOSED))
        await self.bench.sealer.step(node_height)

    def copy(self) -> None:
        with (
            sqlite3.connect(self.directory / "shares.db") as source,
            sqlite3.connect(self.directory / "copy.db") as target,
        ):
            source.backup(target)
        source.close()
        target.close()
        self.copied = True

    async def restore(self) -> None:
        """Put the copy in place: what was booked and sealed since then is forgotten."""
        if not self.copied:
            return
        await self.bench.engine.dispose()
        for name in ("shares.db", "shares.db-wal", "shares.db-shm"):
            (self.directory / name).unlink(missing_ok=True)
        shutil.copy(self.directory / "copy.db", self.directory / "shares.db")
        self.bench.engine = open_store(store_url(self.directory))
        self.bench.restart()
        self.sealed, self.sealed_height = {}, 0

    async def check_sealed(self) -> None:
        """What was sealed before is there, and nothing has come to it."""
        height = await self.bench.sealed_height() or 0
        cells = await self.bench.cells()
        found = {key: cell for key, cell in cells.items() if height_of(key) <= self.sealed_height}
        assert found == self.sealed
        self.sealed = {key: cell for key, cell in cells.items() if height_of(key) <= height}
        self.sealed_height = height

    async def check_all(self) -> None:
        """Credited is what is durable; marks, highest numbers and gaps are right."""
        weights: Counter[tuple[object, ...]] = Counter()
        counts: Counter[tuple[object, ...]] = Counter()
        for name in self.durable:
            for share in self.content[name]:
                revision = "cc" if share.slot else "aa" if share.height < 20 else "bb"
                parent_hash = parent(share.height, share.fork)
                key = (address(share.account), revision, parent_hash, share.time_ms // MINUTE_MS)
                weights[key] += share.weight
                counts[key] += 1
        found_weights: Counter[tuple[object, ...]] = Counter()
        found_counts: Counter[tuple[object, ...]] = Counter()
        for cell, (weight, shares) in (await self.bench.cells()).items():
            found_weights[cell[:4]] += weight
            found_counts[cell[:4]] += shares
        assert (found_weights, found_counts) == (weights, counts)
        await self.check_numbers()

    async def check_numbers(self) -> None:
        async with reading(self.bench.engine) as connection:
            rows = (await connection.execute(select(schema.producers))).all()
            gaps = (await connection.execute(select(schema.missing))).all()
        expected_marks, expected_gaps = {}, set()
        for producer in {producer for producer, _ in self.durable}:
            numbers = {number for name, number in self.durable if name == producer}
            top = max(numbers)
            absent = set(range(top)) - numbers
            expected_marks[producer_id(producer)] = (min(absent, default=top + 1) - 1, top)
            expected_gaps |= {(producer_id(producer), number) for number in absent}
        assert {row.producer: (row.mark, row.top) for row in rows} == expected_marks
        found = {(row.producer, n) for row in gaps for n in range(row.first, row.last + 1)}
        assert found == expected_gaps


@pytest.mark.timeout(240)
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_credited_is_what_is_durable_and_what_is_sealed_stays(
    steps: list[Write | Fill | Repeat | str],
) -> None:
    async def check(directory: Path) -> None:
        async with SharedBench(directory, *await make_store(directory)) as bench:
            world = World(directory, bench)
            for number, step in enumerate([*steps, "poll", "poll"]):
                await world.do(number, step)
            await world.check_all()

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(check(Path(name)))


async def test_a_restored_database_counts_again_what_it_had_forgotten(tmp_path: Path) -> None:
    async with SharedBench(tmp_path, *await make_store(tmp_path)) as bench:
        world = World(tmp_path, bench)
        shares = [Share(1, FIRST_HEIGHT, weight=3), Share(2, FIRST_HEIGHT + 1, weight=4)]
        steps: list[Write | Fill | Repeat | str] = [
            Write(1, 0, shares, held=False),
            "poll",
            "backup",
            Write(1, 1, shares, held=True),
            Write(2, 1, shares, held=False),
            "poll",
            Repeat(0, 1),
            "restore",
            "exchange",
            Fill(0, 0),
            "grow",
            Repeat(1, 2),
            "poll",
        ]
        for number, step in enumerate(steps):
            await world.do(number, step)
        await world.check_all()
        assert sum(weight for weight, _ in (await bench.cells()).values()) == 3 * 7
