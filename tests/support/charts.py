"""Shares and rejects straight into the columnar tables, and a naive count of them.

For tests of questions: the way of a batch through the log is tested elsewhere.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pithead.shares.analytics.reading import region_id, worker_id
from pithead.shares.analytics.recompute import statements
from pithead.store.columnar import Column, Columnar

REASONS = {1: "stale", 2: "duplicate", 3: "low", 4: "invalid", 5: "invalid"}
VERSIONS = itertools.count(1)
"""Of rollups that replace each other: the highest stays."""

SUMS = ("shares", "work", "stale", "duplicate", "low", "invalid")


@dataclass(frozen=True, slots=True)
class Event:
    """An accepted share, or `count` refused ones of a reason."""

    t_s: int
    account: int
    worker: str
    region: str = "eu"
    slot: int = 0
    height: int = 1
    weight: int = 1
    achieved: int = 1
    reason: int = 0
    count: int = 0


def events_of(
    seed: int, count: int, *, start_s: int, end_s: int, accounts: Sequence[int]
) -> list[Event]:
    """Made-up events: workers of different strength, some gone since long, some refused shares."""
    chance = random.Random(seed)
    events = []
    for _ in range(count):
        account = chance.choice(accounts)
        number = chance.randrange(12)
        # The higher its number, the longer ago a worker has left.
        until_s = end_s - (number - 6) * 86_400 if number > 6 else end_s
        t_s = int(until_s - (until_s - start_s) * chance.random() ** 3)
        refused = chance.random() < 0.2
        events.append(
            Event(
                t_s=t_s,
                account=account,
                worker=f"Rig-{number}" if number else "",
                region=chance.choice(["eu", "us", "ap"]),
                slot=chance.randrange(2),
                height=1 + (t_s - start_s) // 3600,
                weight=0 if refused else (number + 1) * chance.randrange(1, 1 << 34),
                achieved=0 if refused else chance.randrange(1, 1 << 60),
                reason=chance.randrange(1, 6) if refused else 0,
                count=chance.randrange(1, 9) if refused else 0,
            )
        )
    return events


async def load(door: Columnar, pool: str, pool_id: int, events: Sequence[Event]) -> None:
    """Insert events, and count the rollups where the server has no views."""
    made = [event for event in events if not event.reason]
    refused = [event for event in events if event.reason]
    await door.insert("shares", _shares(pool, pool_id, made))
    await door.insert("rejects", _rejects(pool, pool_id, refused))
    workers = sorted({(event.account, event.worker) for event in events})
    await door.insert(
        "workers",
        {
            "worker": np.array([worker_id(pool, *each) for each in workers], np.uint64),
            "pool": np.full(len(workers), pool_id, np.uint32),
            "account": np.array([account for account, _ in workers], np.uint64),
            "name": [name for _, name in workers],
            "first": np.zeros(len(workers), np.uint32),
            "ver": np.zeros(len(workers), np.uint32),
        },
    )
    regions = sorted({event.region for event in events})
    await door.insert(
        "regions",
        {"region": np.array([region_id(name) for name in regions], np.uint32), "name": regions},
    )
    if not door.server.modern:
        minutes = np.unique(np.array([event.t_s // 60 for event in events], np.int64))
        for statement in statements(pool_id, minutes, next(VERSIONS)):
            await door.command(statement)


def _places(pool: str, pool_id: int, events: Sequence[Event]) -> dict[str, Column]:
    rows = len(events)
    return {
        "t": np.array([event.t_s for event in events], np.uint32),
        "pool": np.full(rows, pool_id, np.uint32),
        "account": np.array([event.account for event in events], np.uint64),
        "worker": np.array(
            [worker_id(pool, event.account, event.worker) for event in events], np.uint64
        ),
        "region": np.array([region_id(event.region) for event in events], np.uint32),
        "slot": np.array([event.slot for event in events], np.uint8),
        "producer": np.ones(rows, np.uint64),
        "seq": np.arange(rows, dtype=np.uint64),
        "idx": np.zeros(rows, np.uint32),
    }


def _shares(pool: str, pool_id: int, events: Sequence[Event]) -> dict[str, Column]:
    return {
        **_places(pool, pool_id, events),
        "ms": np.zeros(len(events), np.uint16),
        "height": np.array([event.height for event in events], np.uint32),
        "weight": np.array([event.weight for event in events], np.uint64),
        "achieved": np.array([event.achieved for event in events], np.uint64),
        "serial": np.zeros(len(events), np.uint32),
        "solved": np.zeros(len(events), np.uint8),
    }


def _rejects(pool: str, pool_id: int, events: Sequence[Event]) -> dict[str, Column]:
    return {
        **_places(pool, pool_id, events),
        "reason": np.array([event.reason for event in events], np.uint8),
        "count": np.array([event.count for event in events], np.uint32),
    }


def counted(events: Iterable[Event], chosen: Callable[[Event], bool]) -> list[int]:
    """The six sums of the chosen events."""
    sums = dict.fromkeys(SUMS, 0)
    for event in events:
        if not chosen(event):
            continue
        if event.reason:
            sums[REASONS[event.reason]] += event.count
        else:
            sums["shares"] += 1
            sums["work"] += event.weight
    return list(sums.values())
