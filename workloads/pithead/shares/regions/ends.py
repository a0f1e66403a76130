"""When the log of a relayed region was brought here past a moment, and who of it is silent. Pure.

A height may be sealed when everything is read that stood in any log at the moment
the hub's node was two blocks above it. For a region with a log of its own that
takes two steps: it is asked for its ends, and once it is relayed past these, the
ends of the hub's log are noted (`seals.Note`).

A region that can not be asked is waited for, at the latest until nine tenths of
the maturity of a height are over. Then the height is sealed by what is in the
hub's log, and what comes later is late, not lost. Its open producers hold seals
likewise and no longer. One that answers and is catching up is waited for longer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pithead.shares.seals import SILENT_MS, Heard, Silent

AWAY_MS = 10_000
"""A relay that lives answers every second; one that did not for this long can not be asked."""

STILL_MS = 60_000
"""Edges write every second: a log that did not grow for this long has none that could write, and
its region counts as away though its relay answers."""

GRACE_MS = 60_000
"""A hub that was down for long, and finds heights overdue, lets relays connect first."""


@dataclass(frozen=True, slots=True)
class FarPartition:
    """A partition of a region's shares."""

    log: str
    position: int
    """Relayed up to here."""
    told_end: int
    hub_log: str
    hub_position: int
    """What was relayed lies before it in the hub's log."""


@dataclass(frozen=True, slots=True)
class Far:
    """A relayed region as the hub knows it; one that never connected has told nothing."""

    region: str
    log: str = ""
    answered: int = 0
    told_ms: int = 0
    heard_ms: int = 0
    """Newest time of its log before it was asked for the ends that were told last."""
    moved_ms: int = 0
    partitions: Mapping[str, FarPartition] = field(default_factory=dict)

    def away(self, now_ms: int) -> bool:
        """Tell whether it can not be asked now, or has nobody left who writes."""
        return now_ms - self.told_ms > AWAY_MS or now_ms - self.moved_ms > STILL_MS


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the log of a region ended."""

    log: str
    ends: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Regions are asked for their ends after the node was seen at a height."""

    node_height: int
    asked: Mapping[str, int]
    """The question, by region."""
    told: Mapping[str, Ends] = field(default_factory=dict)

    def heard(self, regions: Mapping[str, Far]) -> "Inquiry":
        """Take in what regions have answered; ends of a log that is no more are forgotten.

        The ends of the first answer are kept: later ones would only move on.
        """
        told = {}
        for region, question in self.asked.items():
            far, known = regions.get(region), self.told.get(region)
            if far is None or far.answered < question:
                continue
            if known is None or known.log != far.log:
                ends = {
                    name: each.told_end
                    for name, each in far.partitions.items()
                    if each.log == far.log
                }
                known = Ends(far.log, ends)
            told[region] = known
        return Inquiry(self.node_height, self.asked, told)

    def waits_for(self, regions: Mapping[str, Far], hub_log: str) -> list[str]:
        """Regions that have not answered, or are not relayed past their ends into this log."""
        return [
            region
            for region in sorted(self.asked)
            if region not in self.told or not _past(self.told[region], regions[region], hub_log)
        ]


def _past(ends: Ends, far: Far, hub_log: str) -> bool:
    for name, end in ends.ends.items():
        found = far.partitions.get(name)
        if found is None or (found.log, found.hub_log) != (ends.log, hub_log):
            return False
        if found.position < end:
            return False
    return True


def expired(node_height: int, maturity: int) -> int:
    """Highest height for which no region is waited any more."""
    return node_height - maturity * 9 // 10


def silent_far(
    opened: Iterable[Heard],
    regions: Mapping[str, Far],
    positions: Mapping[str, int],
    *,
    hub_log: str,
    now_ms: int,
) -> list[Silent]:
    """Open producers of relayed regions whose own log has left them behind by SILENT_MS.

    `last_ms` of a producer is its region's log's time. The partition was read to its
    end here, as that was after the region's newest time: nothing of it lies between.
    Other regions, and a region that is away, prove nothing.
    """
    found = []
    for heard in opened:
        far = regions[heard.region]
        there = far.partitions.get(heard.partition)
        if there is None or far.away(now_ms) or (there.log, there.hub_log) != (far.log, hub_log):
            continue
        relayed = there.position >= there.told_end
        read = positions.get(heard.partition, 0) >= there.hub_position
        if relayed and read and far.heard_ms - heard.last_ms > SILENT_MS:
            found.append(Silent(heard, far.heard_ms, certain=True))
    return found
