"""One poll's reads: bounded, fair among partitions, and stopped where something is unknown."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.errors import LogTruncated
from pithead.log.file_log import FileLog
from pithead.log.share_log import LogReader, LogRecord
from pithead.log.topics import FORMAT, FORMATS_BACK, shares_topic
from pithead.shares import gather
from pithead.shares.fold import BATCH_WEIGHT_MAX, WEIGHT_SUM_MAX, Ints
from pithead.shares.gather import Gatherer
from pithead.shares.pools import Pool
from pithead.shares.records import Aside, Entry
from pithead.shares.slots import SlotRevision, SlotTable
from tests.support.shares import COIN, PARAMS, POOL, Share, make_batch, payload, producer_id

pytestmark = pytest.mark.gate

TABLE = SlotTable([SlotRevision(1, 0, "pplns", "aa", 1)])


class Everybody:
    """Knows every account and no producer."""

    def account_ids(self, logins: Sequence[str]) -> Ints:
        return np.ones(len(logins), np.int64)

    def is_ours(self, producer: bytes) -> bool:
        return False


def gatherer(reader: LogReader) -> Gatherer:
    return Gatherer(reader, Pool(1, POOL, COIN, PARAMS, TABLE), Everybody())


async def filled(directory: Path, records: dict[str, list[bytes]]) -> LogReader:
    log = FileLog(directory)
    for partition, payloads in records.items():
        writer = await log.writer(shares_topic(POOL), partition)
        for data in payloads:
            await writer.append(data)
        await writer.close()
    return log.reader(shares_topic(POOL))


def batches(number: int, count: int, *, weight: int = 1, slot: int = 0) -> list[bytes]:
    shares = [Share(1, 20, weight=weight, slot=slot)]
    return [payload(make_batch(producer_id(number), index, shares)) for index in range(count)]


async def test_all_that_is_new_comes_at_once_when_it_fits(tmp_path: Path) -> None:
    reader = await filled(tmp_path, {"a": batches(1, 3), "b": [*batches(2, 2), b"garbage"]})
    found = await gatherer(reader).gather({"a": 0, "b": 0})
    entries = [(read.partition, type(read)) for read in found.reads]
    assert sorted(entries, key=str) == [
        ("a", Entry),
        ("a", Entry),
        ("a", Entry),
        ("b", Aside),
        ("b", Entry),
        ("b", Entry),
    ]
    assert not found.full
    assert found.moves == {name: await reader.end(name) for name in ("a", "b")}
    again = await gatherer(reader).gather(found.moves)
    assert (again.reads, again.moves) == ([], {})


async def test_a_poll_is_bounded_and_partitions_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(batches(1, 2)[1])
    monkeypatch.setattr(gather, "PIECE_BYTES_MAX", 1)
    monkeypatch.setattr(gather, "POLL_BYTES_MAX", 3 * size + 1)
    reader = await filled(tmp_path, {name: batches(1, 9) for name in "abc"})
    positions = dict.fromkeys("abc", 0)
    reading = gatherer(reader)
    turns = []
    for _ in range(3):
        found = await reading.gather(positions)
        assert found.full
        assert found.size_bytes <= 5 * size
        turns += [read.partition for read in found.reads]
        positions |= found.moves
    assert "".join(turns) == "abcabcabcabc"


async def test_an_unknown_slot_stops_its_partition_and_no_other(tmp_path: Path) -> None:
    reader = await filled(
        tmp_path, {"a": [*batches(1, 2), *batches(3, 1, slot=9)], "b": batches(2, 2)}
    )
    found = await gatherer(reader).gather({"a": 0, "b": 0})
    assert [read.partition for read in found.reads] == ["a", "a", "b", "b"]
    assert found.moves["a"] < await reader.end("a")


@pytest.mark.parametrize(
    ("ahead", "read"),
    [
        pytest.param(1, ["a", "b", "b"], id="the-next-release"),
        pytest.param(FORMATS_BACK, ["a", "b", "b"], id="the-last-that-is-believed"),
        pytest.param(FORMATS_BACK + 1, ["a", "a", "a", "b", "b"], id="garbage"),
    ],
)
async def test_a_batch_of_a_later_release_stops_its_partition_until_the_upgrade(
    tmp_path: Path, ahead: int, read: list[str]
) -> None:
    first, second, third = batches(1, 3)
    batch = ShareBatch.FromString(second)
    batch.format = FORMAT + ahead
    reader = await filled(
        tmp_path, {"a": [first, batch.SerializeToString(), third], "b": batches(2, 2)}
    )
    found = await gatherer(reader).gather({"a": 0, "b": 0})
    assert sorted(each.partition for each in found.reads) == read
    assert (found.moves["a"] == await reader.end("a")) == (ahead > FORMATS_BACK)


async def test_weights_that_could_not_be_summed_wait_for_the_next_poll(tmp_path: Path) -> None:
    together = WEIGHT_SUM_MAX // BATCH_WEIGHT_MAX
    reader = await filled(tmp_path, {"a": batches(1, together + 2, weight=BATCH_WEIGHT_MAX)})
    found = await gatherer(reader).gather({"a": 0})
    assert (len(found.reads), found.full) == (together, True)
    assert len((await gatherer(reader).gather(found.moves)).reads) == 2


async def test_a_position_outside_of_its_log_is_told_and_others_go_on(tmp_path: Path) -> None:
    reader = await filled(tmp_path, {"a": batches(1, 2), "b": batches(2, 2)})
    found = await gatherer(reader).gather({"a": 1 << 40, "b": 0})
    assert list(found.lost) == ["a"]
    assert list(found.moves) == ["b"]


async def test_a_loss_in_the_middle_of_a_poll_is_left_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "PIECE_BYTES_MAX", 1)
    reader = await filled(tmp_path, {"a": batches(1, 3)})
    read = reader.read

    async def truncated(partition: str, position: int, bytes_max: int) -> list[LogRecord]:
        if position:
            raise LogTruncated("a", position, position + 1)
        return await read(partition, position, bytes_max)

    monkeypatch.setattr(reader, "read", truncated)
    found = await gatherer(reader).gather({"a": 0})
    assert (len(found.reads), found.lost) == (1, {})
