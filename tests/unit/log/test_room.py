"""The byte bound: full at the bound, not before; again open only when something was freed."""

from pathlib import Path

import pytest

from pithead.log.file_log import FileLog
from pithead.log.room import Bound, used
from tests.unit.log.contract import PARTITION

pytestmark = pytest.mark.gate


def test_half_full_and_full_are_told_at_their_bounds() -> None:
    bound = Bound(1600)
    told = []
    for size in (0, 799, 800, 1599, 1600, 1501, 1500, 1499, 1599, 1600):
        bound.measured(size)
        told.append((bound.half, bound.full))
    assert told == [
        (False, False),
        (False, False),
        (True, False),
        (True, False),
        (True, True),
        (True, True),
        (True, True),
        (True, False),
        (True, False),
        (True, True),
    ]


async def test_the_files_of_all_topics_and_partitions_count_until_they_are_deleted(
    tmp_path: Path,
) -> None:
    log = FileLog(tmp_path, chunk_bytes=100)
    assert await used(log, ("a", "b")) == 0
    for topic, partition in (("a", "one"), ("a", "two"), ("b", PARTITION)):
        writer = await log.writer(topic, partition)
        for _ in range(4):
            end = await writer.append(bytes(100))
        await writer.close()
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*.chunk"))
    assert await used(log, ("a", "b")) == on_disk
    held = await log.held("a")
    assert {name: (each.start, each.end) for name, each in held.items()} == {
        "one": (0, end),
        "two": (0, end),
    }
    await log.delete_before("a", "one", end)
    assert await used(log, ("a", "b")) < on_disk
