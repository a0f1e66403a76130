"""SpooledLog: what is accepted while the log is away reaches it later, once, in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pithead.contracts.share_log_pb2 import BlockRecord, Login, ShareBatch
from pithead.log import spooled
from pithead.log.codec import decode_batch, encode_batch, encode_block
from pithead.log.errors import LogBroken, LogBusy, LogFull
from pithead.log.share_log import LogWriter
from pithead.log.spool import PARTITION, Spool
from pithead.log.spooled import SpooledLog, SpooledWriter
from tests.support.scripted_log import Mood, ScriptedLog
from tests.unit.log.faults import IO_ERROR, FailingDisk

pytestmark = pytest.mark.gate

SHARES = "shares.pool"
BLOCKS = "blocks.pool"
FIRST, SECOND, THIRD = (bytes([number]) * 16 for number in (1, 2, 3))
BYTES_MAX = 1 << 20

MOODS_AWAY = [Mood.AWAY, Mood.HANGING, Mood.DEAF, Mood.LOSING, Mood.BROKEN]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of patience become fractions; what is tested is their order."""
    monkeypatch.setattr(spooled, "SPOOL_AFTER_S", 0.05)
    monkeypatch.setattr(spooled, "OPEN_S", 0.05)
    monkeypatch.setattr(spooled, "DRAIN_S", 0.3)
    monkeypatch.setattr(spooled, "SWITCH_S", 0.3)
    monkeypatch.setattr(spooled, "RETRY_S_MIN", 0.01)
    monkeypatch.setattr(spooled, "RETRY_S_MAX", 0.02)


def batch(producer: bytes, sequence: int, *, end: bool = False, size: int = 0) -> bytes:
    return encode_batch(
        ShareBatch(
            producer=producer,
            sequence=sequence,
            promise=100 + sequence,
            pool="pool",
            coin="devchain/regtest",
            region="eu" + "x" * size,
            time_base_ms=1_000 + sequence,
            end=end,
        )
    )


def block(producer: bytes, sequence: int) -> bytes:
    return encode_block(
        BlockRecord(
            producer=producer,
            sequence=sequence,
            pool="pool",
            coin="devchain/regtest",
            region="eu",
            hash=bytes(32),
            parent=bytes(32),
            extranonce1=bytes(5),
            block=bytes(80),
            login=Login(account="a"),
            found_ms=5_000,
        )
    )


def spooled_log(
    log: ScriptedLog, root: Path, producer: bytes, bytes_max: int = BYTES_MAX
) -> SpooledLog:
    return SpooledLog(log, root, producer, (SHARES, BLOCKS), bytes_max=bytes_max)


@asynccontextmanager
async def process(
    log: ScriptedLog, root: Path, producer: bytes, bytes_max: int = BYTES_MAX
) -> AsyncIterator[tuple[SpooledLog, SpooledWriter]]:
    """One edge process' log, for the length of the context."""
    opened = spooled_log(log, root, producer, bytes_max)
    try:
        yield opened, await opened.writer(SHARES, "")
    finally:
        await opened.close()


def arrived(log: ScriptedLog) -> list[tuple[bytes, int]]:
    """First arrivals of share batches, as readers would count them."""
    seen: dict[tuple[bytes, int], bytes] = {}
    for topic, payload in log.arrived:
        if topic != SHARES:
            continue
        read = decode_batch(payload)
        key = (read.producer, read.sequence)
        assert seen.setdefault(key, payload) == payload, "a number keeps its bytes"
    return list(seen)


async def until_emptied(log: SpooledLog) -> None:
    async with asyncio.timeout(5):
        await log.emptied()


async def test_while_the_log_answers_records_go_straight_there(tmp_path: Path) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (opened, writer):
        assert [await writer.append(batch(FIRST, number)) for number in range(3)] == [1, 2, 3]
        assert not opened.state().spooling
        assert opened.state().records == 0
    assert arrived(log) == [(FIRST, 0), (FIRST, 1), (FIRST, 2)]


@pytest.mark.parametrize("mood", MOODS_AWAY, ids=lambda mood: mood.name.lower())
async def test_an_outage_is_heard_by_nobody_and_drained_in_order(
    tmp_path: Path, mood: Mood
) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (opened, writer):
        await writer.append(batch(FIRST, 0))
        log.mood = mood
        for number in range(1, 5):
            await writer.append(batch(FIRST, number))
        state = opened.state()
        assert state.spooling
        assert state.trouble
        assert state.records == 4
        assert state.bytes > 0
        assert state.oldest_ms == 1_001
        log.mood = Mood.WELL
        await until_emptied(opened)
        assert opened.state().records == opened.state().bytes == 0
        await writer.append(batch(FIRST, 5))
    assert arrived(log) == [(FIRST, number) for number in range(6)]


async def test_nothing_is_sent_past_a_spool_that_is_not_empty(tmp_path: Path) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (opened, writer):
        log.mood = Mood.AWAY
        for number in range(50):
            await writer.append(batch(FIRST, number))
            if number == 20:
                log.mood = Mood.WELL
        await until_emptied(opened)
    assert arrived(log) == [(FIRST, number) for number in range(50)]


