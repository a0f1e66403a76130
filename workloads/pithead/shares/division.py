"""Who of several consumers reads which partitions of a pool. Pure.

Each consumer plans for itself, from the same rows: those that are alive, in the order of
their names, and who has claimed what. The partitions are divided as evenly as can be;
whoever has more than its part lets some go, whoever has less takes free ones. A claim
whose time is over is free. That two read one partition for a moment wastes work and
does no harm: positions are fenced.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """Who reads a partition, until when."""

    owner: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What one consumer is to do; the three have nothing in common."""

    keep: frozenset[str]
    take: frozenset[str]
    drop: frozenset[str]

    @property
    def mine(self) -> frozenset[str]:
        """What it reads from now on."""
        return self.keep | self.take


def part(me: str, alive: Collection[str], partitions: int) -> int:
    """How many of so many partitions are one consumer's; it is alive itself."""
    names = sorted({*alive, me})
    each, more = divmod(partitions, len(names))
    return each + (names.index(me) < more)


def divide(
    me: str,
    alive: Collection[str],
    partitions: Collection[str],
    claims: Mapping[str, Claim],
    now_ms: int,
) -> Plan:
    """Return what `me` keeps, takes and drops; claims of partitions that are gone are dropped."""
    mine = sorted(name for name, claim in claims.items() if claim.owner == me)
    room = part(me, alive, len(partitions))
    keep = [name for name in mine if name in partitions][:room]
    free = [
        name
        for name in sorted(partitions)
        if name not in claims or (claims[name].owner != me and claims[name].until_ms <= now_ms)
    ]
    take = free[: room - len(keep)]
    return Plan(frozenset(keep), frozenset(take), frozenset(mine) - frozenset(keep))
