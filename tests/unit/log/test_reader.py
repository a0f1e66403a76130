"""Readers: only durable bytes, positions checked, chunks followed as they come and go."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pithead.log import reader as reader_module
from pithead.log.disk import SystemDisk
from pithead.log.errors import LogPositionInvalid
from pithead.log.file_log import FileLog
from pithead.log.partition import PartitionFiles
from pithead.log.reader import FileReader
from tests.unit.log.contract import read_all

pytestmark = pytest.mark.gate


def _nothing() -> None:
    pass


class PausedDisk(SystemDisk):
    """Syncs, but lets a test look before the mark is moved."""

    def __init__(self) -> None:
        self.look: Callable[[], None] = _nothing

    def sync(self, descriptor: int) -> None:
        self.look()
        super().sync(descriptor)


async def test_bytes_that_are_not_yet_synced_are_not_shown(tmp_path: Path) -> None:
    disk = PausedDisk()
    files = PartitionFiles(tmp_path / "eu-0", 1 << 20, disk)
    end = files.write([b"durable"])[0]
    reader = FileReader(tmp_path)
    seen: list[int] = []

    def look() -> None:
        view = reader._view("eu-0")
        seen.append(view.end())
        assert view.read(end, 100) == []

    disk.look = look
    files.write([b"written, not synced"])
    disk.look = _nothing
    assert seen == [end]
    assert [r.payload for r in await read_all(reader, "eu-0")] == [
        b"durable",
        b"written, not synced",
    ]
    await reader.close()
    files.close()


async def test_a_reader_that_came_first_follows_over_many_chunks(tmp_path: Path) -> None:
    log = FileLog(tmp_path, chunk_bytes=300)
    reader = log.reader("shares.p")
    assert await reader.read("eu-0", 0, 100) == []
    writer = await log.writer("shares.p", "eu-0")
    position = 0
    for number in range(30):
        await writer.append(bytes([number]) * 100)
        (record,) = await reader.read("eu-0", position, 1000)
        assert record.payload == bytes([number]) * 100
        position = record.next_position
    await log.delete_before("shares.p", "eu-0", position)
    await writer.append(b"after deletion")
    (record,) = await reader.read("eu-0", position, 1000)
    assert record.payload == b"after deletion"
    await reader.close()
    await writer.close()


@pytest.mark.parametrize("position", [1, 7, 8, 9, 21, -1])
async def test_a_position_inside_a_record_is_no_damage(tmp_path: Path, position: int) -> None:
    log = FileLog(tmp_path)
    writer = await log.writer("shares.p", "eu-0")
    await writer.append(b"twelve bytes")
    await writer.append(b"more")
    reader = log.reader("shares.p")
    with pytest.raises(LogPositionInvalid) as caught:
        await reader.read("eu-0", position, 1000)
    assert caught.value.position == position
    await reader.close()
    await writer.close()


async def test_large_reads_in_a_thread_give_the_same(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    writer = await log.writer("shares.p", "eu-0")
    records = [bytes([number]) * 50_000 for number in range(40)]
    await asyncio.gather(*(writer.append(record) for record in records))
    reader = log.reader("shares.p")
    assert reader_module.INLINE_BYTES_MAX < 1 << 20
    for bytes_max in (1 << 10, 1 << 20, 1 << 30):
        found = await read_all(reader, "eu-0", bytes_max=bytes_max)
        assert [record.payload for record in found] == records
    both = await asyncio.gather(*(reader.read("eu-0", 0, 1 << 30) for _ in range(4)))
    assert all(found == both[0] for found in both)
    await reader.close()
    await writer.close()


async def test_a_cancelled_large_read_leaves_the_reader_usable(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    writer = await log.writer("shares.p", "eu-0")
    await asyncio.gather(*(writer.append(bytes(100_000)) for _ in range(50)))
    reader = log.reader("shares.p")
    reading = asyncio.ensure_future(reader.read("eu-0", 0, 1 << 30))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(await read_all(reader, "eu-0")) == 50
    await reader.close()
    await writer.close()


async def test_waiting_returns_at_once_when_there_is_something(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    writer = await log.writer("shares.p", "eu-0")
    end = await writer.append(b"x")
    reader = log.reader("shares.p")
    assert await reader.wait("eu-0", 0, 0)
    assert not await reader.wait("eu-0", end, 30)
    await reader.close()
    await writer.close()


async def test_files_that_are_no_partitions_are_left_out(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    writer = await log.writer("shares.p", "eu-0")
    (tmp_path / "shares.p" / "notes.txt").write_text("x")
    (tmp_path / "shares.p" / ".hidden").mkdir()
    reader = log.reader("shares.p")
    assert await reader.partitions() == ["eu-0"]
    await reader.close()
    await writer.close()
