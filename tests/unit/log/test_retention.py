"""What a log lets go: never past its readers, and as much behind them as is to be kept."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.config import KeepSettings
from pithead.log.file_log import FileLog
from pithead.log.retention import trim
from tests.unit.log.contract import PARTITION, TOPIC

pytestmark = pytest.mark.gate

HOUR_MS = 3_600_000


async def written(tmp_path: Path, records: int = 20) -> tuple[FileLog, list[int]]:
    """A log of one record a chunk, and the end of each."""
    log = FileLog(tmp_path, chunk_bytes=1)
    writer = await log.writer(TOPIC, PARTITION)
    ends = [await writer.append(bytes(92)) for _ in range(records)]
    await writer.close()
    return log, ends


async def trimmed(log: FileLog, behind: int, keep: KeepSettings, now_ms: int = 0) -> int | None:
    reader = log.reader(TOPIC)
    try:
        return await trim(log, reader, TOPIC, PARTITION, behind=behind, keep=keep, now_ms=now_ms)
    finally:
        await reader.close()


async def test_by_default_everything_stays(tmp_path: Path) -> None:
    log, ends = await written(tmp_path)
    assert await trimmed(log, ends[-1], KeepSettings()) is None
    assert (await log.held(TOPIC))[PARTITION].start == 0


@given(behind=st.integers(0, 20), records=st.integers(0, 25))
async def test_nothing_goes_that_is_before_the_reader_or_to_be_kept(
    behind: int, records: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log, ends = await written(tmp_path_factory.mktemp("log"))
    position = [0, *ends][behind]
    size = (await log.held(TOPIC))[PARTITION].bytes // len(ends)
    start = await trimmed(log, position, KeepSettings(bytes=records * size))
    assert (await log.held(TOPIC))[PARTITION].start == (start or 0)
    assert (start or 0) <= position
    # Chunk headers blur it by less than a record.
    left = (position - (start or 0)) // (ends[0])
    assert left == behind if behind <= records else records <= left <= records + 1


async def test_what_is_younger_stays_and_the_smaller_of_both_counts(tmp_path: Path) -> None:
    log, ends = await written(tmp_path)
    now_ms = time.time_ns() // 1_000_000
    for number, chunk in enumerate(sorted((tmp_path / TOPIC / PARTITION).glob("*.chunk"))):
        written_s = (now_ms - (20 - number) * HOUR_MS) / 1000
        os.utime(chunk, (written_s, written_s))
    hours = KeepSettings(ms=5 * HOUR_MS + 1_000)
    assert await trimmed(log, ends[9], hours, now_ms) == ends[9]
    assert await trimmed(log, ends[-1], hours, now_ms) == ends[14]
    both = KeepSettings(ms=10 * HOUR_MS, bytes=300)
    start = await trimmed(log, ends[-1], both, now_ms)
    assert start is not None
    assert start > ends[14]


async def test_an_unknown_partition_has_nothing_to_let_go(tmp_path: Path) -> None:
    assert await trimmed(FileLog(tmp_path), 100, KeepSettings(bytes=0)) is None
