"""PPLNS: pay per last N shares, by exact integers.

A block's value, less the fee, is shared over the last N x (expected hashes of the
block) of work, whoever did it and in whatever round (Rosenfeld, "Analysis of
Bitcoin Pooled Mining Reward Systems", arXiv:1112.4980, section 5, which also shows
why the window must be counted in work and cut inside a share group, so that pool
hopping gains nothing). An absolute window weight serves test chains where nearly
every share is a block.

Rounding, each stated once: the window weight is rounded down twice, by the factor
and by the shift, and is at least 1; the fee is rounded down; what the division over
accounts leaves goes by largest remainder, ties to the lower account id.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pithead.rewards.scheme import (
    PPM,
    BoundScheme,
    ParametersRefused,
    RewardScheme,
    Split,
    SplitShare,
    Window,
    parse_canonical,
)

METHOD: Final = "PPLNS"

FACTOR_PPM_MAX: Final = 1000 * PPM
"""A window of a thousand blocks' work is months even for a large pool."""

WEIGHT_MAX: Final = 1 << 256
"""No window can hold more work than the largest target space."""


@dataclass(frozen=True, slots=True)
class Pplns:
    """PPLNS with the parameters of one revision; either `factor_ppm` or `weight` is set."""

    fee_ppm: int
    factor_ppm: int = 0
    weight: int = 0

    def window_weight(self, expected_hashes: int, shift: int) -> int:
        """W = factor x expected hashes of the block >> shift, rounded down; or the absolute W."""
        if self.weight:
            return self.weight
        return max(1, (self.factor_ppm * expected_hashes // PPM) >> shift)

    def split(self, value: int, carried: int, window: Window) -> Split:
        """Split by weight: cells of the last group count weight x r, all others weight x G.

        That is the last group's share r / G without a fraction. An unfilled window
        shares over what exists; over an empty one nothing is credited and the
        whole distributable value is the remainder.
        """
        if value < 0 or carried < 0:
            raise ValueError(f"value {value} and carried {carried} must not be negative")
        fee = value * self.fee_ppm // PPM
        distributable = value - fee + carried
        weights = _weights(window)
        shares = _largest_remainder(distributable, weights)
        remainder = 0 if weights else distributable
        split = Split(value, carried, fee, remainder, shares)
        split.check()
        return split


def _weights(window: Window) -> list[tuple[int, int]]:
    """(account, weight) of the cells that weigh anything, in the order of accounts."""
    whole, part = window.group_weight, window.needed
    if not 0 <= part <= whole:
        raise ValueError(f"needed {part} is not within the last group's weight {whole}")
    if any(cell.full < 0 or cell.last < 0 or (cell.full and not whole) for cell in window.cells):
        raise ValueError("a weight is negative, or stands before a last group without weight")
    weights = sorted(
        (cell.account, weight)
        for cell in window.cells
        if (weight := cell.full * whole + cell.last * part)
    )
    for (account, _), (following, _) in pairwise(weights):
        if account == following:
            raise ValueError(f"account {account} stands twice in the window")
    return weights


def _largest_remainder(amount: int, weights: list[tuple[int, int]]) -> tuple[SplitShare, ...]:
    """Split `amount` in proportion to weights; ties of remainders go to the lower account."""
    total = sum(weight for _, weight in weights)
    if not total:
        return ()
    parts = [(account, weight, *divmod(amount * weight, total)) for account, weight in weights]
    left = amount - sum(part for _, _, part, _ in parts)
    # `parts` is in the order of accounts and sorting is stable, so equal
    # remainders keep the lower account first.
    ranked = sorted(range(len(parts)), key=lambda index: -parts[index][3])
    favoured = set(ranked[:left])
    return tuple(
        SplitShare(account, part + (index in favoured), weight)
        for index, (account, weight, part, _) in enumerate(parts)
    )


class PplnsScheme:
    """The entry point: reads parameters and binds them."""

    method = METHOD

    def bind(self, parameters: str) -> BoundScheme:
        """Read `{"fee_ppm":F,"method":"PPLNS","window":{"factor_ppm":N}|{"weight":"W"}}`."""
        document = parse_canonical(parameters)
        _keys(document, "", {"fee_ppm", "method", "window"})
        if document["method"] != METHOD:
            raise ParametersRefused("method", METHOD, document["method"])
        fee_ppm = _integer(document["fee_ppm"], "fee_ppm", 0, PPM)
        window = document["window"]
        if not isinstance(window, dict):
            raise ParametersRefused("window", "an object", window)
        if "weight" in window:
            _keys(window, "window", {"weight"})
            return Pplns(fee_ppm, weight=_decimal(window["weight"], "window.weight"))
        _keys(window, "window", {"factor_ppm"})
        factor_ppm = _integer(window["factor_ppm"], "window.factor_ppm", 1, FACTOR_PPM_MAX)
        return Pplns(fee_ppm, factor_ppm=factor_ppm)


def _keys(document: dict[str, Any], path: str, expected: set[str]) -> None:
    if document.keys() != expected:
        raise ParametersRefused(path, f"exactly the keys {sorted(expected)}", sorted(document))


def _integer(value: object, path: str, low: int, high: int) -> int:
    # bool is an int in Python and must not pass for one here.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ParametersRefused(path, f"an integer from {low} to {high}", value)
    return value


def _decimal(value: object, path: str) -> int:
    """A positive decimal string: JSON numbers beyond 2^53 do not survive every reader."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 78:
        number = int(value)
        if 1 <= number <= WEIGHT_MAX and str(number) == value:
            return number
    raise ParametersRefused(path, "a positive decimal string without leading zeros", value)


SCHEME: Final[RewardScheme] = PplnsScheme()
