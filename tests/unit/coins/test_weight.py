"""Weight, target and difficulty: one order in three forms, rounded only in a miner's favour.

The central law: a hash that meets the difficulty we showed meets the target that we check,
whether the miner computes with the number as shown or cuts it to a whole one.
"""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.params import ChainParams
from pithead.coins.weight import (
    TARGET_MAX,
    WeightError,
    bits_to_target,
    difficulty_of_weight,
    expected_hashes,
    fair_weight,
    target_of_weight,
    target_to_bits,
    weight_of_difficulty,
    weight_of_target,
)
from tests.unit.coins.strategies import BTC, CHAINS, DVC, LTC_REGTEST

pytestmark = pytest.mark.gate

chains = st.sampled_from(CHAINS)
weights = st.one_of(st.integers(1, 1 << 20), st.integers(1, 1 << 63))
targets = st.one_of(st.integers(0, TARGET_MAX), st.integers(0, 255).map(lambda n: (1 << n) - 1))
shifts = st.sampled_from([0, 16, 32])


@given(weights, shifts)
def test_weight_survives_the_way_through_its_target(weight: int, shift: int) -> None:
    if weight << shift < 1 << 96:
        # Far below 2^128 targets are dense enough to tell any two weights apart.
        assert weight_of_target(target_of_weight(weight, shift), shift) == weight
    assert weight_of_target(target_of_weight(weight, shift), shift) >= weight


@given(weights, targets, shifts)
def test_weight_and_target_are_two_ends_of_one_order(weight: int, target: int, shift: int) -> None:
    meets = target_of_weight(weight, shift) >= target
    assert meets == (weight <= weight_of_target(target, shift))


@given(weights, chains)
def test_meeting_the_shown_difficulty_meets_our_target(weight: int, params: ChainParams) -> None:
    shown = Fraction(difficulty_of_weight(weight, params))
    hardest_allowed = params.diff1_target * shown.denominator // shown.numerator
    assert hardest_allowed <= target_of_weight(weight, params.shift)


@given(weights, chains)
def test_cutting_off_the_fraction_meets_our_target_too(weight: int, params: ChainParams) -> None:
    shown = difficulty_of_weight(weight, params)
    if shown >= 1:
        assert params.diff1_target // int(shown) <= target_of_weight(weight, params.shift)
        assert shown == int(shown)


@given(weights, chains)
def test_a_miner_that_computes_in_doubles_meets_our_target(
    weight: int, params: ChainParams
) -> None:
    shown = difficulty_of_weight(weight, params)
    if shown < 1:
        assert int(float(params.diff1_target) / shown) <= target_of_weight(weight, params.shift)


@given(st.integers(1, 1 << 40), chains)
def test_whole_difficulty_is_shown_as_it_was_asked_for(
    difficulty: int, params: ChainParams
) -> None:
    weight = weight_of_difficulty(difficulty, params)
    assert difficulty_of_weight(weight, params) == difficulty


