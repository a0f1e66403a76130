"""Recovery: whatever a crash left, durable records stay, torn ones go, damage is not hidden.

A crash of the machine is played by the bytes it may leave: the durable mark at
any earlier value, the file cut or damaged anywhere behind what was synced.
"""

import asyncio
import os
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pithead.log.chunk import CHUNK_FORMAT, HEADER_BYTES, MAGIC, chunk_name, frame_size
from pithead.log.disk import SystemDisk
from pithead.log.errors import (
    LogBroken,
    LogBusy,
    LogCorrupt,
    LogFormatUnknown,
    LogFull,
)
from pithead.log.mark import encode_mark
from pithead.log.partition import PartitionFiles, chunk_bases
from pithead.log.reader import FileReader
from pithead.log.share_log import LogRecord
from tests.unit.log.contract import read_all
from tests.unit.log.faults import IO_ERROR, NO_SPACE, FailingDisk

pytestmark = pytest.mark.gate

DISK = SystemDisk()
ROLL = 300

payload_lists = st.lists(st.binary(max_size=120), min_size=1, max_size=12)


def write_log(directory: Path, payloads: list[bytes], roll: int = ROLL) -> list[int]:
    """Write each record as a group of its own; return the positions after each."""
    files = PartitionFiles(directory, roll, DISK)
    ends = [files.write([payload])[0] for payload in payloads]
    files.close()
    return ends


def read_log(directory: Path) -> list[LogRecord]:
    async def read() -> list[LogRecord]:
        reader = FileReader(directory.parent)
        try:
            start = await reader.start(directory.name)
            return await read_all(reader, directory.name, start)
        finally:
            await reader.close()

    return asyncio.run(read())


def last_chunk(directory: Path) -> Path:
    return directory / chunk_name(chunk_bases(directory)[-1])


