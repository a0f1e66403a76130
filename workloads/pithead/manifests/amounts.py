"""Answers for numbers in manifests: exact decimals in, integers out, never a float.

Manifests write amounts, percentages and difficulties as whole numbers or as
decimals in quotes; what runs works with integers. Knows no kind and no coin.
"""

from decimal import Decimal

PPM = 1_000_000


class AmountError(ValueError):
    """Raised when a decimal has more places than its unit can hold."""


def scaled(text: str, places: int) -> int:
    """`text` times 10 to the power `places`, exactly; the inverse of moving the point.

    `text` is an unsigned decimal such as `12` or `0.025`. A place beyond
    `places` is an AmountError unless it is a zero: nothing is ever rounded.
    """
    whole, _, fraction = text.partition(".")
    kept, lost = fraction[:places], fraction[places:]
    if lost.strip("0"):
        raise AmountError(f"{text} has more than {places} decimal places")
    return int(whole + kept.ljust(places, "0"))


def base_units(text: str, decimals: int) -> int:
    """Coins to base units, for a coin of `decimals` places: `0.01` of 8 is 1000000."""
    return scaled(text, decimals)


def ppm_of_percent(text: str) -> int:
    """A percentage of up to four places as parts per million: `1.25` is 12500."""
    return scaled(text, 4)


def ppm_of_factor(text: str) -> int:
    """A factor of up to six places as parts per million: `2` is 2000000."""
    return scaled(text, 6)


def difficulty(text: str) -> Decimal:
    """A share difficulty as the exact decimal that was written."""
    return Decimal(text)


_HASH_UNITS = ("H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s", "ZH/s")


def hashrate_text(hashes_per_second: int) -> str:
    """A hash rate with three digits, cut and not rounded: 1234567890 is `1.23 GH/s`."""
    thousands = min((len(str(hashes_per_second)) - 1) // 3, len(_HASH_UNITS) - 1)
    unit = 1000**thousands
    whole, rest = divmod(hashes_per_second, unit)
    places = max(0, 3 - len(str(whole)))
    fraction = str(rest).rjust(3 * thousands, "0")[:places].rstrip("0") if thousands else ""
    return f"{whole}{'.' if fraction else ''}{fraction} {_HASH_UNITS[thousands]}"
