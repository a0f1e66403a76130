"""What headers say of a segment."""

from dataclasses import dataclass

import pytest

from pithead.shares.states import SegmentState
from pithead.shares.verdict import PATIENCE_MS, Header, judge

pytestmark = pytest.mark.gate


@dataclass(frozen=True)
class Known:
    height: int
    confirmations: int = 1
    bits: int = 7


@pytest.mark.parametrize(
    ("parent", "child", "unknown_for_ms", "expected"),
    [
        (None, None, PATIENCE_MS - 1, SegmentState.UNKNOWN),
        (None, None, PATIENCE_MS, SegmentState.DISPUTED),
        (Known(9), None, 0, SegmentState.CONFIRMED),
        (Known(9, 2), Known(10), 0, SegmentState.SETTLED),
        (Known(9, 2), Known(10, bits=8), 0, SegmentState.DISPUTED),
        (Known(9, -1), None, 0, SegmentState.SETTLED),
        (Known(8), None, 0, SegmentState.DISPUTED),
        (Known(10), Known(11), 0, SegmentState.DISPUTED),
    ],
    ids=[
        "not-known-yet",
        "never-known",
        "tip",
        "buried",
        "wrong-bits",
        "stale-fork",
        "too-high",
        "too-low",
    ],
)
def test_a_segment_is_judged_by_the_headers_that_nodes_know(
    parent: Header | None, child: Header | None, unknown_for_ms: int, expected: SegmentState
) -> None:
    state, reason = judge(
        height=10, bits=7, parent=parent, child=child, unknown_for_ms=unknown_for_ms
    )
    assert state is expected
    assert bool(reason) == (state is SegmentState.DISPUTED)