async def test_the_switch_is_quicker_than_miners_are_patient() -> None:
    from pithead.stratum import batcher

    assert batcher.HOLD_MS >= 1000 * 1.5


async def test_a_process_that_begins_with_the_log_away_begins_in_the_spool(tmp_path: Path) -> None:
    log = ScriptedLog(partitions=4)
    log.mood = Mood.AWAY
    async with process(log, tmp_path, THIRD) as (opened, writer):
        await writer.append(batch(THIRD, 0))
        assert arrived(log) == []
        log.mood = Mood.WELL
        await until_emptied(opened)
        await writer.append(batch(THIRD, 1))
    assert log.records[SHARES, "3"] == [batch(THIRD, 0), batch(THIRD, 1)]


@pytest.mark.parametrize("away", [False, True], ids=["log-there", "log-away"])
async def test_a_left_spool_is_adopted_and_ended_before_anything_else(
    tmp_path: Path, away: bool
) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (_, writer):
        await writer.append(batch(FIRST, 0))
        log.mood = Mood.AWAY
        await writer.append(batch(FIRST, 1))
        await writer.append(batch(FIRST, 2))
    log.mood = Mood.AWAY if away else Mood.WELL
    async with process(log, tmp_path, SECOND) as (opened, writer):
        await writer.append(batch(SECOND, 0))
        log.mood = Mood.WELL
        await until_emptied(opened)
        await writer.append(batch(SECOND, 1))
    assert arrived(log) == [
        *((FIRST, number) for number in range(4)),
        (SECOND, 0),
        (SECOND, 1),
    ]
    ends = [decode_batch(payload) for _, payload in log.arrived if decode_batch(payload).end]
    assert [(each.producer, each.sequence, each.promise) for each in ends] == [(FIRST, 3, 102)]


async def test_spools_of_several_dead_processes_go_out_one_after_the_other(tmp_path: Path) -> None:
    log = ScriptedLog(partitions=2)
    log.mood = Mood.AWAY
    for producer in (FIRST, SECOND):
        async with process(log, tmp_path, producer) as (_, writer):
            for number in range(3):
                await writer.append(batch(producer, number))
    log.mood = Mood.WELL
    async with process(log, tmp_path, THIRD) as (opened, writer):
        await writer.append(batch(THIRD, 0))
        await until_emptied(opened)
    assert arrived(log) == [
        *((FIRST, number) for number in range(4)),
        *((SECOND, number) for number in range(4)),
        (THIRD, 0),
    ]


async def test_an_ended_producer_is_not_ended_again(tmp_path: Path) -> None:
    log = ScriptedLog()
    log.mood = Mood.AWAY
    async with process(log, tmp_path, FIRST) as (_, writer):
        await writer.append(batch(FIRST, 0))
        await writer.append(batch(FIRST, 1, end=True))
    log.mood = Mood.WELL
    async with process(log, tmp_path, SECOND) as (opened, _):
        await until_emptied(opened)
    assert arrived(log) == [(FIRST, 0), (FIRST, 1)]


async def test_an_emptied_spool_is_nobodys_inheritance(tmp_path: Path) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (opened, writer):
        log.mood = Mood.AWAY
        await writer.append(batch(FIRST, 0))
        log.mood = Mood.WELL
        await until_emptied(opened)
        await writer.append(batch(FIRST, 1))
    async with process(log, tmp_path, SECOND) as (opened, writer):
        await until_emptied(opened)
        await writer.append(batch(SECOND, 0))
    assert arrived(log) == [(FIRST, 0), (FIRST, 1), (SECOND, 0)], "no end for a producer that wrote"


async def test_a_producer_keeps_its_partition_when_there_are_more_of_them(tmp_path: Path) -> None:
    log = ScriptedLog(partitions=2)
    async with process(log, tmp_path, THIRD) as (_, writer):
        await writer.append(batch(THIRD, 0))
        log.mood = Mood.AWAY
        await writer.append(batch(THIRD, 1))
    log.mood, log.partitions = Mood.WELL, 8
    async with process(log, tmp_path, SECOND) as (opened, _):
        await until_emptied(opened)
    assert [decode_batch(each).sequence for each in log.records[SHARES, "1"]] == [0, 1, 2]
    assert log.records[SHARES, "3"] == []


async def test_blocks_of_a_left_spool_go_out_although_none_is_found(tmp_path: Path) -> None:
    log = ScriptedLog()
    log.mood = Mood.AWAY
    opened = spooled_log(log, tmp_path, FIRST)
    writer = await opened.writer(BLOCKS, "")
    await asyncio.gather(*(writer.append(block(FIRST, number)) for number in range(3)))
    assert opened.state().oldest_ms == 5_000
    await opened.close()
    log.mood = Mood.WELL
    async with process(log, tmp_path, SECOND) as (opened, _):
        await until_emptied(opened)
    assert log.records[BLOCKS, "0"] == [block(FIRST, number) for number in range(3)]


