"""The sealing rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.shares.seals import BURIED, Facts, Note, counting_height, passed, sealable

pytestmark = pytest.mark.gate

NOTE = Note(102, {"eu-0": 500, "us-0": 300})


def facts(
    *,
    sealed: int = 90,
    positions: dict[str, int] | None = None,
    promise: int | None = 200,
    pending: int | None = None,
) -> Facts:
    return Facts(sealed, positions or {"eu-0": 500, "us-0": 300}, promise, pending)


@pytest.mark.parametrize(
    ("given_facts", "expected"),
    [
        (facts(), 100),
        (facts(positions={"eu-0": 499, "us-0": 300}), None),
        (facts(positions={"eu-0": 500}), None),
        (facts(positions={"eu-0": 900, "us-0": 900, "ap-0": 1}), 100),
        (facts(promise=98), 97),
        (facts(promise=91), None),
        (facts(promise=0), None),
        (facts(promise=None), 100),
        (facts(pending=95), 94),
        (facts(pending=91), None),
        (facts(sealed=100), None),
    ],
    ids=[
        "all-read",
        "one-byte-short",
        "partition-unread",
        "read-past",
        "promise-limits",
        "promise-at-next",
        "no-template-yet",
        "no-open-producer",
        "undecided-segment",
        "undecided-at-next",
        "sealed-already",
    ],
)
def test_a_height_is_sealed_only_by_the_rule(given_facts: Facts, expected: int | None) -> None:
    assert sealable(NOTE, given_facts) == expected


@given(
    st.integers(0, 50),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    st.integers(0, 50),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    st.none() | st.integers(0, 50),
    st.none() | st.integers(0, 50),
)
def test_no_height_is_sealed_out_of_order_or_too_early(
    node: int,
    ends: dict[str, int],
    sealed: int,
    positions: dict[str, int],
    promise: int | None,
    pending: int | None,
) -> None:
    height = sealable(Note(node, ends), Facts(sealed, positions, promise, pending))
    if height is not None:
        assert sealed < height <= node - BURIED
        assert passed(Note(node, ends), positions)
        assert promise is None or promise > height
        assert pending is None or pending > height


@given(st.integers(0, 100), st.integers(-1, 100))
def test_a_share_always_counts_above_what_is_sealed(height: int, sealed: int) -> None:
    at, seal = counting_height(height, sealed)
    assert at > sealed
    assert (at, seal) == ((height, 0) if height > sealed else (sealed + 1, sealed + 1))
