"""PPLNS against an independent judge in exact fractions, and conservation as a law."""

import time
from fractions import Fraction
from math import floor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.rewards.pplns import SCHEME, WEIGHT_MAX, Pplns
from pithead.rewards.scheme import PPM, ParametersRefused, Split, Window, WindowCell

pytestmark = pytest.mark.gate

AMOUNT_MAX = 2**50
WEIGHTS = st.integers(0, 2**70)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    accounts = draw(st.lists(st.integers(1, 2**63), max_size=12, unique=True))
    cells = tuple(WindowCell(account, draw(WEIGHTS), draw(WEIGHTS)) for account in accounts)
    whole = sum(cell.last for cell in cells)
    if not whole:
        cells = ()
    needed = draw(st.integers(0, whole))
    return Window(cells, whole, needed)


def judged(value: int, carried: int, fee_ppm: int, window: Window) -> tuple[int, dict[int, int]]:
    """The rule of the design in fractions: what of the last group is not needed counts r / G."""
    fee = floor(Fraction(value * fee_ppm, PPM))
    part = Fraction(window.needed, window.group_weight) if window.group_weight else Fraction(0)
    weights = {cell.account: cell.full + cell.last * part for cell in window.cells}
    total = sum(weights.values())
    if not total:
        return fee, {}
    exact = {
        account: (value - fee + carried) * weight / total
        for account, weight in weights.items()
        if weight
    }
    amounts = {account: floor(amount) for account, amount in exact.items()}
    left = value - fee + carried - sum(amounts.values())
    order = sorted(exact, key=lambda account: (amounts[account] - exact[account], account))
    for account in order[:left]:
        amounts[account] += 1
    return fee, amounts


def amounts(split: Split) -> dict[int, int]:
    return {share.account: share.amount for share in split.shares}


@given(st.integers(0, AMOUNT_MAX), st.integers(0, AMOUNT_MAX), st.integers(0, PPM), windows())
def test_a_split_is_what_an_independent_judge_says(
    value: int, carried: int, fee_ppm: int, window: Window
) -> None:
    split = Pplns(fee_ppm, weight=1).split(value, carried, window)
    fee, expected = judged(value, carried, fee_ppm, window)
    assert (split.fee, amounts(split)) == (fee, expected)


@given(st.integers(0, AMOUNT_MAX), st.integers(0, AMOUNT_MAX), st.integers(0, PPM), windows())
def test_credits_fee_and_remainder_are_the_value(
    value: int, carried: int, fee_ppm: int, window: Window
) -> None:
    split = Pplns(fee_ppm, weight=1).split(value, carried, window)
    assert sum(amounts(split).values()) + split.fee + split.remainder == value + carried
    assert all(share.amount >= 0 for share in split.shares)
    split.check()


@given(windows(), st.randoms())
def test_the_order_of_cells_does_not_matter(window: Window, random: Random) -> None:
    cells = list(window.cells)
    random.shuffle(cells)
    again = Window(tuple(cells), window.group_weight, window.needed)
    scheme = Pplns(10_000, weight=1)
    assert scheme.split(10**9, 0, window) == scheme.split(10**9, 0, again)


def test_an_empty_window_leaves_everything_as_remainder() -> None:
    split = Pplns(10_000, weight=5).split(1_000_000, 7, Window((), 0, 0))
    assert (split.fee, split.remainder, split.shares) == (10_000, 990_007, ())


def test_only_the_needed_part_of_the_last_group_counts() -> None:
    # Account 1 has 10 in full groups, account 2 has all 40 of the last, of which 10 are needed.
    window = Window((WindowCell(1, 10, 0), WindowCell(2, 0, 40)), group_weight=40, needed=10)
    split = Pplns(0, weight=20).split(100, 0, window)
    assert amounts(split) == {1: 50, 2: 50}
    assert [share.weight for share in split.shares] == [400, 400]


def test_what_division_leaves_goes_to_the_largest_remainder_then_the_lower_account() -> None:
    window = Window(
        (WindowCell(9, 0, 1), WindowCell(3, 0, 1), WindowCell(5, 0, 1)), group_weight=3, needed=3
    )
    assert amounts(Pplns(0, weight=3).split(5, 0, window)) == {3: 2, 5: 2, 9: 1}
    uneven = Window((WindowCell(1, 0, 1), WindowCell(2, 0, 2)), group_weight=3, needed=3)
    assert amounts(Pplns(0, weight=3).split(2, 0, uneven)) == {1: 1, 2: 1}


def test_the_fee_is_rounded_down() -> None:
    window = Window((WindowCell(1, 0, 1),), 1, 1)
    assert Pplns(15_000, weight=1).split(99, 0, window).fee == 1
    assert Pplns(PPM, weight=1).split(99, 0, window).fee == 99


