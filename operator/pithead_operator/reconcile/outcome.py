"""Answers for what came out of one pass over a pool."""

from dataclasses import dataclass, field

from pithead_operator.reconcile.gather import Finding
from pithead_operator.regions.errors import ClusterError


@dataclass
class RegionOutcome:
    """What came out of one region in one pass."""

    findings: list[Finding] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    desired: int = 0
    frozen: bool = False
    """Its edges were left as they are, because shares wait in their spools."""


@dataclass
class PoolOutcome:
    """What came out of one pass."""

    regions: dict[str, RegionOutcome] = field(default_factory=dict)
    leaving: list[str] = field(default_factory=list)
    """What is on its way out, and where."""
    away: list[str] = field(default_factory=list)
    """Clusters that could not be asked and may hold objects of the pool."""
    failed: ClusterError | None = None
    """An error that may pass by itself; another pass is needed."""
