"""What of a region's log is not at the hub yet: records and bytes, estimated. Pure.

A log tells positions only, and what a position counts is its own affair (bytes of
chunk files, records of Kafka). So records and bytes a position are taken from what
was read of the topic before.
"""

from dataclasses import dataclass, field

from pithead.log.share_log import LogRecord

Place = tuple[str, str]
"""Topic and partition."""


@dataclass(slots=True)
class _Read:
    """What was read of a topic."""

    positions: int = 0
    records: int = 0
    payload_bytes: int = 0


@dataclass(slots=True)
class Backlog:
    """Ends, what is stored at the hub, and how large records are."""

    stored: dict[Place, int] = field(default_factory=dict)
    ends: dict[Place, int] = field(default_factory=dict)
    level_s: dict[str, float] = field(default_factory=dict)
    """By topic: when all of it was at the hub last."""
    _read: dict[str, _Read] = field(default_factory=dict)

    def read(self, topic: str, records: list[LogRecord]) -> None:
        """Note what was read."""
        seen = self._read.setdefault(topic, _Read())
        seen.positions += records[-1].next_position - records[0].position
        seen.records += len(records)
        seen.payload_bytes += sum(len(record.payload) for record in records)

    def waiting(self, place: Place) -> tuple[int, int]:
        """(records, bytes) of a partition that are not stored; one position is one record of
        unknown size before anything was read."""
        behind = max(0, self.ends.get(place, 0) - self.stored.get(place, 0))
        seen = self._read.get(place[0])
        if seen is None or not seen.positions or not behind:
            return behind, 0
        records = -(-behind * seen.records // seen.positions)
        return records, -(-behind * seen.payload_bytes // seen.positions)

    def measured(self, topic: str, now_s: float) -> None:
        """Note the time when all of a topic is stored; its first measure counts as such."""
        behind = any(self.waiting(place)[0] for place in self.ends if place[0] == topic)
        if not behind or topic not in self.level_s:
            self.level_s[topic] = now_s

    def behind_s(self, topic: str, now_s: float) -> float:
        """Seconds since all of a topic was stored: the oldest that waits is no older."""
        return now_s - self.level_s.get(topic, now_s)
