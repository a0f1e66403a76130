"""What the headers that nodes know say of a segment. Pure.

A segment claims a parent, the height of a block on it, and that block's bits.
The parent's header proves the height. The bits are proven by the block that
follows the parent on the main chain, as soon as there is one; of a parent that
is off the main chain nobody can tell them any more, and they are let pass:
nothing is paid by the bits of a segment that is off the main chain.
"""

from typing import Protocol

from pithead.shares.states import SegmentState

PATIENCE_MS = 600_000
"""How long a segment may be unknown before it is Disputed: a node that restarts, or lags behind
an edge's, is back by then, and every share of it waits for at least its block's maturity."""


class Header(Protocol):
    """What is used of `pithead.coins.node.HeaderInfo`."""

    @property
    def height(self) -> int:
        """Height of the block."""

    @property
    def confirmations(self) -> int:
        """-1 off the main chain."""

    @property
    def bits(self) -> int:
        """Compact target of the block."""


def judge(
    *,
    height: int,
    bits: int,
    parent: Header | None,
    child: Header | None,
    unknown_for_ms: int,
) -> tuple[SegmentState, str]:
    """State of a segment and, for Disputed, why.

    `parent` is the header of the segment's hash (None: no node knows it),
    `child` that of the main chain's block on it (None: none yet).
    """
    if parent is None:
        if unknown_for_ms < PATIENCE_MS:
            return SegmentState.UNKNOWN, ""
        return SegmentState.DISPUTED, f"no node knows its parent after {unknown_for_ms // 1000} s"
    if parent.height + 1 != height:
        return SegmentState.DISPUTED, f"its parent has height {parent.height}, it claims {height}"
    if child is not None:
        if child.bits != bits:
            return (
                SegmentState.DISPUTED,
                f"it claims bits {bits:#010x}, the chain's block has {child.bits:#010x}",
            )
        return SegmentState.SETTLED, ""
    if parent.confirmations < 0:
        return SegmentState.SETTLED, ""
    return SegmentState.CONFIRMED, ""
