"""States of producers and segments, and bounds of stored integers. Pure."""

from enum import StrEnum

INT63_MAX = (1 << 63) - 1


class ProducerState(StrEnum):
    """Whether seals wait for a producer."""

    OPEN = "open"
    ENDED = "ended"
    """It said so itself and nothing of it is missing."""
    CLOSED = "closed"
    """By an audited decision; what still comes of it is late, not lost."""


class SegmentState(StrEnum):
    """What the hub's nodes say of a segment."""

    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    """Known and of that height; its bits can not be checked before a child is known."""
    SETTLED = "settled"
    """Confirmed, and its bits are right or nobody will ever know."""
    DISPUTED = "disputed"
    """Earns nothing until decided."""
