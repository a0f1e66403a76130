"""The fee index against its definition, and values that no template could have."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pithead.coins.registry import chain_params
from pithead.shares.fees import INDEX_BLOCKS, doubt, fee_index, fee_indexes, fees_of, issued

pytestmark = pytest.mark.gate

BITCOIN = chain_params("bitcoin", "mainnet")
COIN = 100_000_000


def test_fees_are_what_is_above_the_subsidy_and_never_below_nothing() -> None:
    assert fees_of(51 * COIN, 50 * COIN) == COIN
    assert fees_of(49 * COIN, 50 * COIN) == 0


@given(
    fees=st.builds(
        lambda source, unknown: {
            height: source.randrange(2**50) for height in range(400) if height not in unknown
        },
        st.randoms(use_true_random=False),
        st.sets(st.integers(0, 400), max_size=2),
    ),
    first=st.integers(0, 380),
    count=st.integers(0, 60),
)
@settings(max_examples=40)
def test_every_index_is_the_floor_of_the_mean_of_the_day_before(
    fees: dict[int, int | None], first: int, count: int
) -> None:
    last = first + count
    wanted = {}
    for height in range(first, last + 1):
        day = [fees.get(below) for below in range(height - INDEX_BLOCKS, height)]
        known = [fee for fee in day if fee is not None]
        if len(known) == INDEX_BLOCKS:
            wanted[height] = floor(Fraction(sum(known), INDEX_BLOCKS))
    assert fee_indexes(fees, first, last) == wanted


def test_an_index_waits_for_all_of_its_blocks() -> None:
    fees: dict[int, int | None] = dict.fromkeys(range(INDEX_BLOCKS), 7)
    assert fee_index(fees, INDEX_BLOCKS) == 7
    assert fee_index(fees | {5: 150}, INDEX_BLOCKS) == 7
    assert fee_index(fees | {5: 151}, INDEX_BLOCKS) == 8
    assert fee_index(fees | {5: None}, INDEX_BLOCKS) is None
    assert fee_index(fees, INDEX_BLOCKS - 1) is None
    assert fee_index(fees, INDEX_BLOCKS + 1) is None


def test_what_exists_is_the_sum_of_the_subsidies() -> None:
    regtest = chain_params("bitcoin", "regtest")
    for height in (0, 1, 149, 150, 151, 1000, 20_000):
        assert issued(regtest, height) == sum(regtest.subsidy(below) for below in range(height))
    # 20,999,999.9769 bitcoin, as is well known.
    assert issued(BITCOIN, 10_000_000) == 2_099_999_997_690_000


def test_values_that_cannot_be_are_doubted_and_others_are_not() -> None:
    height, subsidy = 840_000, 312_500_000
    assert doubt(BITCOIN, height, subsidy, None) == ""
    assert doubt(BITCOIN, height, subsidy + 37 * COIN, None) == ""
    assert "below the subsidy" in doubt(BITCOIN, height, subsidy - 1, None)
    existing = issued(BITCOIN, height)
    assert doubt(BITCOIN, height, subsidy + existing, None) == ""
    assert "only" in doubt(BITCOIN, height, subsidy + existing + 1, None)


def test_fees_far_above_what_the_chain_pays_are_doubted() -> None:
    height, subsidy = 840_000, 312_500_000
    assert doubt(BITCOIN, height, subsidy + 10 * COIN, COIN) == ""
    assert "no recent block" in doubt(BITCOIN, height, subsidy + 10 * COIN + 1, COIN)
    # On a chain without fees the first ones are nothing to wonder at.
    assert doubt(BITCOIN, height, 2 * subsidy, 0) == ""
    assert "no recent block" in doubt(BITCOIN, height, 2 * subsidy + 1, 0)
