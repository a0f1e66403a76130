"""Two machines that try the log's promises in any order of events that hypothesis can think of.

The first writes, reads, deletes and crashes a log of chunk files; the second lets processes with a
spool come and go before a log in all its moods. In the end every record that was acknowledged must
have been read, under its producer and sequence once, and in its producer's order.
"""

import asyncio
import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from pithead.log import spooled
from pithead.log.codec import decode_batch
from pithead.log.disk import SystemDisk
from pithead.log.errors import LogBroken, LogFull
from pithead.log.file_log import FileLog
from pithead.log.partition import PartitionFiles
from pithead.log.positions import PositionFile, read_positions
from pithead.log.reader import FileReader
from pithead.log.spool import Spool
from pithead.log.spooled import SpooledLog, SpooledWriter
from tests.support.crashing_disk import CrashingDisk, PowerCut
from tests.support.scripted_log import Mood, ScriptedLog
from tests.unit.log.faults import FailingDisk
from tests.unit.log.test_spooled import BLOCKS, SHARES, arrived, batch

pytestmark = [pytest.mark.gate, pytest.mark.timeout(500)]

TOPIC, PARTITION = "shares.p", "eu-0"
ROLL = 200
READERS = ("accounting", "analytics", "rewards")


class FileLogMachine(RuleBasedStateMachine):
    """One writer, three readers that keep their positions, deletion, crashes and full disks."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="pithead-model-"))
        self.directory = self.root / TOPIC / PARTITION
        self.disk = CrashingDisk()
        self.files: PartitionFiles | None = None
        self.next = 0
        """Number of the next record: its sequence."""
        self.waiting: list[bytes] = []
        """Bound to their numbers and not acknowledged: the next write begins with them."""
        self.acknowledged: set[bytes] = set()
        self.seen: dict[str, list[bytes]] = {reader: [] for reader in READERS}
        self.deleted_to = 0
        self.chosen: list[int] = []

    @initialize()
    def begin(self) -> None:
        self.opened()
        for reader in READERS:
            self.store(reader, 0)

    def teardown(self) -> None:
        try:
            self.disk.left = self.disk.next_error = None
            if self.files is not None:
                self.files.abandon()
                self.files = None
            self.opened()
            for reader in READERS:
                self.read_by(reader, None)
                seen = self.seen[reader]
                first = list(dict.fromkeys(seen))
                assert first == sorted(first), "the order of its producer"
                assert self.acknowledged <= set(seen)
        finally:
            if self.files is not None:
                self.files.abandon()
            shutil.rmtree(self.root)

    @rule(number=st.integers(1, 3), size=st.integers(0, 90))
    def write(self, number: int, size: int) -> None:
        for _ in range(number):
            self.waiting.append(f"{self.next:06d}".encode() + bytes(size))
            self.next += 1
        try:
            self.opened().write(self.waiting)
        except LogFull:
            return
        except LogBroken:
            self.closed().abandon()
        except PowerCut:
            self.crashed()
        else:
            self.acknowledged |= set(self.waiting)
            self.waiting = []

    @rule(calls=st.integers(0, 6), chosen=st.lists(st.integers(0, 1 << 16), max_size=12))
    def the_power_will_fail(self, calls: int, chosen: list[int]) -> None:
        self.disk.left = calls
        self.chosen = list(chosen)

    @rule(code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def the_disk_will_fail(self, code: int) -> None:
        self.disk.next_error = OSError(code, os.strerror(code))

    @rule()
    def the_writer_is_killed(self) -> None:
        if self.files is not None:
            self.closed().abandon()

    @rule(reader=st.sampled_from(READERS), bytes_max=st.integers(1, 400))
    def read(self, reader: str, bytes_max: int) -> None:
        self.read_by(reader, bytes_max)

    @rule(reader=st.sampled_from(READERS))
    def delete(self, reader: str) -> None:
        log = FileLog(self.root)
        wanted = self.position(reader)
        slowest = min(self.position(each) for each in READERS)
        start = asyncio.run(log.delete_before(TOPIC, PARTITION, wanted))
        assert start <= slowest, "nothing goes before the slowest reader"
        assert start >= self.deleted_to
        self.deleted_to = start

    def read_by(self, reader: str, bytes_max: int | None) -> None:
        """Read one piece, or all there is, and keep the position behind it."""

        async def read() -> None:
            files = FileReader(self.root / TOPIC)
            try:
                position = self.position(reader)
                while records := await files.read(PARTITION, position, bytes_max or 1 << 20):
                    self.seen[reader] += [record.payload for record in records]
                    position = records[-1].next_position
                    if bytes_max is not None:
                        break
                self.store(reader, position)
            finally:
                await files.close()

        asyncio.run(read())

    def store(self, reader: str, position: int) -> None:
        # Not through the disk that crashes: each reader is a process of its own.
        file = PositionFile(self.directory, reader, SystemDisk())
        file.store(position)
        file.close()

    def position(self, reader: str) -> int:
        return read_positions(self.directory)[reader]

    def opened(self) -> PartitionFiles:
        """The writer, opened again until the power stays."""
        while self.files is None:
            try:
                self.files = PartitionFiles(self.directory, ROLL, self.disk)
            except PowerCut:
                self.crashed()
            except (LogFull, OSError):
                continue
        return self.files

    def closed(self) -> PartitionFiles:
        assert self.files is not None
        files, self.files = self.files, None
        return files

    def crashed(self) -> None:
        if self.files is not None:
            self.closed().abandon()
        self.disk.power_back(self.choose)
        # Readers saw no more than what was durable: their positions still stand.

    def choose(self, most: int) -> int:
        return self.chosen.pop() % (most + 1) if self.chosen else most // 2


class SpoolMachine(RuleBasedStateMachine):
    """Processes with a spool, one after the other on one volume, before a log in all its moods."""

    BYTES_MAX = 2_000

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="pithead-model-"))
        self.patch = pytest.MonkeyPatch()
        for name, seconds in (
            ("SPOOL_AFTER_S", 0.01),
            ("OPEN_S", 0.1),
            ("DRAIN_S", 0.05),
            ("SWITCH_S", 0.05),
            ("RETRY_S_MIN", 0.001),
            ("RETRY_S_MAX", 0.002),
        ):
            self.patch.setattr(spooled, name, seconds)
        self.loop = asyncio.new_event_loop()
        self.log = ScriptedLog(partitions=3)
        self.disk = FailingDisk()
        self.process: SpooledLog | None = None
        self.writer: SpooledWriter | None = None
        self.producers: list[bytes] = []
        self.sequence = 0
        self.bound = b""
        self.acknowledged: set[tuple[bytes, int]] = set()
        self.left_behind: set[bytes] = set()
        """Producers that must have been ended by others."""

    def teardown(self) -> None:
        try:
            self.log.mood = Mood.WELL
            self.loop.run_until_complete(self.finished())
            found = arrived(self.log)
            assert self.acknowledged <= set(found)
            for producer in self.producers:
                numbers = [number for name, number in found if name == producer]
                assert numbers == list(range(len(numbers))), "in order, without a gap"
            batches = [decode_batch(each) for topic, each in self.log.arrived if topic == SHARES]
            assert {each.producer for each in batches if each.end} == self.left_behind
            order = [self.producers.index(name) for name, _ in found]
            assert order == sorted(order), "nothing of a process before what it adopts"
        finally:
            self.loop.close()
            self.patch.undo()
            shutil.rmtree(self.root)

    @rule(mood=st.sampled_from([Mood.WELL, *Mood]))
    def the_log_changes(self, mood: Mood) -> None:
        self.log.mood = mood

    @rule(number=st.integers(1, 5), size=st.sampled_from([0, 100]))
    def append(self, number: int, size: int) -> None:
        self.loop.run_until_complete(self.appended(number, size))

    @rule(partitions=st.integers(1, 5))
    def the_topic_grows(self, partitions: int) -> None:
        self.log.partitions = max(self.log.partitions, partitions)

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.05]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(code=st.sampled_from([errno.ENOSPC, errno.EIO]), sync=st.booleans())
    def the_disk_will_fail(self, code: int, sync: bool) -> None:
        if sync:
            self.disk.sync_errno = code
        else:
            self.disk.write_errno = code

    @precondition(lambda self: self.process is not None)
    @rule()
    def the_process_ends_as_it_is(self) -> None:
        self.loop.run_until_complete(self.ended())

    async def appended(self, number: int, size: int) -> None:
        writer = self.writer or await self.started()
        if writer is None:
            return
        producer = self.producers[-1]
        for _ in range(number):
            # Bound to its bytes before the first attempt, whatever becomes of it.
            self.bound = self.bound or batch(producer, self.sequence, size=size)
            try:
                await writer.append(self.bound)
            except LogFull:
                return
            except LogBroken:
                await writer.close()
                self.writer = None
                return
            self.acknowledged.add((producer, self.sequence))
            self.sequence += 1
            self.bound = b""

    async def started(self) -> SpooledWriter | None:
        """Open the writer, of a new process when there is none; None when the disk forbids it."""
        if self.process is None:
            producer = bytes([len(self.producers) + 1]) * 16
            self.producers.append(producer)
            self.sequence, self.bound = 0, b""
            self.process = SpooledLog(
                self.log,
                self.root,
                producer,
                (SHARES, BLOCKS),
                bytes_max=self.BYTES_MAX,
                disk=self.disk,
            )
        try:
            self.writer = await self.process.writer(SHARES, "")
        except (LogFull, LogBroken, OSError):
            return None
        return self.writer

    async def ended(self) -> None:
        assert self.process is not None
        await self.process.close()
        self.process = self.writer = None
        spool = await Spool.opened(self.root, SHARES, bytes(16))
        self.left_behind |= set(spool.producers)
        await spool.close()

    async def finished(self) -> None:
        self.disk.write_errno = self.disk.sync_errno = None
        if self.process is not None:
            await self.ended()
        await self.started()
        assert self.process is not None
        async with asyncio.timeout(10):
            await self.process.emptied()
        await self.ended()


FileLogMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
SpoolMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)

TestFileLog = FileLogMachine.TestCase
TestSpool = SpoolMachine.TestCase
