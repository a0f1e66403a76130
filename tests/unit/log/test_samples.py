"""The choice of a batch's sample: the same everywhere, inside the batch, evenly spread."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.samples import sampled_share

pytestmark = pytest.mark.gate

PRODUCER = bytes(range(16))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 2), st.integers(1, 100_000))
def test_it_is_a_share_of_the_batch(producer: bytes, sequence: int, shares: int) -> None:
    assert 0 <= sampled_share(producer, sequence, shares) < shares


def test_it_is_what_the_format_says() -> None:
    # sha256 of sixteen bytes and a sequence of eight, big endian, as one number.
    assert [sampled_share(PRODUCER, sequence, 1000) for sequence in (0, 1, 2)] == [65, 58, 722]


def test_it_falls_on_every_share_alike() -> None:
    seen = Counter(sampled_share(PRODUCER, sequence, 10) for sequence in range(5000))
    assert set(seen) == set(range(10))
    assert min(seen.values()) > 400
