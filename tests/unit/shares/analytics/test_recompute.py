"""Which stretches of time are counted again on a server without tokens."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pithead.shares.analytics.recompute import SECONDS, SPANS_MAX, spans, statements

pytestmark = pytest.mark.gate

MINUTES = st.lists(st.integers(0, 71_582_787), min_size=1, max_size=200)


@given(MINUTES, st.sampled_from(sorted(SECONDS)))
def test_spans_are_whole_in_order_apart_and_hold_every_minute(
    minutes: list[int], unit: str
) -> None:
    touched = np.unique(np.array(minutes, np.int64))
    found = spans(touched, unit)
    assert len(found) <= SPANS_MAX
    for span in found:
        assert span.start_s % SECONDS[unit] == 0
        assert span.end_s % SECONDS[unit] == 0
        assert span.start_s < span.end_s
    for before, after in itertools.pairwise(found):
        assert before.end_s < after.start_s
    for minute in minutes:
        assert sum(span.start_s <= minute * 60 < span.end_s for span in found) == 1


def test_nothing_touched_is_nothing_to_count() -> None:
    assert spans(np.zeros(0, np.int64), "m") == []
    assert list(statements(1, np.zeros(0, np.int64), 1)) == []


def test_a_rollup_is_counted_after_what_it_is_made_of() -> None:
    texts = list(statements(1, np.array([29_000_000], np.int64), 7))
    targets = [text.split()[2] for text in texts]
    assert targets == [
        "worker_m", "height_m", "worker_h", "worker_d", "account_m", "account_h", "account_d",
        "pool_m", "pool_h", "pool_d", "worker_q",
    ]  # fmt: skip
    assert all("toUInt64(7) AS ver" in text for text in texts)
