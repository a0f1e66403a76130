"""FileLog: the contract, several processes, kills, and what stands in its directory.

The kill test starts a real writer process again and again and kills it at
random moments; every number that it reported as answered must be in the log
exactly once, and whatever else is there must be whole.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pithead.log.errors import BadName, LogBusy, LogTruncated
from pithead.log.file_log import FileLog
from tests.unit.log import children
from tests.unit.log.contract import PARTITION, TOPIC, ShareLogContract, read_all

pytestmark = pytest.mark.gate


class TestContract(ShareLogContract):
    """The contract with chunks of the usual size."""

    @pytest.fixture
    def share_log(self, tmp_path: Path) -> FileLog:
        return FileLog(tmp_path / "log")


class TestContractWithSmallChunks(ShareLogContract):
    """The contract with many chunks: nearly every record begins one."""

    @pytest.fixture
    def share_log(self, tmp_path: Path) -> FileLog:
        return FileLog(tmp_path / "log", chunk_bytes=200)


async def test_an_unknown_partition_is_empty(tmp_path: Path) -> None:
    share_log = FileLog(tmp_path)
    reader = share_log.reader(TOPIC)
    assert await reader.partitions() == []
    assert await reader.end("nowhere-9") == 0
    assert await reader.start("nowhere-9") == 0
    assert await reader.read("nowhere-9", 0, 1000) == []
    await reader.close()


async def test_a_second_writer_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    share_log = FileLog(tmp_path)
    writer = await share_log.writer(TOPIC, PARTITION)
    end = await writer.append(b"first")
    with pytest.raises(LogBusy):
        await share_log.writer(TOPIC, PARTITION)
    await writer.close()
    second = await share_log.writer(TOPIC, PARTITION)
    assert await second.append(b"second") > end
    await second.close()


async def test_a_writer_is_given_its_partition_which_is_locked(tmp_path: Path) -> None:
    with pytest.raises(BadName):
        await FileLog(tmp_path).partition_for(TOPIC, bytes(16))


def start_child(command: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, children.__file__, command, *map(str, arguments)],
        stdout=subprocess.PIPE,
    )


async def test_the_layout_on_disk_is_topic_partition_and_base(tmp_path: Path) -> None:
    log = FileLog(tmp_path, chunk_bytes=10)
    writer = await log.writer(TOPIC, PARTITION)
    end = await writer.append(b"fills the chunk")
    await writer.append(b"next")
    await writer.close()
    names = {path.name for path in (tmp_path / TOPIC / PARTITION).iterdir()}
    assert names == {"lock", "durable", f"{0:020d}.chunk", f"{end:020d}.chunk"}


async def test_a_writer_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    log = FileLog(tmp_path, chunk_bytes=100)
    ends = [0]
    for number in range(12):
        writer = await log.writer(TOPIC, PARTITION)
        ends.append(await writer.append(b"%d" % number * 20))
        await writer.close()
    reader = log.reader(TOPIC)
    found = await read_all(reader, PARTITION)
    assert [record.position for record in found] == ends[:-1]
    assert [record.payload for record in found] == [b"%d" % n * 20 for n in range(12)]
    await reader.close()


async def test_deleting_removes_whole_chunks_and_says_where_to_read_on(tmp_path: Path) -> None:
    log = FileLog(tmp_path, chunk_bytes=100)
    writer = await log.writer(TOPIC, PARTITION)
    ends = [await writer.append(bytes(92)) for _ in range(6)]
    reader = log.reader(TOPIC)
    assert await log.delete_before(TOPIC, PARTITION, ends[0] - 1) == 0
    assert await log.delete_before(TOPIC, PARTITION, ends[1] + 50) == ends[1]
    fresh = log.reader(TOPIC)
    with pytest.raises(LogTruncated) as caught:
        await fresh.read(PARTITION, 0, 100)
    assert caught.value.earliest == ends[1] == await fresh.start(PARTITION)
    assert len(await read_all(fresh, PARTITION, ends[1])) == 4
    assert await log.delete_before(TOPIC, PARTITION, ends[-1] * 9) == ends[4]
    assert await log.delete_before(TOPIC, "unknown", 5) == 0
    await writer.close()
    again = await log.writer(TOPIC, PARTITION)
    assert await again.append(b"") == ends[-1] + 8
    for one in (reader, fresh):
        await one.close()
    await again.close()


async def test_a_partition_is_busy_until_the_process_that_writes_it_is_dead(
    tmp_path: Path,
) -> None:
    child = start_child("hold", tmp_path)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        log = FileLog(tmp_path)
        with pytest.raises(LogBusy) as caught:
            await log.writer(children.TOPIC, children.PARTITION)
        assert "stop it" in str(caught.value)
        assert await log.repair(children.TOPIC) == []
    finally:
        child.kill()
        child.communicate()
    writer = await log.writer(children.TOPIC, children.PARTITION)
    await writer.close()


async def test_every_answered_record_survives_kills_exactly_once(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    answered: set[int] = set()
    log = FileLog(tmp_path, chunk_bytes=children.CHUNK_BYTES)
    reader = log.reader(children.TOPIC)
    followed: list[bytes] = []
    position = 0
    for kill in range(15):
        child = start_child("write", tmp_path, kill * 1_000_000)
        try:
            assert child.stdout is not None
            reported = child.stdout.read(8)
            time.sleep(rng.uniform(0, 0.12))
        finally:
            child.kill()
            reported += child.communicate()[0]
        assert len(reported) >= 8
        answered |= {
            int.from_bytes(reported[at : at + 8], "big") for at in range(0, len(reported) - 7, 8)
        }
        # This reader lives through all kills; what it once saw must stay true.
        records = await read_all(reader, children.PARTITION, position)
        followed += [record.payload for record in records]
        position = records[-1].next_position
    assert await log.repair(children.TOPIC) == [children.PARTITION]
    followed += [r.payload for r in await read_all(reader, children.PARTITION, position)]
    fresh = log.reader(children.TOPIC)
    found = [record.payload for record in await read_all(fresh, children.PARTITION)]
    numbers = [int.from_bytes(payload[:8], "big") for payload in found]
    assert found == followed
    assert found == [children.payload_of(number) for number in numbers]
    assert len(numbers) == len(set(numbers))
    assert answered <= set(numbers)
    assert len(list((tmp_path / children.TOPIC / children.PARTITION).glob("*.chunk"))) > 1
    for one in (reader, fresh):
        await one.close()


async def test_a_full_disk_refuses_whole_records_and_takes_later_ones(tmp_path: Path) -> None:
    child = start_child("fill", tmp_path, 20_000)
    output, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    answered = [int(word) for word in output.split()]
    log = FileLog(tmp_path)
    reader = log.reader(children.TOPIC)
    found = [record.payload for record in await read_all(reader, children.PARTITION)]
    assert found == [children.payload_of(number) for number in answered]
    assert len(found) > 20
    await reader.close()
