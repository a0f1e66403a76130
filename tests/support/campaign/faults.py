"""When what is broken: every member has a lane of its own, so that faults overlap.

A lane waits, breaks its member in one of three ways, mends it, and goes on while the campaign
has faults left. One seed decides all of it but the machine's own timing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tests.support.campaign.members import Member


@dataclass(frozen=True)
class Lane:
    """How one member is broken."""

    member: Member
    every_s: float
    """Mean time between two faults, mending included."""
    kill: int = 1
    """Weights of the three kinds."""
    pause: int = 1
    restart: int = 1
    pause_s: tuple[float, float] = (0.2, 2.5)
    """Shortest and longest pause."""
    down_s: tuple[float, float] = (0.0, 0.6)
    """How long a killed one stays down."""


@dataclass
class Account:
    """What was done."""

    left: int
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    began_s: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Take one fault out of those that are left."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True


async def inflict(lanes: Sequence[Lane], account: Account, seed: str) -> None:
    """Break members until no fault is left; all of them run again then."""
    async with asyncio.TaskGroup() as group:
        for number, lane in enumerate(lanes):
            chance = Random(f"{seed}/{number}")
            group.create_task(_lane(lane, account, chance))


async def _lane(lane: Lane, account: Account, chance: Random) -> None:
    member = lane.member
    ways = ("kill", "pause", "restart")
    weights = (lane.kill, lane.pause, lane.restart)
    while True:
        await asyncio.sleep(chance.expovariate(1 / lane.every_s))
        if not account.take():
            return
        way = chance.choices(ways, weights)[0]
        if way == "kill":
            await member.kill()
            await asyncio.sleep(chance.uniform(*lane.down_s))
            await member.start()
        elif way == "pause":
            member.pause()
            await asyncio.sleep(chance.uniform(*lane.pause_s))
            member.resume()
        else:
            await member.restart()
        account.done[member.kind, way] += 1
