"""When a height may be sealed. Pure.

Height h is sealed, in order, when

1. the hub's node was seen at h+2 or above, and at that moment the end of every
   partition was noted;
2. accounting has read past all those ends;
3. every open producer of the pool has promised above h, and no segment that
   counts at or below h still waits for the nodes' verdict.

One note is pending at a time; while it is pending, heights only grow, and the
next note is taken as soon as it has passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BURIED = 2
"""Blocks above a height before it can be sealed: its stale siblings are known by then."""


SILENT_MS = 60_000
"""A producer writes at least once a second; one whose log has moved this much past its last batch
is taken for dead. If it lives, its shares are late, not lost."""


@dataclass(frozen=True, slots=True)
class Note:
    """The node at a height, and where every partition ended at that moment."""

    node_height: int
    ends: Mapping[str, int]
    log: str = ""
    """Whose positions the ends are."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An open producer and the log's time of its last batch that was read."""

    producer: bytes
    region: str
    partition: str
    last_ms: int


@dataclass(frozen=True, slots=True)
class Silent:
    """An open producer that its log has left behind."""

    heard: Heard
    newest_ms: int
    """Where the log stands."""
    certain: bool
    """It wrote nothing since, by the order of its partition; else that must be looked at: only
    when nothing of its partition is unread, it is silent."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What accounting holds at the moment of decision; heights are None when nothing limits."""

    sealed_height: int
    positions: Mapping[str, int]
    lowest_promise: int | None
    """Of the pool's open producers."""
    lowest_pending: int | None
    """Lowest height at which cells of undecided segments count."""
    lowest_present: int | None = None
    """Of the open producers whose regions can be asked."""


def passed(note: Note, positions: Mapping[str, int]) -> bool:
    """Tell whether everything that was in the log when the note was taken has been read."""
    return all(positions.get(partition, 0) >= end for partition, end in note.ends.items())


def sealable(note: Note, facts: Facts) -> int | None:
    """Highest height that may be sealed now by a note, None when there is no new one."""
    if not passed(note, facts.positions):
        return None
    height = note.node_height - BURIED
    if facts.lowest_promise is not None:
        height = min(height, facts.lowest_promise - 1)
    if facts.lowest_pending is not None:
        height = min(height, facts.lowest_pending - 1)
    return height if height > facts.sealed_height else None


def silent(opened: Sequence[Heard], newest_ms: Mapping[str, int]) -> list[Silent]:
    """Return the producers that the log has left behind by more than SILENT_MS.

    `newest_ms` is the newest time read by partition, of whatever producer, where
    producers share partitions, else empty. A partition is read in the order it
    was written, so a later record in it proves that nothing lies between. The
    times of the log's other producers prove it once the partition is read: those
    of its region, or of all where all regions share the log. There a region that
    is gone for good, and has nobody left to move its clock, holds up nobody.
    """
    shared_ms = max(newest_ms.values(), default=0)
    by_region: dict[str, int] = {}
    for heard in opened:
        by_region[heard.region] = max(by_region.get(heard.region, shared_ms), heard.last_ms)
    found = []
    for heard in opened:
        beside_ms = newest_ms.get(heard.partition, 0)
        if beside_ms - heard.last_ms > SILENT_MS:
            found.append(Silent(heard, beside_ms, certain=True))
        elif by_region[heard.region] - heard.last_ms > SILENT_MS:
            found.append(Silent(heard, by_region[heard.region], certain=False))
    return found


def counting_height(segment_height: int, sealed_height: int) -> tuple[int, int]:
    """(height at which a share counts, its seal): its own and 0 in time, else the lowest unsealed.

    The seal that will take a late share in is that of the lowest unsealed height.
    """
    if segment_height > sealed_height:
        return segment_height, 0
    return sealed_height + 1, sealed_height + 1
