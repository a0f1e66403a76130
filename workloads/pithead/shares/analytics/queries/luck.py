"""Rounds, effort and luck. Pure, and exact in integers up to the last division.

A round is the work on all heights above that of the pool's previous block, up to
that of its own: jobs of the next height go out when a block is found, so heights
cut the work as it was done, and every share is in exactly one round. Its effort is
that work by the expected hashes of its block: 1 in the mean, exponentially
distributed. Blocks that left the chain end no round. Luck over n rounds is
n / (sum of their efforts), with the relative standard error 1 / sqrt(n).
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from pithead.coins.weight import bits_to_target, expected_hashes


@dataclass(frozen=True, slots=True)
class FoundBlock:
    """A block of the pool as rewards lists it."""

    hash: bytes
    height: int
    bits: int
    found_ms: int
    orphaned: bool


@dataclass(frozen=True, slots=True)
class Round:
    """A block with the work of its round."""

    block: FoundBlock
    shares: int
    work: int
    effort: float
    counted: bool
    """Counts for luck: it ended a round, and the work before it is known from its beginning."""


@dataclass(frozen=True, slots=True)
class Luck:
    """Rounds, newest first, the one that runs, and what chance made of them."""

    rounds: list[Round]
    current: Round
    blocks: int
    expected: float
    luck: float
    error: float


@dataclass(frozen=True)
class HeightWork:
    """Work of a pool by height, as running sums."""

    heights: Sequence[int]
    """Ascending."""
    shares: Sequence[int]
    work: Sequence[int]
    _shares_to: list[int] = field(init=False)
    _work_to: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shares_to", list(accumulate(self.shares, initial=0)))
        object.__setattr__(self, "_work_to", list(accumulate(self.work, initial=0)))

    def between(self, above: int, up_to: int | None) -> tuple[int, int]:
        """(shares, work) on heights above one up to another; None: without end."""
        low = bisect_right(self.heights, above)
        high = len(self.heights) if up_to is None else bisect_right(self.heights, up_to)
        if high <= low:
            return 0, 0
        return (
            self._shares_to[high] - self._shares_to[low],
            self._work_to[high] - self._work_to[low],
        )


def effort(work: int, bits: int, shift: int) -> float:
    """Work by what a block at these bits takes in the mean; 0 where bits are not known (0)."""
    if not bits:
        return 0.0
    return (work << shift) / expected_hashes(bits_to_target(bits))


def rounds_of(
    blocks: Iterable[FoundBlock],
    work: HeightWork,
    *,
    bits_now: int,
    shift: int,
    limit: int,
    since_ms: int,
    whole: bool,
) -> Luck:
    """Rounds that ended at `since_ms` or later, at most `limit` of the newest, and the running one.

    `blocks` must reach further back than the rounds that are wanted; `whole` says
    that they are all blocks that the pool ever found, so that the first one's round
    began with the pool.
    """
    ordered = sorted(blocks, key=lambda block: (block.height, block.orphaned, block.hash))
    found: list[Round] = []
    previous: int | None = -1 if whole else None
    for block in ordered:
        # Of two blocks on one height at most one stays; the other has no work of its own.
        ends = not block.orphaned and (previous is None or block.height > previous)
        if not ends:
            found.append(Round(block, 0, 0, 0.0, counted=False))
            continue
        shares, weight = work.between(-1 if previous is None else previous, block.height)
        known = previous is not None and weight > 0 and block.bits > 0
        value = effort(weight, block.bits, shift) if known else 0.0
        found.append(Round(block, shares if known else 0, weight if known else 0, value, known))
        previous = block.height
    found = [one for one in found if one.block.found_ms >= since_ms]
    # What cannot be told for want of older blocks is left out unless it is all there is.
    newest = found[::-1][:limit]
    counted = [one for one in newest if one.counted]
    expected = sum(one.effort for one in counted)
    shares, weight = work.between(-1 if previous is None else previous, None)
    unfound = FoundBlock(b"", 0, bits_now, 0, orphaned=False)
    return Luck(
        rounds=newest,
        current=Round(unfound, shares, weight, effort(weight, bits_now, shift), counted=False),
        blocks=len(counted),
        expected=expected,
        luck=len(counted) / expected if expected else 0.0,
        error=max(len(counted), 1) ** -0.5,
    )
