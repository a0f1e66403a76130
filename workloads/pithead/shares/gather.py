"""What one poll reads: of every partition in turn, in bounded pieces, up to a bounded whole.

A consumer that keeps up reads what has just come. One that is behind reads as much
as the bounds allow: sums of more shares make fewer rows a share, so the larger the
backlog, the faster it goes. Memory of a poll is some ten times POLL_BYTES_MAX, and
one record more where a single one is larger than what was left.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pithead.log.errors import LogPositionInvalid, LogTruncated
from pithead.log.share_log import LogReader
from pithead.shares.fold import WEIGHT_SUM_MAX, Ints
from pithead.shares.pools import Pool
from pithead.shares.records import Aside, Entry, entry_of, examine
from pithead.shares.slots import SlotUnknown

logger = logging.getLogger(__name__)

POLL_BYTES_MAX = 8 * 1024 * 1024
"""Of all partitions in one poll; its transaction takes some tenths of a second."""

PIECE_BYTES_MAX = 256 * 1024
"""Of one partition at once: some milliseconds of work while it is in the processor's cache. Between
pieces other tasks and other partitions have their turn."""


class Known(Protocol):
    """What is known without asking the database."""

    def account_ids(self, logins: Sequence[str]) -> Ints:
        """Ids of accounts as far as they are remembered, 0 for the others."""

    def is_ours(self, producer: bytes) -> bool:
        """Tell whether a producer is remembered as this pool's."""


@dataclass(slots=True)
class Gathered:
    """What one poll has read."""

    reads: list[Entry | Aside] = field(default_factory=list)
    moves: dict[str, int] = field(default_factory=dict)
    """Where to read on, by partition that had something."""
    lost: dict[str, str] = field(default_factory=dict)
    """Partitions whose position is outside of their log, and why."""
    size_bytes: int = 0
    weight: int = 0
    full: bool = False
    """Whether a bound ended it, so that more is waiting."""


class Gatherer:
    """Reads one pool's partitions; remembers whose turn it is and who waits."""

    def __init__(
        self, reader: LogReader, pool: Pool, known: Known, *, checked: bool = True
    ) -> None:
        """`checked`: the shares that batches must show are of interest to somebody."""
        self._checked = checked
        self._reader = reader
        self._known = known
        self._pool = pool
        self._turn = 0
        self._stalled: dict[str, str] = {}

    @property
    def waiting(self) -> bool:
        """Whether a partition waits for what this process does not know."""
        return bool(self._stalled)

    async def gather(self, positions: Mapping[str, int]) -> Gathered:
        """Read and decode what is new in these partitions.

        One with shares of an unknown slot, or of a version that only a later release
        reads, stops there.
        """
        gathered = Gathered()
        names = sorted(positions)
        first = self._turn % max(len(names), 1)
        active = names[first:] + names[:first]
        while active and not gathered.full:
            for partition in list(active):
                if gathered.size_bytes >= POLL_BYTES_MAX:
                    gathered.full = True
                    break
                self._turn = names.index(partition) + 1
                if not await self._piece(gathered, partition, positions[partition]):
                    active.remove(partition)
        return gathered

    async def _piece(self, gathered: Gathered, partition: str, begin: int) -> bool:
        """Read a piece; tell whether the partition may have more for this poll."""
        position = gathered.moves.get(partition, begin)
        size_max = min(PIECE_BYTES_MAX, POLL_BYTES_MAX - gathered.size_bytes)
        # A read that the log answers from memory does not wait: others would not get the loop.
        await asyncio.sleep(0)
        try:
            records = await self._reader.read(partition, position, size_max)
        except (LogTruncated, LogPositionInvalid) as error:
            if position == begin:
                gathered.lost[partition] = str(error)
            return False
        for record in records:
            read = examine(partition, record, self._pool.name, self._pool.coin)
            if gathered.weight + read.weight > WEIGHT_SUM_MAX:
                gathered.full = True
                return False
            if read.newer:
                self._tell(partition, read.fault)
                return False
            found: Entry | Aside
            if read.columns is None:
                found = Aside(partition, record.position, record.payload, read.fault)
            else:
                found = entry_of(
                    partition,
                    record,
                    read.columns,
                    self._known.account_ids(read.columns.accounts),
                    ours=self._known.is_ours(read.columns.batch.producer),
                    checked=self._checked,
                )
                if not self._slots_known(found):
                    return False
            gathered.reads.append(found)
            gathered.moves[partition] = record.next_position
            gathered.weight += read.weight
            gathered.size_bytes += len(record.payload)
        return bool(records)

    def _slots_known(self, entry: Entry) -> bool:
        trouble = ""
        for slot in sorted(entry.slots):
            if not self._pool.slots.knows(slot):
                trouble = str(SlotUnknown(slot))
        self._tell(entry.partition, trouble)
        return not trouble

    def _tell(self, partition: str, trouble: str) -> None:
        """Say once why a partition waits; no trouble is no reason."""
        if trouble and self._stalled.get(partition) != trouble:
            logger.error("%s/%s waits: %s", self._pool.name, partition, trouble)
        if trouble:
            self._stalled[partition] = trouble
        else:
            self._stalled.pop(partition, None)
