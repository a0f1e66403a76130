"""What one plan takes of the log, and the same records again."""

import time
from pathlib import Path

import pytest

from pithead.log.reader import FileReader
from pithead.log.share_log import LogRecord
from pithead.log.topics import shares_topic
from pithead.shares.analytics import intake
from pithead.shares.analytics.intake import Intake, Taken, Unrepeatable
from pithead.shares.analytics.plans import Plan
from tests.support.analytics import append
from tests.support.shares import COIN, POOL, Share, make_batch, producer_id

pytestmark = pytest.mark.gate

NOW_MS = int(time.time() * 1000)


class SlowReader(FileReader):
    """Gives nothing for the first reads, as a broker whose answer is still under way."""

    nothing = 0

    async def read(self, partition: str, position: int, bytes_max: int) -> list[LogRecord]:
        if self.nothing:
            self.nothing -= 1
            return []
        return await super().read(partition, position, bytes_max)


async def written(root: Path, count: int = 6) -> SlowReader:
    batches = [
        make_batch(producer_id(1), number, [Share(1, 5, time_ms=NOW_MS)] * 10, time_ms=NOW_MS)
        for number in range(count)
    ]
    await append(root, batches)
    return SlowReader(root / shares_topic(POOL))


def plan_of(taken: Taken, end: int | None = None) -> Plan:
    last = taken.reads[-1].record.next_position if end is None else end
    return Plan(1, "file", NOW_MS, done=False, ranges={"eu-0": (0, last)})


async def test_a_plan_is_read_again_though_its_log_is_slow(tmp_path: Path) -> None:
    reader = await written(tmp_path)
    source = Intake(reader, POOL, COIN)
    taken = await source.next({})
    reader.nothing = 3
    again = await source.again(plan_of(taken))
    assert [read.record for read in again] == [read.record for read in taken.reads]
    await reader.close()


async def test_a_plan_whose_log_ends_before_it_can_not_be_repeated(tmp_path: Path) -> None:
    reader = await written(tmp_path)
    source = Intake(reader, POOL, COIN)
    taken = await source.next({})
    end = taken.reads[-1].record.next_position
    with pytest.raises(Unrepeatable, match="ends at"):
        await source.again(plan_of(taken, end + 1))
    await reader.close()


@pytest.mark.parametrize(
    ("bound", "value", "records"),
    [("ROWS_MAX", 25, 2), ("RECORDS_MAX", 4, 4), ("BYTES_MAX", 1, 1)],
    ids=["rows", "records", "bytes"],
)
async def test_a_plan_takes_no_more_than_its_bounds_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, records: int
) -> None:
    monkeypatch.setattr(intake, bound, value)
    reader = await written(tmp_path)
    taken = await Intake(reader, POOL, COIN).next({})
    assert (len(taken.reads), taken.more) == (records, True)
    await reader.close()


async def test_a_backlog_of_one_partition_does_not_hold_up_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "RECORDS_MAX", 4)
    reader = await written(tmp_path, count=9)
    await append(tmp_path, [make_batch(producer_id(2), 0, time_ms=NOW_MS)], partition="us-0")
    source = Intake(reader, POOL, COIN)
    first = await source.next({})
    assert {read.partition for read in first.reads} == {"eu-0"}
    second = await source.next({"eu-0": first.reads[-1].record.next_position})
    assert {read.partition for read in second.reads} == {"eu-0", "us-0"}
    await reader.close()
