"""Work in its forms: weight (integer, money), target (what a hash must meet), difficulty (shown).

weight = expected hashes >> shift. A hash meets weight w when it is not above
target_of_weight(w) = 2^256 // (w << shift) - 1. `target_of_weight` and `weight_of_target` are
two ends of one order: target_of_weight(w) >= t exactly when w <= weight_of_target(t).

Difficulty is a display for miners, diff1 / target. Rounding goes against the miner's effort by
the least step and never against its share: whoever meets the shown difficulty meets our target.
"""

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import inf, nextafter

from pithead.coins.params import ChainParams

TWO_256 = 1 << 256
TARGET_MAX = TWO_256 - 1
DIFFICULTY_EXPONENT_MAX = 80
"""2^256 is below 10^78; larger exponents in text only cost memory when expanded."""

_ROUNDING_MARGIN = 1 + Fraction(1, 1 << 50)
"""A fractional difficulty is raised by eight units in the last place of a double, so that a miner
that computes its target in doubles, with a few roundings, still meets ours."""


_NEAR_ONE_BITS = 15
"""A difficulty above 1 - 2^-15 is shown as 1: the one unit of weight that a difficulty of 1 earns
(2^32 or 2^16 hashes) is 65535/65536 of it, and cut to a whole number that would become 0."""


class WeightError(ValueError):
    """A weight, target, compact target or difficulty outside its range."""


def target_of_weight(weight: int, shift: int) -> int:
    """Largest hash value that proves `weight`; raises WeightError outside 1 .. 2^256 hashes."""
    hashes = weight << shift if weight > 0 else 0
    if not 0 < hashes <= TWO_256 >> 1:
        # From 2^255 hashes on the target is 0 or 1: no hash could ever meet it.
        raise WeightError(f"weight {weight} with shift {shift} is outside 1 .. 2^255 hashes")
    return TWO_256 // hashes - 1


def weight_of_target(target: int, shift: int) -> int:
    """Largest weight whose target is not below `target`; 0 when not even one unit."""
    return expected_hashes(target) >> shift


def expected_hashes(target: int) -> int:
    """Mean number of hashes until one meets `target`, rounded down: 2^256 // (target + 1)."""
    if not 0 <= target <= TARGET_MAX:
        raise WeightError(f"target {target:#x} is outside 0 .. 2^256 - 1")
    return TWO_256 // (target + 1)


def difficulty_of_weight(weight: int, params: ChainParams) -> float:
    """Difficulty to show for `weight`: meeting it always means meeting our target.

    Below 1 it is the next double above diff1 / (target + 1), raised by 2^-50. From 1 up it is the
    least whole number that is enough, because firmware exists that cuts the fraction off: 1.9
    would become 1 there, and nearly half of an honest miner's shares would miss our target.

    The cost: a miner works for the whole number and is credited the weight. For a weight that
    `weight_of_difficulty` made from a whole number the loss is below one unit of weight a share.
    For others it reaches one difficulty unit a share (half the work just above 1, a thousandth
    at 1,000); `fair_weight` lifts a weight to what the shown number is worth.
    """
    quantum = target_of_weight(weight, params.shift) + 1
    # diff1 // d <= target holds exactly when d > diff1 / quantum.
    if params.diff1_target + (params.diff1_target >> _NEAR_ONE_BITS) >= quantum:
        return _float_not_below(Fraction(params.diff1_target // quantum + 1))
    return _float_not_below(Fraction(params.diff1_target, quantum) * _ROUNDING_MARGIN)


def weight_of_difficulty(difficulty: Decimal | int | str | float, params: ChainParams) -> int:
    """Weight that a miner working at `difficulty` earns a share, at least 1.

    The largest weight whose target is met by every hash that meets the difficulty. Raises
    WeightError for text that is no number, for zero, negative or absurd values.
    """
    ratio = _positive_fraction(difficulty)
    target = min(params.diff1_target * ratio.denominator // ratio.numerator, TARGET_MAX)
    if target < 1:
        raise WeightError(f"difficulty {_shown(difficulty)} leaves no target that can be met")
    return max(1, weight_of_target(target, params.shift))


def fair_weight(weight: int, params: ChainParams) -> int:
    """The weight, not below `weight`, that the difficulty shown for it is worth.

    Vardiff rounds its choices with this, so that a miner is credited for all that it works.
    """
    return max(weight, weight_of_difficulty(difficulty_of_weight(weight, params), params))


def bits_to_target(bits: int) -> int:
    """Target of a compact number (the header's nBits).

    Raises WeightError for what consensus refuses: outside 32 bits, negative, zero, above 2^256.
    """
    if not 0 <= bits <= 0xFFFFFFFF:
        raise WeightError(f"compact target {bits:#x} is outside 32 bits")
    exponent, mantissa = bits >> 24, bits & 0x7FFFFF
    target = mantissa << 8 * (exponent - 3) if exponent >= 3 else mantissa >> 8 * (3 - exponent)
    if target == 0:
        raise WeightError(f"compact target {bits:#010x} is zero")
    if bits & 0x800000:
        raise WeightError(f"compact target {bits:#010x} is negative")
    if target > TARGET_MAX:
        raise WeightError(f"compact target {bits:#010x} is above 2^256")
    return target


def target_to_bits(target: int) -> int:
    """Compact number of the largest representable target that is not above `target`."""
    if not 1 <= target <= TARGET_MAX:
        raise WeightError(f"target {target:#x} is outside 1 .. 2^256 - 1")
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x800000:
        # The top bit of the mantissa is its sign: move one byte into the exponent.
        mantissa >>= 8
        size += 1
    return size << 24 | mantissa


def _float_not_below(value: Fraction) -> float:
    near = float(value)
    return near if Fraction(near) >= value else nextafter(near, inf)


def _positive_fraction(difficulty: Decimal | int | str | float) -> Fraction:
    try:
        number = Decimal(difficulty)
    except (InvalidOperation, ValueError) as error:
        raise WeightError(f"difficulty {_shown(difficulty)} is not a number") from error
    if not number.is_finite() or number <= 0:
        raise WeightError(f"difficulty {_shown(difficulty)} is not above zero")
    if abs(number.adjusted()) > DIFFICULTY_EXPONENT_MAX:
        raise WeightError(f"difficulty {_shown(difficulty)} is outside 10^-80 .. 10^80")
    return Fraction(number)


def _shown(difficulty: Decimal | int | str | float) -> str:
    return repr(str(difficulty)[:40]) if isinstance(difficulty, str) else f"{difficulty:.6g}"
