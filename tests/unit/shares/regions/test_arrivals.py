import pytest

from pithead.contracts.share_log_pb2 import BlockRecord
from pithead.log.chunk import RECORD_BYTES_MAX
from pithead.shares.regions.arrivals import Arrival, judge, topics_of
from pithead.shares.states import INT63_MAX
from tests.support.shares import POOL, make_batch, payload, producer_id

pytestmark = pytest.mark.gate

TOPICS = topics_of([POOL, "default.other"])
SHARES = TOPICS[f"shares.{POOL}"]
BLOCKS = TOPICS[f"blocks.{POOL}"]
BATCH = payload(make_batch(producer_id(1), 0, time_ms=77))


def look(data: bytes, topic: object = SHARES, region: str = "eu", time_ms: int = 5) -> Arrival:
    return judge(
        topic,  # type: ignore[arg-type]
        region,
        position=1,
        next_position=2,
        payload=data,
        time_ms=time_ms,
    )


def test_a_batch_of_the_region_and_pool_is_let_in_with_its_logs_time() -> None:
    assert look(BATCH) == Arrival(1, 2, BATCH, producer=producer_id(1), time_ms=5)
    assert look(BATCH, time_ms=0).time_ms == 77, "the producer's own where the log keeps none"
    assert look(BATCH, time_ms=(1 << 64) - 1).time_ms == INT63_MAX


def test_a_block_tells_its_height() -> None:
    block = BlockRecord(producer=producer_id(1), pool=POOL, region="eu", height=9)
    assert look(block.SerializeToString(), BLOCKS).height == 9


@pytest.mark.parametrize(
    ("data", "topic", "region", "fault"),
    [
        pytest.param(BATCH, SHARES, "us", "region", id="other-region"),
        pytest.param(BATCH, TOPICS["shares.default.other"], "eu", "pool", id="other-pool"),
        pytest.param(b"\xff", SHARES, "eu", "no ShareBatch", id="garbage"),
        pytest.param(b"\xff", BLOCKS, "eu", "no BlockRecord", id="garbage-block"),
        pytest.param(b"", SHARES, "eu", "region", id="empty"),
        pytest.param(bytes(RECORD_BYTES_MAX + 1), SHARES, "eu", "at most", id="too-large"),
        pytest.param(
            payload(make_batch(bytes(16), 0)).replace(b"\x12\x10" + bytes(16), b"\x12\x01\x01"),
            SHARES,
            "eu",
            "producer: 1 bytes",
            id="odd-producer",
        ),
    ],
)
def test_what_can_not_be_told_to_be_the_regions_own_is_at_fault(
    data: bytes, topic: object, region: str, fault: str
) -> None:
    assert fault in look(data, topic, region).fault