async def test_a_full_spool_refuses_shares_but_no_block_and_has_room_again(tmp_path: Path) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST, bytes_max=6_400) as (opened, writer):
        log.mood = Mood.AWAY
        sequence = 0
        while not opened.state().full:
            await writer.append(batch(FIRST, sequence, size=200))
            sequence += 1
        assert opened.state().bytes < 6_400, "told before it is too late for promises"
        while opened.state().bytes < 6_350:
            await writer.append(batch(FIRST, sequence))
            sequence += 1
        with pytest.raises(LogFull, match="the bound is 6400"):
            await writer.append(batch(FIRST, sequence))
        assert opened.state().full
        blocks = await opened.writer(BLOCKS, "")
        await blocks.append(block(FIRST, 0))
        log.mood = Mood.WELL
        await until_emptied(opened)
        assert not opened.state().full
        await writer.append(batch(FIRST, sequence, size=200))
    assert arrived(log) == [(FIRST, number) for number in range(sequence + 1)]


async def test_a_log_at_its_bound_is_not_got_round(tmp_path: Path) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (opened, writer):
        await writer.append(batch(FIRST, 0))
        log.mood = Mood.FULL
        with pytest.raises(LogFull):
            await writer.append(batch(FIRST, 1))
        assert not opened.state().spooling


async def test_a_spool_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST):
        second = spooled_log(log, tmp_path, SECOND)
        with pytest.raises(LogBusy):
            await second.writer(SHARES, "")
        await second.close()


async def test_a_spool_whose_disk_failed_is_opened_anew(tmp_path: Path) -> None:
    log, disk = ScriptedLog(), FailingDisk()
    opened = SpooledLog(log, tmp_path, FIRST, (SHARES, BLOCKS), bytes_max=BYTES_MAX, disk=disk)
    log.mood = Mood.AWAY
    writer = await opened.writer(SHARES, "")
    await writer.append(batch(FIRST, 0))
    disk.sync_errno = IO_ERROR
    with pytest.raises(LogBroken):
        await writer.append(batch(FIRST, 1))
    await writer.close()
    writer = await opened.writer(SHARES, "")
    await writer.append(batch(FIRST, 1))
    log.mood = Mood.WELL
    await until_emptied(opened)
    await opened.close()
    assert arrived(log) == [(FIRST, 0), (FIRST, 1)], "an own producer is not ended by itself"


async def test_what_was_drained_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pithead.log.spool.CHUNK_BYTES", 4_000)
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (opened, writer):
        log.mood = Mood.AWAY
        for number in range(100):
            await writer.append(batch(FIRST, number, size=200))
        chunks = list((tmp_path / SHARES / PARTITION).glob("*.chunk"))
        assert len(chunks) > 3
        log.mood = Mood.WELL
        await until_emptied(opened)
    assert len(list((tmp_path / SHARES / PARTITION).glob("*.chunk"))) == 1


async def test_a_drain_under_load_ends(tmp_path: Path) -> None:
    log = ScriptedLog()
    async with process(log, tmp_path, FIRST) as (opened, writer):
        log.mood = Mood.AWAY
        sequence = 0
        for sequence in range(20):
            await writer.append(batch(FIRST, sequence))
        log.mood = Mood.WELL
        async with asyncio.timeout(5):
            while opened.state().spooling:
                sequence += 1
                await writer.append(batch(FIRST, sequence))
    assert arrived(log) == [(FIRST, number) for number in range(sequence + 1)]


async def test_a_spool_is_looked_at_from_where_it_was_drained(tmp_path: Path) -> None:
    spool = await Spool.opened(tmp_path, SHARES, FIRST)
    for number in range(4):
        await spool.append(batch(FIRST, number))
    records = await spool.peek(1 << 20)
    await spool.drained(records[:2])
    await spool.close()
    again = await Spool.opened(tmp_path, SHARES, FIRST)
    assert again.records == 2
    assert again.producers == [FIRST]
    assert [record.payload for record in await again.peek(1 << 20)] == [
        batch(FIRST, 2),
        batch(FIRST, 3),
    ]
    await again.close()


async def test_an_empty_spool_is_waited_for_by_nobody(tmp_path: Path) -> None:
    log = ScriptedLog()
    log.mood = Mood.AWAY
    opened = spooled_log(log, tmp_path, FIRST)
    await asyncio.gather(opened.writer(SHARES, ""), opened.writer(BLOCKS, ""))
    async with asyncio.timeout(1):
        await opened.emptied()
    await opened.close()


async def test_a_slip_in_the_drain_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ScriptedLog()
    log.mood = Mood.AWAY
    async with process(log, tmp_path, FIRST) as (_, writer):
        await writer.append(batch(FIRST, 0))

        async def slip(_topic: str, _partition: str) -> LogWriter:
            raise ZeroDivisionError

        monkeypatch.setattr(log, "writer", slip)
        log.mood = Mood.WELL
        await asyncio.sleep(0.1)
        with pytest.raises(ZeroDivisionError):
            await writer.append(batch(FIRST, 1))