def test_accounts_without_weight_take_no_part() -> None:
    window = Window((WindowCell(1, 0, 0), WindowCell(2, 3, 1)), 1, 1)
    assert amounts(Pplns(0, weight=1).split(7, 0, window)) == {2: 7}


@pytest.mark.parametrize(
    ("window", "value"),
    [
        pytest.param(Window((), 1, 2), 1, id="needs more than the group has"),
        pytest.param(Window((WindowCell(1, 1, 1),) * 2, 2, 2), 1, id="an account twice"),
        pytest.param(Window((WindowCell(1, -5, 1),), 1, 1), 1, id="negative weight"),
        pytest.param(Window((WindowCell(1, 5, 0),), 0, 0), 1, id="no last group"),
        pytest.param(Window((), 0, 0), -1, id="negative value"),
    ],
)
def test_a_window_that_is_none_is_refused(window: Window, value: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        Pplns(0, weight=1).split(value, 0, window)


def test_the_window_is_measured_in_expected_hashes_shifted_to_weight() -> None:
    scheme = SCHEME.bind('{"fee_ppm":10000,"method":"PPLNS","window":{"factor_ppm":2000000}}')
    assert scheme.window_weight(1 << 40, 16) == 2 << 24
    assert scheme.window_weight(65537, 0) == 131_074
    half = SCHEME.bind('{"fee_ppm":0,"method":"PPLNS","window":{"factor_ppm":500000}}')
    assert half.window_weight(3, 0) == 1
    assert half.window_weight(1, 0) == 1, "a window is never empty"


def test_an_absolute_window_ignores_the_block() -> None:
    scheme = SCHEME.bind('{"fee_ppm":0,"method":"PPLNS","window":{"weight":"200000"}}')
    assert scheme.window_weight(1 << 80, 16) == 200_000


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        pytest.param('{"fee_ppm":1,"method":"PPLNS"}', "", id="no window"),
        pytest.param(
            '{"fee_ppm":1,"method":"PPLNS","window":{"weight":"1"},"x":1}', "", id="unknown key"
        ),
        pytest.param(
            '{"fee_ppm":1,"method":"PPS","window":{"weight":"1"}}', "method", id="other method"
        ),
        pytest.param(
            '{"fee_ppm":1000001,"method":"PPLNS","window":{"weight":"1"}}',
            "fee_ppm",
            id="fee above the whole",
        ),
        pytest.param(
            '{"fee_ppm":-1,"method":"PPLNS","window":{"weight":"1"}}', "fee_ppm", id="negative fee"
        ),
        pytest.param(
            '{"fee_ppm":true,"method":"PPLNS","window":{"weight":"1"}}', "fee_ppm", id="true is 1"
        ),
        pytest.param('{"fee_ppm":1,"method":"PPLNS","window":[]}', "window", id="window a list"),
        pytest.param('{"fee_ppm":1,"method":"PPLNS","window":{}}', "window", id="window empty"),
        pytest.param(
            '{"fee_ppm":1,"method":"PPLNS","window":{"factor_ppm":1,"weight":"1"}}',
            "window",
            id="two windows",
        ),
        pytest.param(
            '{"fee_ppm":1,"method":"PPLNS","window":{"factor_ppm":0}}',
            "window.factor_ppm",
            id="no factor",
        ),
        pytest.param(
            '{"fee_ppm":1,"method":"PPLNS","window":{"weight":1}}',
            "window.weight",
            id="weight a number",
        ),
        pytest.param(
            '{"fee_ppm":1,"method":"PPLNS","window":{"weight":"01"}}',
            "window.weight",
            id="leading zero",
        ),
        pytest.param(
            '{"fee_ppm":1,"method":"PPLNS","window":{"weight":"0"}}',
            "window.weight",
            id="no weight",
        ),
        pytest.param(
            f'{{"fee_ppm":1,"method":"PPLNS","window":{{"weight":"{WEIGHT_MAX + 1}"}}}}',
            "window.weight",
            id="weight above all work",
        ),
    ],
)
def test_parameters_of_another_form_are_refused_with_their_path(parameters: str, path: str) -> None:
    with pytest.raises(ParametersRefused) as refused:
        SCHEME.bind(parameters)
    assert refused.value.path == path


def test_the_largest_weight_is_taken() -> None:
    parameters = f'{{"fee_ppm":1,"method":"PPLNS","window":{{"weight":"{WEIGHT_MAX}"}}}}'
    assert SCHEME.bind(parameters).window_weight(1, 0) == WEIGHT_MAX


def test_a_hundred_thousand_accounts_are_split_within_two_seconds() -> None:
    cells = tuple(WindowCell(n, n * 2**40 + 1, n % 7) for n in range(1, 100_001))
    whole = sum(cell.last for cell in cells)
    window = Window(cells, whole, whole // 3)
    started = time.process_time()
    split = Pplns(10_000, weight=1).split(625_000_000, 0, window)
    assert time.process_time() - started < 2
    assert len(split.shares) == 100_000
