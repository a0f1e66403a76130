"""What blocks pay: subsidy, fees, the fee index, and which claims of a value are believed. Pure.

Integers of base units throughout. The fee index of height h is the floor of the
mean fees of the main chain's blocks h-144 .. h-1.
"""

from collections.abc import Mapping

from pithead.coins.params import ChainParams

INDEX_BLOCKS = 144
"""A day of Bitcoin's blocks: what fees of the whole-network kind are averaged over."""

FEES_TIMES_MAX = 10
"""A template is worth asking about when its fees are above this many times the most that any
recent block had, and above the subsidy as well: on a quiet chain any fee is many times nothing."""


def fees_of(value: int, subsidy: int) -> int:
    """Fees in a coinbase of `value`. Who made it may have claimed less than the subsidy: 0."""
    return max(0, value - subsidy)


def fee_index(fees: Mapping[int, int | None], height: int) -> int | None:
    """Fee index of `height` from the fees of blocks by height; None while one is not known."""
    return fee_indexes(fees, height, height).get(height)


def fee_indexes(fees: Mapping[int, int | None], first: int, last: int) -> dict[int, int]:
    """Fee indexes of the heights `first` .. `last` that all of their blocks are known for."""
    found = {}
    total = known = 0
    for height in range(first - INDEX_BLOCKS, last):
        fee = fees.get(height)
        total += fee or 0
        known += fee is not None
        gone = height - INDEX_BLOCKS
        if gone >= first - INDEX_BLOCKS:
            total -= fees.get(gone) or 0
            known -= fees.get(gone) is not None
        if known == INDEX_BLOCKS:
            found[height + 1] = total // INDEX_BLOCKS
    return found


def issued(params: ChainParams, height: int) -> int:
    """Base units that all blocks below `height` have created."""
    total = 0
    for first in range(0, height, params.halving_interval):
        subsidy = params.subsidy(first)
        if subsidy == 0:
            break
        total += subsidy * (min(height, first + params.halving_interval) - first)
    return total


def doubt(params: ChainParams, height: int, value: int, fees_seen_max: int | None) -> str:
    """Why a template at `height` cannot, or will hardly, have been worth `value`; else empty.

    `fees_seen_max` is the most that any recent block of the main chain had in
    fees, None when that is not known.
    """
    subsidy = params.subsidy(height)
    if value < subsidy:
        return f"it claims a block value of {value}, below the subsidy of {subsidy}"
    fees = value - subsidy
    existing = issued(params, height)
    if fees > existing:
        return f"it claims fees of {fees}, only {existing} base units exist"
    if fees_seen_max is not None and fees > max(subsidy, FEES_TIMES_MAX * fees_seen_max):
        return f"it claims fees of {fees}, no recent block had more than {fees_seen_max}"
    return ""