@given(st.integers(1, 1 << 40), chains)
def test_whole_difficulty_costs_less_than_one_unit_of_weight(
    difficulty: int, params: ChainParams
) -> None:
    worked = expected_hashes(params.diff1_target // difficulty)
    credited = weight_of_difficulty(difficulty, params) << params.shift
    assert 0 <= worked - credited < 1 << params.shift


@given(weights, chains)
def test_fair_weight_is_credited_for_all_that_is_shown(weight: int, params: ChainParams) -> None:
    fair = fair_weight(weight, params)
    assert fair >= weight
    assert fair_weight(fair, params) == fair
    shown = difficulty_of_weight(fair, params)
    if shown >= 1:
        assert shown == difficulty_of_weight(weight, params)
        worked = expected_hashes(params.diff1_target // int(shown))
        assert worked - (fair << params.shift) < 1 << params.shift


@given(weights, weights, chains)
def test_more_weight_never_shows_less_difficulty(one: int, other: int, params: ChainParams) -> None:
    low, high = sorted((one, other))
    assert difficulty_of_weight(low, params) <= difficulty_of_weight(high, params)


def test_difficulty_one_is_what_the_field_says() -> None:
    # 2^32 x 65536/65535 hashes on Bitcoin, 65,536 times fewer on scrypt coins.
    assert weight_of_difficulty(1, DVC) == 4_295_032_833
    assert weight_of_difficulty(1, LTC_REGTEST) == 65_537
    assert weight_of_difficulty(1, BTC) == 1


def test_fractional_difficulty_is_taken_exactly() -> None:
    assert weight_of_difficulty("0.5", LTC_REGTEST) == 32_768
    assert weight_of_difficulty(Decimal("0.5"), LTC_REGTEST) == 32_768
    assert weight_of_difficulty(0.5, LTC_REGTEST) == 32_768


def test_difficulty_below_one_unit_of_weight_becomes_one_unit() -> None:
    assert weight_of_difficulty("0.001", BTC) == 1
    assert weight_of_difficulty("1e-80", LTC_REGTEST) == 1


@pytest.mark.parametrize(
    "text", ["", "x", "nan", "inf", "-1", "0", "-0", "1e999999999", "1e-999999999", "1e79"]
)
def test_absurd_difficulty_is_refused(text: str) -> None:
    with pytest.raises(WeightError):
        weight_of_difficulty(text, LTC_REGTEST)


@given(st.text(max_size=60))
def test_any_difficulty_text_gives_a_weight_or_a_refusal(text: str) -> None:
    try:
        assert weight_of_difficulty(text, LTC_REGTEST) >= 1
    except WeightError:
        return


@pytest.mark.parametrize("weight", [0, -1, 1 << 256])
def test_weight_without_a_target_is_refused(weight: int) -> None:
    with pytest.raises(WeightError):
        target_of_weight(weight, 0)


def test_the_least_weight_is_met_by_every_hash() -> None:
    assert target_of_weight(1, 0) == TARGET_MAX
    assert expected_hashes(TARGET_MAX) == 1
    with pytest.raises(WeightError):
        expected_hashes(TARGET_MAX + 1)


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        pytest.param(0x1D00FFFF, 0xFFFF << 208, id="bitcoin limit"),
        pytest.param(0x1B0404CB, 0x0404CB << 192, id="wiki example"),
        pytest.param(0x207FFFFF, 0x7FFFFF << 232, id="regtest"),
        pytest.param(0x1E0FFFF0, 0x0FFFF0 << 216, id="litecoin genesis"),
        pytest.param(0x05009234, 0x92340000, id="mantissa near sign"),
        pytest.param(0x04123456, 0x12345600, id="core test"),
        pytest.param(0x02008000, 0x80, id="short"),
        pytest.param(0x01120000, 0x12, id="one byte"),
    ],
)
def test_compact_target_expands_as_consensus_says(bits: int, target: int) -> None:
    assert bits_to_target(bits) == target
    assert target_to_bits(target) == bits


@pytest.mark.parametrize(
    "bits",
    [
        pytest.param(0, id="zero"),
        pytest.param(0x01003456, id="shifted to zero"),
        pytest.param(0x04923456, id="negative"),
        pytest.param(0xFF123456, id="overflow"),
        pytest.param(0x23000100, id="just above 2^256"),
        pytest.param(1 << 32, id="beyond 32 bits"),
        pytest.param(-1, id="below zero"),
    ],
)
def test_compact_target_that_consensus_refuses_is_refused(bits: int) -> None:
    with pytest.raises(WeightError):
        bits_to_target(bits)


@given(st.integers(1, TARGET_MAX))
def test_compact_form_is_the_nearest_target_not_above(target: int) -> None:
    bits = target_to_bits(target)
    near = bits_to_target(bits)
    assert near <= target
    assert target_to_bits(near) == bits
    # At least 15 bits of the mantissa are significant.
    assert target - near <= target >> 15


@given(st.integers(0, 0xFFFFFFFF))
def test_any_compact_number_gives_a_target_or_a_refusal(bits: int) -> None:
    try:
        assert 0 < bits_to_target(bits) <= TARGET_MAX
    except WeightError:
        return


@pytest.mark.parametrize("target", [0, -1, TARGET_MAX + 1])
def test_target_outside_256_bits_has_no_compact_form(target: int) -> None:
    with pytest.raises(WeightError):
        target_to_bits(target)