@settings(max_examples=60, deadline=None)
@given(payloads=payload_lists, draw=st.data())
def test_any_crash_keeps_durable_records_and_adds_none(
    payloads: list[bytes], draw: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "t" / "eu-0"
        ends = write_log(directory, payloads)
        path = last_chunk(directory)
        base = chunk_bases(directory)[-1]
        # The mark on the disk lies in the last chunk; some of its records were synced.
        boundaries = [base, *(end for end in ends if end > base)]
        synced = draw.draw(st.sampled_from(boundaries), label="synced")
        marked = draw.draw(st.sampled_from([b for b in boundaries if b <= synced]), label="mark")
        (directory / "durable").write_bytes(encode_mark(marked))
        data = path.read_bytes()
        kept = HEADER_BYTES + synced - base
        tail = bytearray(data[kept : draw.draw(st.integers(kept, len(data)), label="cut")])
        if tail and draw.draw(st.booleans(), label="damage"):
            bit = draw.draw(st.integers(0, len(tail) * 8 - 1), label="bit")
            tail[bit // 8] ^= 1 << bit % 8
        tail += bytes(draw.draw(st.integers(0, 40), label="zeros"))
        path.write_bytes(data[:kept] + tail)

        files = PartitionFiles(directory, ROLL, DISK)
        assert files.end >= synced
        files.write([b"after"])
        files.close()
        found = [record.payload for record in read_log(directory)]
        survivors = found[:-1]
        durable = sum(end <= synced for end in ends)
        assert found[-1] == b"after"
        assert survivors == payloads[: len(survivors)]
        assert len(survivors) >= durable


@settings(max_examples=60, deadline=None)
@given(payloads=payload_lists, draw=st.data())
def test_a_flipped_bit_in_durable_bytes_is_never_read_as_a_record(
    payloads: list[bytes], draw: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "t" / "eu-0"
        write_log(directory, payloads)
        bases = chunk_bases(directory)
        path = directory / chunk_name(draw.draw(st.sampled_from(bases)))
        data = bytearray(path.read_bytes())
        bit = draw.draw(st.integers(0, len(data) * 8 - 1))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(LogCorrupt) as caught:
            read_log(directory)
        assert path.name in str(caught.value)
        if path.name == chunk_name(bases[-1]):
            before = path.read_bytes()
            with pytest.raises(LogCorrupt):
                PartitionFiles(directory, ROLL, DISK)
            assert path.read_bytes() == before


def test_a_record_whose_writer_died_before_the_mark_is_not_lost(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    ends = write_log(directory, [b"one", b"two"])
    (directory / "durable").write_bytes(encode_mark(ends[0]))
    assert [record.payload for record in read_log(directory)] == [b"one"]
    PartitionFiles(directory, ROLL, DISK).close()
    assert [record.payload for record in read_log(directory)] == [b"one", b"two"]


def test_a_position_past_an_outdated_mark_waits_for_the_next_writer(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    ends = write_log(directory, [b"one", b"two"])
    (directory / "durable").write_bytes(encode_mark(0))

    async def read() -> list[LogRecord]:
        reader = FileReader(tmp_path)
        records = await reader.read("eu-0", ends[1], 100)
        await reader.close()
        return records

    assert asyncio.run(read()) == []


@pytest.mark.parametrize("mark", [b"", b"torn", bytes(12)], ids=["empty", "short", "zeros"])
def test_a_damaged_mark_hides_records_until_a_writer_repairs_it(
    tmp_path: Path, mark: bytes
) -> None:
    directory = tmp_path / "eu-0"
    write_log(directory, [b"one", b"two"])
    (directory / "durable").write_bytes(mark)
    assert read_log(directory) == []
    PartitionFiles(directory, ROLL, DISK).close()
    assert [record.payload for record in read_log(directory)] == [b"one", b"two"]


def test_missing_durable_records_are_damage_and_not_a_torn_end(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    ends = write_log(directory, [b"one", b"two"])
    path = last_chunk(directory)
    os.truncate(path, HEADER_BYTES + ends[0] + 3)
    with pytest.raises(LogCorrupt) as caught:
        PartitionFiles(directory, ROLL, DISK)
    assert caught.value.position == ends[0]
    assert "restore this file" in str(caught.value)
    assert path.stat().st_size == HEADER_BYTES + ends[0] + 3
    with pytest.raises(LogCorrupt):
        read_log(directory)


def test_a_missing_chunk_is_damage(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    write_log(directory, [bytes(200)] * 6)
    bases = chunk_bases(directory)
    assert len(bases) >= 3
    (directory / chunk_name(bases[1])).unlink()
    with pytest.raises(LogCorrupt):
        PartitionFiles(directory, ROLL, DISK)
    with pytest.raises(LogCorrupt):
        read_log(directory)


def test_a_log_without_any_chunk_but_with_a_mark_is_damage(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    write_log(directory, [b"one"])
    last_chunk(directory).unlink()
    with pytest.raises(LogCorrupt, match="all chunk files are missing"):
        PartitionFiles(directory, ROLL, DISK)


def test_a_chunk_of_a_newer_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    write_log(directory, [b"one"])
    checked = struct.pack("<8sIQ", MAGIC, CHUNK_FORMAT + 1, 0)
    path = last_chunk(directory)
    data = path.read_bytes()
    path.write_bytes(checked + zlib.crc32(checked).to_bytes(4, "little") + data[HEADER_BYTES:])
    for action in (lambda: PartitionFiles(directory, ROLL, DISK), lambda: read_log(directory)):
        with pytest.raises(LogFormatUnknown, match="upgrade"):
            action()


def test_a_half_made_chunk_is_forgotten(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    ends = write_log(directory, [b"one"])
    leftover = directory / f"{ends[-1]:020d}.new"
    leftover.write_bytes(b"PTHD")
    files = PartitionFiles(directory, ROLL, DISK)
    assert files.end == ends[-1]
    assert not leftover.exists()
    files.close()


def test_a_failed_open_gives_the_lock_back(tmp_path: Path) -> None:
    directory = tmp_path / "eu-0"
    write_log(directory, [b"one"])
    data = last_chunk(directory).read_bytes()
    last_chunk(directory).write_bytes(b"no chunk")
    with pytest.raises(LogCorrupt):
        PartitionFiles(directory, ROLL, DISK)
    last_chunk(directory).write_bytes(data)
    files = PartitionFiles(directory, ROLL, DISK)
    with pytest.raises(LogBusy):
        PartitionFiles(directory, ROLL, DISK)
    files.close()


def test_a_full_disk_leaves_no_half_record_and_later_writes_work(tmp_path: Path) -> None:
    disk = FailingDisk()
    files = PartitionFiles(tmp_path / "eu-0", ROLL, disk)
    files.write([b"before"])
    end = files.end
    size = last_chunk(files.directory).stat().st_size
    disk.write_errno = NO_SPACE
    with pytest.raises(LogFull, match="No space left"):
        files.write([b"lost", b"too"])
    assert last_chunk(files.directory).stat().st_size == size
    assert files.write([b"after"]) == [end + frame_size(b"after")]
    files.close()
    assert [r.payload for r in read_log(files.directory)] == [b"before", b"after"]


def test_a_full_disk_at_the_beginning_of_a_chunk_is_survived(tmp_path: Path) -> None:
    disk = FailingDisk()
    files = PartitionFiles(tmp_path / "eu-0", 10, disk)
    files.write([b"fills the chunk"])
    disk.write_errno = NO_SPACE
    with pytest.raises(LogFull):
        files.write([b"lost"])
    assert not list(files.directory.glob("*.new"))
    files.write([b"after"])
    files.close()
    assert [r.payload for r in read_log(files.directory)] == [b"fills the chunk", b"after"]


def test_after_a_failed_sync_the_doubtful_bytes_are_gone(tmp_path: Path) -> None:
    disk = FailingDisk()
    files = PartitionFiles(tmp_path / "eu-0", ROLL, disk)
    files.write([b"before"])
    disk.sync_errno = IO_ERROR
    with pytest.raises(LogBroken, match="sync failed"):
        files.write([b"doubtful"])
    files.abandon()
    again = PartitionFiles(files.directory, ROLL, DISK)
    again.write([b"after"])
    again.close()
    assert [r.payload for r in read_log(files.directory)] == [b"before", b"after"]


@pytest.mark.parametrize(
    "fault",
    [
        {"write_errno": IO_ERROR},
        {"write_errno": NO_SPACE, "truncate_errno": IO_ERROR},
        {"sync_errno": NO_SPACE},
        {"sync_errno": IO_ERROR, "truncate_errno": IO_ERROR},
    ],
    ids=["write", "no-way-back", "full-at-sync", "sync-and-truncate"],
)
def test_what_cannot_be_taken_back_breaks_the_writer(tmp_path: Path, fault: dict[str, int]) -> None:
    disk = FailingDisk()
    files = PartitionFiles(tmp_path / "eu-0", ROLL, disk)
    files.write([b"before"])
    for name, code in fault.items():
        setattr(disk, name, code)
    with pytest.raises(LogBroken):
        files.write([b"doubtful"])
    files.abandon()
    # Whether the doubtful record is there is open, but what is there is whole.
    PartitionFiles(files.directory, ROLL, DISK).close()
    payloads = [r.payload for r in read_log(files.directory)]
    assert payloads in ([b"before"], [b"before", b"doubtful"])


def test_a_failing_roll_names_its_kind(tmp_path: Path) -> None:
    disk = FailingDisk()
    files = PartitionFiles(tmp_path / "eu-0", 10, disk)
    files.write([b"fills the chunk"])
    disk.sync_errno = IO_ERROR
    with pytest.raises(LogBroken, match="mark cannot be synced"):
        files.write([b"next"])
    files.abandon()
    files = PartitionFiles(tmp_path / "eu-0", 10, disk)
    disk.write_errno = IO_ERROR
    with pytest.raises(LogBroken, match="chunk cannot be made"):
        files.write([b"next"])
    files.abandon()
    assert [r.payload for r in read_log(files.directory)] == [b"fills the chunk"]


@pytest.mark.parametrize(
    ("code", "kind"), [(NO_SPACE, LogFull), (IO_ERROR, OSError)], ids=["full", "other"]
)
def test_a_partition_that_cannot_be_made_is_made_later(
    tmp_path: Path, code: int, kind: type[Exception]
) -> None:
    disk = FailingDisk()
    disk.write_errno = code
    with pytest.raises(kind):
        PartitionFiles(tmp_path / "eu-0", ROLL, disk)
    files = PartitionFiles(tmp_path / "eu-0", ROLL, disk)
    files.write([b"first"])
    files.close()
    assert [r.payload for r in read_log(files.directory)] == [b"first"]


def test_a_close_that_cannot_sync_says_so_and_gives_the_lock_back(tmp_path: Path) -> None:
    disk = FailingDisk()
    files = PartitionFiles(tmp_path / "eu-0", ROLL, disk)
    files.write([b"first"])
    disk.sync_errno = IO_ERROR
    with pytest.raises(LogBroken):
        files.close()
    PartitionFiles(tmp_path / "eu-0", ROLL, disk).close()
