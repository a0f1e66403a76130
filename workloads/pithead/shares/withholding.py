"""Does a miner keep blocks back? Blocks found against blocks expected. Pure.

A share of w hashes' worth solves a block with probability w x (T + 1) / 2^256, T
being the target of its segment's bits: blocks found are Poisson around the sum
of these. Sums are exact, with the one denominator 2^256; floats come at the very
end, for display. Who keeps blocks back finds fewer than expected; so do the
unlucky, and among many miners somebody always is.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from pithead.coins.weight import TWO_256, bits_to_target

_TERM_MIN = 1e-18
"""A term below this part of the sum does not change a double any more."""


@dataclass(frozen=True, slots=True)
class Work:
    """Credited shares at one network difficulty."""

    weight: int
    shares: int


@dataclass(frozen=True, slots=True)
class Record:
    """What one account did."""

    account: int
    login: str
    work: Mapping[int, Work]
    """By compact bits."""
    found: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How likely an account's blocks are, if it is honest."""

    record: Record
    expected: Fraction
    probability: float
    """P(X <= found) of a Poisson variable with mean `expected`."""
    adjusted: float
    """Bonferroni: a bound on the probability that any of all accounts looks so by bad luck."""

    @property
    def shares(self) -> int:
        """Credited shares."""
        return sum(work.shares for work in self.record.work.values())

    @property
    def weight(self) -> int:
        """Their weight."""
        return sum(work.weight for work in self.record.work.values())


def expected_blocks(work: Mapping[int, Work], shift: int) -> Fraction:
    """Mean number of blocks that honest shares find, exactly.

    No share finds more than one block: on test chains a share can be worth more
    than a block is.
    """
    total = Fraction(0)
    for bits, done in work.items():
        mean = Fraction((done.weight << shift) * (bits_to_target(bits) + 1), TWO_256)
        total += min(mean, Fraction(done.shares))
    return total


def poisson_at_most(found: int, mean: float) -> float:
    """P(X <= found) for a Poisson variable X, to some 12 digits; mean >= 0.

    The smaller tail is summed from its largest term on, in logarithms where
    terms alone would underflow.
    """
    if found < 0:
        return 0.0
    if mean <= 0:
        return 1.0
    if found < mean:
        return min(1.0, _tail(found, mean, down=True))
    return max(0.0, min(1.0, 1.0 - _tail(found + 1, mean, down=False)))


def _tail(start: int, mean: float, *, down: bool) -> float:
    first = math.exp(start * math.log(mean) - mean - math.lgamma(start + 1))
    terms, term, count = [1.0], 1.0, start
    total = 1.0
    while term > _TERM_MIN * total and (count > 0 or not down):
        if down:
            term *= count / mean
            count -= 1
        else:
            count += 1
            term *= mean / count
        terms.append(term)
        total += term
    return first * math.fsum(terms)


def suspicions(records: Iterable[Record], shift: int) -> list[Suspicion]:
    """All accounts with work, the least likely first."""
    worked = [record for record in records if record.work]
    found = []
    for record in worked:
        expected = expected_blocks(record.work, shift)
        probability = poisson_at_most(record.found, float(expected))
        adjusted = min(1.0, probability * len(worked))
        found.append(Suspicion(record, expected, probability, adjusted))
    found.sort(key=lambda one: (one.probability, -one.expected, one.record.account))
    return found
