"""Blocks found against blocks expected: exact means, and Poisson's tables."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.weight import bits_to_target, target_of_weight
from pithead.shares.withholding import (
    Record,
    Work,
    expected_blocks,
    poisson_at_most,
    suspicions,
)

pytestmark = pytest.mark.gate

BITS = 0x1D00FFFF
"""Difficulty 1: 2^32 hashes and a few a block."""

# Cumulative probabilities as printed in tables of the Poisson distribution.
TABLE = [
    (0, 0.1, "0.9048"),
    (1, 0.5, "0.9098"),
    (0, 1.0, "0.3679"),
    (1, 1.0, "0.7358"),
    (2, 1.0, "0.9197"),
    (0, 2.0, "0.1353"),
    (3, 2.0, "0.8571"),
    (2, 3.0, "0.4232"),
    (5, 3.0, "0.9161"),
    (4, 5.0, "0.4405"),
    (0, 5.0, "0.0067"),
    (10, 5.0, "0.9863"),
    (5, 10.0, "0.0671"),
    (10, 10.0, "0.5830"),
    (15, 10.0, "0.9513"),
    (14, 20.0, "0.1049"),
    (20, 20.0, "0.5591"),
]


@pytest.mark.parametrize(("found", "mean", "printed"), TABLE)
def test_probabilities_are_those_of_the_tables(found: int, mean: float, printed: str) -> None:
    assert f"{poisson_at_most(found, mean):.4f}" == printed


@given(st.integers(0, 400), st.integers(0, 40_000))
def test_probabilities_are_right_to_eleven_digits(found: int, hundredths: int) -> None:
    with localcontext() as context:
        context.prec = 60
        mean = Decimal(hundredths) / 100
        term = total = Decimal(1)
        for count in range(1, found + 1):
            term *= mean / count
            total += term
        exact = total * (-mean).exp()
    computed = poisson_at_most(found, hundredths / 100)
    assert computed == pytest.approx(float(exact), rel=1e-11, abs=1e-15)


@given(st.integers(0, 10**6), st.floats(0, 10**6))
def test_more_found_is_never_less_likely_and_more_expected_never_more(
    found: int, mean: float
) -> None:
    here = poisson_at_most(found, mean)
    assert 0 <= here <= 1
    assert here <= poisson_at_most(found + 1, mean) * (1 + 1e-9)
    assert poisson_at_most(found, mean * 1.01 + 0.01) <= here * (1 + 1e-9) + 1e-12


def test_the_expected_number_is_exact() -> None:
    quantum = bits_to_target(BITS) + 1
    work = {BITS: Work(weight=7, shares=3), 0x1C00FFFF: Work(weight=1 << 60, shares=1 << 60)}
    wanted = Fraction(7 << 32, 1) * quantum / 2**256
    wanted += Fraction(1 << 92, 1) * (bits_to_target(0x1C00FFFF) + 1) / 2**256
    assert expected_blocks({BITS: work[BITS]}, 32) == Fraction(3)
    assert expected_blocks({BITS: Work(7, 9)}, 32) == Fraction(7 << 32) * quantum / 2**256
    assert expected_blocks({BITS: Work(7, 9), 0x1C00FFFF: work[0x1C00FFFF]}, 32) == wanted


@given(st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 2**20)), max_size=6))
def test_more_work_expects_more_blocks(done: list[tuple[int, int]]) -> None:
    work = {BITS + number: Work(*one) for number, one in enumerate(done)}
    before = expected_blocks(work, 0)
    assert before >= 0
    more = {bits: Work(one.weight + 1, one.shares + 1) for bits, one in work.items()}
    after = expected_blocks(more, 0)
    assert after > before or not work


def test_a_share_worth_more_than_a_block_expects_one_block() -> None:
    easy = 0x207FFFFF
    assert bits_to_target(easy) > target_of_weight(100, 0)
    assert expected_blocks({easy: Work(weight=500, shares=5)}, 0) == 5


def test_the_least_likely_comes_first_and_many_miners_are_taken_into_account() -> None:
    block = (1 << 256) // (bits_to_target(BITS) + 1)

    def record(account: int, blocks: int, found: int) -> Record:
        return Record(account, f"login{account}", {BITS: Work(blocks * block, 10**6)}, found)

    records = [
        record(1, 10, 10),
        record(2, 10, 0),
        record(3, 1, 0),
        record(4, 5, 1),
        Record(5, "idle", {}, 0),
    ]
    report = suspicions(records, 0)
    assert [one.record.account for one in report] == [2, 4, 3, 1]
    worst = report[0]
    assert worst.probability == pytest.approx(4.54e-5, rel=1e-2)
    assert worst.adjusted == pytest.approx(4 * worst.probability)
    assert report[-1].adjusted == 1
    assert (worst.shares, worst.weight) == (10**6, 10 * block)
