"""What must hold when the faults are over: what was answered `true` is what was credited."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from pithead.config.share_log import open_log
from pithead.contracts import accounting_pb2 as pb
from pithead.contracts.accounting_pb2_grpc import AccountingStub
from pithead.log.columns import decode_columns
from pithead.log.topics import shares_topic
from pithead.rpc import channel
from pithead.shares import schema
from pithead.shares.audit import recount
from pithead.shares.query import read_counters
from pithead.store import open_store, reading
from tests.support.campaign.load import Heard, Login
from tests.support.campaign.world import PARAMS, World
from tests.support.doors import peer_of
from tests.support.edge import POOL, address

READ_BYTES = 1 << 22
CAUGHT_UP_LIMIT_S = 120.0


@dataclass
class Logged:
    """The log, each batch once."""

    shares: Counter[Login]
    producers: int
    batches: int
    copies: int
    """Batches that lie in the log more than once."""


async def read_log(world: World) -> Logged:
    """Count the shares of every login in the log."""
    numbers = {
        address(PARAMS, number): number for each in world.regions for number in each.accounts
    }
    found = Logged(Counter(), 0, 0, 0)
    seen: set[tuple[bytes, int]] = set()
    reader = open_log(world.shares.log).reader(shares_topic(POOL))
    try:
        for partition in await reader.partitions():
            position = await reader.start(partition)
            while records := await reader.read(partition, position, READ_BYTES):
                position = records[-1].next_position
                for record in records:
                    columns = decode_columns(record.payload)
                    name = (columns.batch.producer, columns.batch.sequence)
                    if name in seen:
                        found.copies += 1
                        continue
                    seen.add(name)
                    counts = np.bincount(columns.login, minlength=len(columns.accounts)).tolist()
                    for account, worker, count in zip(
                        columns.accounts, columns.workers, counts, strict=True
                    ):
                        if count:
                            found.shares[numbers[account], int(worker)] += count
    finally:
        await reader.close()
    found.batches = len(seen)
    found.producers = len({producer for producer, _ in seen})
    return found


def compare(heard: Heard, logged: Logged) -> list[str]:
    """Logins of which the log holds fewer shares than were answered, or more than were sent."""
    problems = []
    for login in heard.true.keys() | heard.unknown.keys() | logged.shares.keys():
        at_least = heard.true[login]
        at_most = at_least + heard.unknown[login]
        count = logged.shares[login]
        if not at_least <= count <= at_most:
            problems.append(f"{login}: {at_least} to {at_most} answered, {count} in the log")
    return problems


@dataclass
class Credited:
    """What accounting holds."""

    shares: dict[int, int]
    """By account number."""
    missing: int
    open_producers: int
    sealed_height: int
    late: int


async def wait_for_credit(world: World, wanted: Counter[int], sealed_min: int) -> Credited:
    """Accounting once it has counted and sealed what it should, or as it is when it does not."""
    deadline = time.monotonic() + CAUGHT_UP_LIMIT_S
    while True:
        found = await read_credit(world)
        done = found.shares == dict(wanted) and found.sealed_height >= sealed_min
        if done or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.5)


async def read_credit(world: World) -> Credited:
    """Accounting as it is now."""
    numbers = {
        address(PARAMS, number): number for each in world.regions for number in each.accounts
    }
    engine = open_store(world.database)
    try:
        async with reading(engine) as connection:
            _, counts = await read_counters(connection, POOL)
            gaps = (await connection.execute(select(schema.missing))).all()
            producers = (await connection.execute(select(schema.producers))).all()
            pool = (await connection.execute(select(schema.pools))).one()
            late = await connection.execute(
                select(schema.cells.c.shares).where(schema.cells.c.seal != 0)
            )
            return Credited(
                shares={numbers[each.login]: each.shares for each in counts},
                missing=sum(row.last - row.first + 1 for row in gaps),
                open_producers=sum(row.state == "open" for row in producers),
                sealed_height=pool.sealed_height or 0,
                late=sum(row.shares for row in late),
            )
    finally:
        await engine.dispose()


async def close_silent(world: World) -> int:
    """Decide that producers which were killed write nothing more; how many there were."""
    async with channel(peer_of(world.shares.serve)) as opened:
        stub = AccountingStub(opened)
        waiting = await stub.Waiting(pb.WaitingRequest(pool=POOL), timeout=30)
        for producer in waiting.producers:
            await stub.Decide(
                pb.DecideRequest(
                    decision=pb.DECISION_CLOSE_PRODUCER,
                    producer=producer.producer,
                    who="campaign",
                    reason="its process was killed, and all edges have ended",
                ),
                timeout=30,
            )
    return len(waiting.producers)


def _numbers(world: World) -> dict[str, int]:
    """Account numbers by address."""
    return {address(PARAMS, number): number for each in world.regions for number in each.accounts}


async def recounted(world: World) -> list[str]:
    """Cells that are not what the log says."""
    engine = open_store(world.database)
    try:
        return [str(each) for each in await recount(engine, open_log(world.shares.log))]
    finally:
        await engine.dispose()
