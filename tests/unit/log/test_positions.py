"""Positions of readers: what was stored last comes back, whatever was torn."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.disk import SystemDisk
from pithead.log.file_log import FileLog
from pithead.log.positions import SLOT_BYTES, PositionFile, position_path, read_positions
from tests.unit.log.contract import PARTITION, TOPIC
from tests.unit.log.faults import FailingDisk

pytestmark = pytest.mark.gate


def test_the_last_position_comes_back_also_when_it_went_backwards(tmp_path: Path) -> None:
    file = PositionFile(tmp_path, "reader", SystemDisk())
    assert file.load() is None
    for position in (5, 9, 3):
        file.store(position)
    file.close()
    again = PositionFile(tmp_path, "reader", SystemDisk())
    assert again.load() == 3
    again.close()
    assert read_positions(tmp_path) == {"reader": 3}


@given(torn=st.binary(min_size=20, max_size=20), kept=st.integers(0, 20))
def test_a_torn_store_leaves_the_position_before_or_the_new_one(
    torn: bytes, kept: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("positions")
    file = PositionFile(folder, "reader", SystemDisk())
    for position in (7, 8, 9):
        file.store(position)
    before = position_path(folder, "reader").read_bytes()
    file.store(10)
    after = position_path(folder, "reader").read_bytes()
    file.close()
    offset = next(
        start
        for start in (0, SLOT_BYTES)
        if before[start : start + 20] != after[start : start + 20]
    )
    mixed = after[offset : offset + kept] + torn[kept:]
    position_path(folder, "reader").write_bytes(after[:offset] + mixed + after[offset + 20 :])
    assert read_positions(folder)["reader"] in (9, 10)


def test_a_store_needs_no_room(tmp_path: Path) -> None:
    file = PositionFile(tmp_path, "reader", SystemDisk())
    size = position_path(tmp_path, "reader").stat().st_size
    for position in range(10):
        file.store(position)
    assert position_path(tmp_path, "reader").stat().st_size == size
    file.close()


def test_a_store_that_failed_changes_nothing(tmp_path: Path) -> None:
    disk = FailingDisk()
    file = PositionFile(tmp_path, "reader", disk)
    file.store(4)
    disk.write_errno = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        file.store(5)
    assert file.load() == 4
    file.store(6)
    assert file.load() == 6
    file.close()


async def test_nothing_goes_that_the_slowest_reader_has_not_read(tmp_path: Path) -> None:
    log = FileLog(tmp_path, chunk_bytes=50)
    writer = await log.writer(TOPIC, PARTITION)
    ends = [await writer.append(bytes(40)) for _ in range(6)]
    await log.keep_position(TOPIC, PARTITION, "slow", ends[1])
    await log.keep_position(TOPIC, PARTITION, "quick", ends[4])
    assert await log.positions(TOPIC, PARTITION) == {"slow": ends[1], "quick": ends[4]}
    assert await log.delete_before(TOPIC, PARTITION, ends[5]) <= ends[1]
    await log.keep_position(TOPIC, PARTITION, "slow", ends[3])
    start = await log.delete_before(TOPIC, PARTITION, ends[5])
    assert ends[1] < start <= ends[3]
    await log.forget_reader(TOPIC, PARTITION, "slow")
    assert start <= await log.delete_before(TOPIC, PARTITION, ends[5]) <= ends[4]
    await writer.close()


async def test_a_reader_that_never_told_its_position_keeps_everything(tmp_path: Path) -> None:
    log = FileLog(tmp_path, chunk_bytes=50)
    writer = await log.writer(TOPIC, PARTITION)
    ends = [await writer.append(bytes(40)) for _ in range(6)]
    PositionFile(tmp_path / TOPIC / PARTITION, "new", SystemDisk()).close()
    assert await log.delete_before(TOPIC, PARTITION, ends[5]) == 0
    await writer.close()
