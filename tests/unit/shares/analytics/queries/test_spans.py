"""Spans, buckets and gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.shares.analytics.queries.spans import (
    DAY,
    HOUR,
    MONTH,
    WEEK,
    chart_buckets,
    sums_period,
)

pytestmark = pytest.mark.gate

NOW_S = 1_800_000_123
SPANS = [
    pytest.param(HOUR, 60, id="1h"),
    pytest.param(DAY, 144, id="24h"),
    pytest.param(WEEK, 168, id="7d"),
    pytest.param(MONTH, 120, id="30d"),
]


@pytest.mark.parametrize(("span", "points"), SPANS)
def test_a_chart_ends_with_the_bucket_that_runs(span, points) -> None:  # type: ignore[no-untyped-def]
    buckets = chart_buckets(span, NOW_S)
    assert buckets.points == points
    assert buckets.period.start_s % buckets.step_s == 0
    last_s = buckets.period.start_s + (points - 1) * buckets.step_s
    assert last_s <= NOW_S < last_s + buckets.step_s
    assert buckets.running_s == NOW_S - last_s
    assert buckets.lengths_s.tolist() == [buckets.step_s] * (points - 1) + [NOW_S - last_s]


@pytest.mark.parametrize(("span", "_"), SPANS)
def test_sums_begin_on_a_bucket_of_the_rollup_that_they_are_read_from(span, _) -> None:  # type: ignore[no-untyped-def]
    period = sums_period(span, NOW_S)
    assert period.start_s % span.sums.seconds == 0
    assert span.seconds - span.sums.seconds < period.seconds <= span.seconds


def test_a_bucket_that_has_just_begun_has_a_length() -> None:
    buckets = chart_buckets(HOUR, 1_800_000_000)
    assert buckets.running_s == 1


@given(
    now_s=st.integers(1_700_000_000, 1_900_000_000),
    stored=st.dictionaries(st.integers(-3, 65), st.integers(1, 1 << 40), max_size=20),
)
def test_gaps_are_zero_and_nothing_inside_is_lost(now_s: int, stored: dict[int, int]) -> None:
    buckets = chart_buckets(HOUR, now_s)
    starts = [buckets.period.start_s + place * buckets.step_s for place in stored]
    filled = buckets.fill(starts, np.array(list(stored.values()), np.uint64)).tolist()
    assert filled == [stored.get(place, 0) for place in range(buckets.points)]
