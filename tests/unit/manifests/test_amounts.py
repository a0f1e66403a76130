"""Exact conversions, checked against Decimal."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.manifests.amounts import (
    AmountError,
    base_units,
    difficulty,
    hashrate_text,
    ppm_of_factor,
    ppm_of_percent,
    scaled,
)

pytestmark = pytest.mark.gate

decimals = st.from_regex(
    r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?", fullmatch=True, alphabet="0.123456789"
)


@given(decimals)
def test_coins_become_base_units_exactly(text: str) -> None:
    assert base_units(text, 8) == Decimal(text) * 10**8


@given(decimals, st.integers(0, 12))
def test_scaling_is_exact_or_refused(text: str, places: int) -> None:
    exact = Decimal(text).scaleb(places)
    if exact == exact.to_integral_value():
        assert scaled(text, places) == exact
    else:
        with pytest.raises(AmountError, match=f"{text} has more than {places} decimal places"):
            scaled(text, places)


@pytest.mark.parametrize(
    ("text", "ppm"), [("0", 0), ("1", 10_000), ("1.25", 12_500), ("99.9999", 999_999)]
)
def test_percent_becomes_parts_per_million(text: str, ppm: int) -> None:
    assert ppm_of_percent(text) == ppm


@pytest.mark.parametrize(("text", "ppm"), [("2", 2_000_000), ("0.000001", 1), ("2.5", 2_500_000)])
def test_factor_becomes_parts_per_million(text: str, ppm: int) -> None:
    assert ppm_of_factor(text) == ppm


def test_zeros_behind_the_last_place_are_not_lost_money() -> None:
    assert base_units("1.500000000000", 8) == 150_000_000


def test_difficulty_keeps_all_its_places() -> None:
    assert difficulty("0.000000000000000001") == Decimal(1).scaleb(-18)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0 H/s"),
        (7, "7 H/s"),
        (999, "999 H/s"),
        (1000, "1 kH/s"),
        (1_999, "1.99 kH/s"),
        (1_234_567_890, "1.23 GH/s"),
        (12_345_000_000, "12.3 GH/s"),
        (123_456_000_000, "123 GH/s"),
        (10**12, "1 TH/s"),
        (1_050_000, "1.05 MH/s"),
        (10**26, "100000 ZH/s"),
    ],
)
def test_hash_rates_are_shown_with_three_digits(rate: int, text: str) -> None:
    assert hashrate_text(rate) == text
