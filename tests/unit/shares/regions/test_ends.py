import pytest

from pithead.shares.regions.ends import (
    AWAY_MS,
    STILL_MS,
    Far,
    FarPartition,
    Inquiry,
    expired,
    silent_far,
)
from pithead.shares.seals import SILENT_MS, Heard

pytestmark = pytest.mark.gate


def far(position: int, told_end: int, *, answered: int = 0, log: str = "a", **more: int) -> Far:
    partition = FarPartition(log, position, told_end, "hub", more.pop("hub_position", 5))
    times = {"told_ms": 1000, "moved_ms": 1000, "heard_ms": 0} | more
    return Far("eu", log, answered, partitions={"0": partition}, **times)


def test_a_region_is_past_its_ends_only_after_it_answered_and_was_relayed() -> None:
    inquiry = Inquiry(9, {"eu": 3})
    early = {"eu": far(10, 10, answered=2)}
    assert inquiry.heard(early).waits_for(early, "hub") == ["eu"], "an earlier answer"
    told = {"eu": far(10, 12, answered=3)}
    inquiry = inquiry.heard(told)
    assert inquiry.waits_for(told, "hub") == ["eu"], "told and not relayed"
    moved = {"eu": far(12, 99, answered=7)}
    inquiry = inquiry.heard(moved)
    assert inquiry.waits_for(moved, "hub") == [], "later ends are of no concern"
    assert inquiry.waits_for(moved, "other hub") == ["eu"], "that is another log's past"


def test_ends_of_a_log_that_is_no_more_are_asked_for_again() -> None:
    inquiry = Inquiry(9, {"eu": 3}).heard({"eu": far(5, 12, answered=3)})
    other = {"eu": far(12, 12, answered=0, log="b")}
    inquiry = inquiry.heard(other)
    assert inquiry.waits_for(other, "hub") == ["eu"]
    answered = {"eu": far(12, 20, answered=4, log="b")}
    assert inquiry.heard(answered).told["eu"].ends == {"0": 20}


def test_a_region_is_away_when_it_does_not_answer_or_its_log_stands_still() -> None:
    there = far(0, 0)
    assert not there.away(1000 + AWAY_MS)
    assert there.away(1001 + AWAY_MS)
    standing = far(0, 0, told_ms=1001 + STILL_MS)
    assert standing.away(1001 + STILL_MS)
    assert not standing.away(1000 + STILL_MS)
    assert Far("new").away(1_000_000), "it never came"


def test_nobody_is_waited_for_past_nine_tenths_of_maturity() -> None:
    assert (expired(190, 100), expired(29, 10), expired(5, 100)) == (100, 20, -85)


@pytest.mark.parametrize(
    ("region", "read", "silent"),
    [
        pytest.param(far(9, 9, heard_ms=SILENT_MS + 1), 5, True, id="its-log-went-on"),
        pytest.param(far(9, 9, heard_ms=SILENT_MS), 5, False, id="not-for-long-enough"),
        pytest.param(far(8, 9, heard_ms=SILENT_MS + 1), 5, False, id="not-relayed"),
        pytest.param(far(9, 9, heard_ms=SILENT_MS + 1), 4, False, id="not-counted"),
        pytest.param(
            far(9, 9, heard_ms=SILENT_MS + 1, told_ms=-AWAY_MS), 5, False, id="region-away"
        ),
    ],
)
def test_a_producer_is_silent_when_its_partition_is_read_and_its_regions_log_went_on(
    region: Far, read: int, silent: bool
) -> None:
    heard = Heard(b"p", "eu", "0", 0)
    found = silent_far([heard], {"eu": region}, {"0": read}, hub_log="hub", now_ms=1000)
    assert [each.heard for each in found] == ([heard] if silent else [])
