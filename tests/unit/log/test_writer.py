"""Group commit: what waits shares a sync, failures reach those whom they concern."""

import asyncio
from pathlib import Path

import pytest

from pithead.log import writer as writer_module
from pithead.log.errors import LogBroken, LogFull, LogOverloaded
from pithead.log.file_log import FileLog
from pithead.log.writer import QUEUE_BYTES_MAX, FileWriter
from tests.unit.log.contract import read_all
from tests.unit.log.faults import IO_ERROR, NO_SPACE, FailingDisk

pytestmark = pytest.mark.gate

TOPIC = "shares.p"
PARTITION = "eu-0"


@pytest.fixture
def disk() -> FailingDisk:
    return FailingDisk()


@pytest.fixture
def log(tmp_path: Path, disk: FailingDisk) -> FileLog:
    return FileLog(tmp_path, disk=disk)


async def payloads(log: FileLog) -> list[bytes]:
    reader = log.reader(TOPIC)
    found = [record.payload for record in await read_all(reader, PARTITION)]
    await reader.close()
    return found


def appends(writer: FileWriter, numbers: range) -> list[asyncio.Future[int]]:
    return [asyncio.ensure_future(writer.append(b"%d" % number)) for number in numbers]


async def test_appends_of_one_moment_share_one_sync(log: FileLog, disk: FailingDisk) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    before = disk.syncs
    await asyncio.gather(*appends(writer, range(1000)))
    assert disk.syncs - before == 1
    assert writer.statistics()[1:] == (1000, 1, 0, 0)
    await writer.close()


async def test_what_comes_during_a_sync_makes_the_next_group(log: FileLog) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    first = appends(writer, range(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = appends(writer, range(1, 50))
    await asyncio.gather(*first, *rest)
    assert writer.statistics().groups == 2
    assert await payloads(log) == [b"%d" % number for number in range(50)]
    await writer.close()


async def test_a_group_has_a_bound(log: FileLog) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    large = bytes(writer_module.GROUP_BYTES_MAX // 2)
    await asyncio.gather(*(writer.append(large) for _ in range(3)))
    assert writer.statistics().groups == 3
    await writer.close()


async def test_a_full_disk_refuses_the_group_and_all_who_wait(
    log: FileLog, disk: FailingDisk
) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    await writer.append(b"before")
    disk.write_errno = NO_SPACE
    first = appends(writer, range(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = appends(writer, range(3, 6))
    results = await asyncio.gather(*first, *waiting, return_exceptions=True)
    assert [type(result) for result in results[:3]] == [LogFull] * 3
    assert len({id(result) for result in results}) == 6
    kept = [number for number, result in enumerate(results) if isinstance(result, int)]
    await writer.append(b"after")
    # The queued ones failed with the group, unless the failure was over before they came.
    assert kept in ([], [3, 4, 5])
    assert await payloads(log) == [b"before", *(b"%d" % number for number in kept), b"after"]
    assert writer.statistics().waiting_bytes == 0
    await writer.close()


async def test_after_a_failed_sync_nothing_succeeds_until_a_new_writer(
    log: FileLog, disk: FailingDisk
) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    await writer.append(b"before")
    disk.sync_errno = IO_ERROR
    results = await asyncio.gather(*appends(writer, range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LogBroken] * 3
    with pytest.raises(LogBroken, match="open the log again"):
        await writer.append(b"refused")
    await writer.close()
    again = await log.writer(TOPIC, PARTITION)
    await again.append(b"after")
    await again.close()
    assert await payloads(log) == [b"before", b"after"]


async def test_a_queue_past_its_bound_refuses_at_once(log: FileLog) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    large = bytes(15 * 1024 * 1024)
    fitting = QUEUE_BYTES_MAX // len(large)
    waiting = [asyncio.ensure_future(writer.append(large)) for _ in range(fitting)]
    await asyncio.sleep(0)
    with pytest.raises(LogOverloaded) as caught:
        await writer.append(large)
    assert caught.value.limit_bytes == QUEUE_BYTES_MAX
    await asyncio.gather(*waiting)
    await writer.append(b"again")
    await writer.close()


async def test_a_cancelled_append_disturbs_no_other(log: FileLog) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    futures = appends(writer, range(5))
    await asyncio.sleep(0)
    futures[2].cancel()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results].count(int) == 4
    await writer.close()
    assert await payloads(log) == [b"%d" % number for number in range(5)]


async def test_closing_finishes_what_was_appended(log: FileLog) -> None:
    writer = await log.writer(TOPIC, PARTITION)
    futures = appends(writer, range(20))
    await asyncio.sleep(0)
    await asyncio.gather(writer.close(), writer.close())
    assert all(future.done() for future in futures)
    assert len(await payloads(log)) == 20
