"""(slot, height) -> revision of a reward scheme. Pure.

A slot belongs to one scheme for ever; its revisions follow one another by the
height from which each counts. A height below the first one counts by the first:
the slot did not exist before it, so no block can tell the difference.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotRevision:
    """One row of the slot table; `id` is accounting's own."""

    id: int
    slot: int
    scheme: str
    revision: str
    effective_height: int


class SlotUnknown(Exception):
    """Raised for a slot of which the hub was not told: shares of it wait until it is."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        super().__init__(
            f"scheme slot {slot} is unknown: give it in the settings of this pool and start again"
        )


class SlotsMoved(Exception):
    """Raised when revisions were registered that this process does not know: it must start again.

    Booked by the old table, shares would count by the wrong revision for ever.
    """

    def __init__(self, pool: str) -> None:
        super().__init__(f"pool {pool}: scheme revisions were added since this process has started")


class SlotTable:
    """The slots of one pool."""

    def __init__(self, revisions: Iterable[SlotRevision]) -> None:
        self._by_slot: dict[int, list[SlotRevision]] = {}
        revisions = list(revisions)
        self.newest = max((revision.id for revision in revisions), default=0)
        """Id of the newest revision; they are only ever added."""
        for revision in sorted(revisions, key=lambda row: (row.slot, row.effective_height)):
            self._by_slot.setdefault(revision.slot, []).append(revision)

    def knows(self, slot: int) -> bool:
        """Tell whether a slot has a scheme."""
        return slot in self._by_slot

    def revision_at(self, slot: int, height: int) -> int:
        """Id of the revision that counts for shares of `slot` at a segment's height."""
        rows = self._by_slot.get(slot)
        if rows is None:
            raise SlotUnknown(slot)
        index = bisect_right(rows, height, key=lambda row: row.effective_height) - 1
        return rows[max(index, 0)].id
