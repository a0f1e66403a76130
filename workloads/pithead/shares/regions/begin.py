"""From where a region's partition is read when its relay connects. Pure.

The hub remembers; the relay tells what is there. Never forward to the newest: where
the position of before means nothing any more, reading begins at the earliest and
what was relayed before is dropped by producer and sequence. What is gone for good
is said, so that it becomes an alarm and an audited decision.
"""

from typing import NamedTuple

EXCHANGE = "follow another log of a region"
REPLAY = "replay partition of a region"
GONE = "records of a region are gone"


class Kept(NamedTuple):
    """What the hub remembers of a partition."""

    log: str
    """Name of the region's log."""
    position: int
    """Everything of it before is durable in the hub's log."""
    told_end: int
    hub_log: str
    """Name of that log of the hub."""
    hub_position: int
    """Position there after the last record that was appended."""


class Found(NamedTuple):
    """What the relay finds there now."""

    log: str
    start: int
    end: int
    unreadable: str = ""
    """Why reading at the position of before failed."""


class Begin(NamedTuple):
    """Where to read on."""

    position: int
    anew: bool
    """Positions stored before mean nothing now."""
    action: str = ""
    """Of the decision that goes with it; empty when there is nothing to decide."""
    reason: str = ""
    hub_position: int = 0
    """Of what was relayed before: it may be released only when accounting has read that far."""


def begin(kept: Kept | None, found: Found, hub_log: str) -> Begin:
    """Decide where to read on, and what has to be told about it."""
    start = found.start
    if kept is None:
        gone = f"it begins at position {start}, and nothing was relayed before" if start else ""
        return Begin(start, True, GONE if start else "", gone)
    if kept.log != found.log:
        left = max(0, kept.told_end - kept.position)
        reason = (
            f"{found.log} stands where {kept.log} stood, which was relayed up to {kept.position}; "
            f"{left} positions behind that had been told and were not"
        )
        return Begin(start, True, EXCHANGE, reason)
    if kept.hub_log != hub_log:
        # Accounting decides about the hub's log itself. What it had read is all that was released.
        return Begin(start, True)
    if found.unreadable:
        return Begin(start, True, REPLAY, found.unreadable)
    if kept.position > found.end:
        reason = f"it ends at {found.end} and was relayed up to {kept.position}: a restored copy"
        return Begin(start, True, REPLAY, reason)
    if kept.position < start:
        reason = f"it begins at {start} and was relayed up to {kept.position} only"
        return Begin(start, False, GONE, reason, kept.hub_position)
    return Begin(kept.position, False, hub_position=kept.hub_position)
