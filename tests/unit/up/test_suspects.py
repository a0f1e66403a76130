"""What people read of checks and of withholding."""

import pytest

from pithead.contracts import accounting_pb2 as pb
from pithead.up.suspects import (
    TEXT_ROWS_MAX,
    check_lines,
    checks_document,
    withholding_document,
    withholding_lines,
)

pytestmark = pytest.mark.gate

PRODUCER = bytes(range(16))


def test_regions_are_summed_and_only_failing_producers_named() -> None:
    reply = pb.ChecksReply(
        producers=[
            pb.CheckedProducer(
                producer=PRODUCER, region="eu", batches=9, checked=8, failed=2, open=True
            ),
            pb.CheckedProducer(producer=bytes(16), region="eu", batches=5, checked=5),
            pb.CheckedProducer(producer=bytes(16), region="us", batches=1),
        ],
        failures=[
            pb.CheckFailure(
                producer=PRODUCER, sequence=4, region="eu", share=7, fault="work", detail="too high"
            )
        ],
        doubted=[pb.DoubtedValue(segment=3, height=9, value=5, doubt="it claims too much")],
    )
    assert check_lines(checks_document("default.p", reply)) == [
        "default.p:",
        "  region eu: 14 batches, 13 checked, 2 failed",
        "  region us: 1 batches, 0 checked, 0 failed",
        f"  producer {PRODUCER.hex()} in eu: 2 of 8 failed, it is still open",
        f"  batch 4 of {PRODUCER.hex()}: work: too high",
        "  segment 3 at height 9: it claims too much",
    ]


def test_the_report_on_withholding_says_that_somebody_is_always_unlucky() -> None:
    row = pb.WithholdingRow(
        login="addr", found=1, expected=9.123, probability=0.00123, adjusted=0.0369
    )
    reply = pb.WithholdingReply(from_height=12, accounts=30, rows=[row] * (TEXT_ROWS_MAX + 3))
    head, first, *_, last = withholding_lines(withholding_document("default.p", reply))
    assert head.startswith("default.p: 30 accounts from height 12 on; of so many, some are unlucky")
    assert first == "  addr: found 1, expected 9.12; chance 0.0012, of all 0.037"
    assert last == "  and 3 more: -o json lists them"
