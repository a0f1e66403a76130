"""What a set of nodes tells its user: events of the template feed, and each node's health.

Plain values; times are those of the clock that the set was given.
"""

from dataclasses import dataclass

from pithead.coins.template import Template


@dataclass(slots=True)
class NodeHealth:
    """What is known of one node. `trouble` says why it is not healthy, with the remedy."""

    name: str
    healthy: bool = False
    height: int = 0
    tip: bytes | None = None
    trouble: str = "not asked yet"
    latency_ms: int = 0
    answered_ms: int = 0
    """When it last answered, by the set's clock; 0 for never."""
    good_polls: int = 0
    behind_since_ms: int | None = None
    workless: bool = False
    """It answered polls but gave no template when it was asked last."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A node confirmed at `now_ms` that the current template's parent is the tip."""

    now_ms: int
    node: str
    parent: bytes


@dataclass(frozen=True, slots=True)
class Announced:
    """A node announced at `now_ms` a tip as high as the block that the current template makes.

    So the template's parent has a successor, whether or not the active node knows it yet.
    """

    now_ms: int
    node: str
    tip: bytes
    height: int


Event = Template | Confirmed | Announced
