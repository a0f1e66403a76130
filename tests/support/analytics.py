"""Batches, logs and a writer for tests of analytics."""

import random
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.contracts.share_log_pb2 import RejectCount, Segment, ShareBatch
from pithead.log.file_log import FileLog
from pithead.log.topics import FORMAT, shares_topic
from pithead.shares import schema
from pithead.shares.pools import Pool
from pithead.store import reading
from pithead.store.columnar import Columnar
from tests.support.recount import Counted, recount
from tests.support.shares import BITS, COIN, PARAMS, POOL, address, parent, payload

NOON_MS = 1_790_000_000_000
"""2026-09-21: tests of tables with a TTL set another one, or stay younger than it."""


def mixed_batch(
    dice: random.Random,
    producer: bytes,
    sequence: int,
    time_ms: int,
    *,
    shares: int = 20,
    accounts: int = 4,
    span_ms: int = 3000,
    region: str = "eu",
) -> ShareBatch:
    """A batch of shares and rejects of several workers and schemes."""
    batch = ShareBatch(
        format=FORMAT,
        producer=producer,
        sequence=sequence,
        promise=1,
        pool=POOL,
        coin=COIN,
        region=region,
        time_base_ms=time_ms,
    )
    for height in (800_000, 800_001):
        batch.segments.append(
            Segment(parent=parent(height), height=height, bits=BITS, value=5_000_000_000)
        )
    for account in range(1, accounts + 1):
        for worker in ("", "rig"):
            batch.account.append(address(account))
            batch.worker.append(worker)
            batch.slot.append(account % 2)
            batch.best.append(0)
    for offset in sorted(dice.randrange(span_ms) for _ in range(shares)):
        login = dice.randrange(len(batch.account))
        weight = 1 << dice.randrange(4, 30)
        batch.login.append(login)
        batch.segment.append(dice.randrange(2))
        batch.weight.append(weight)
        batch.time_offset_ms.append(offset)
        batch.serial.append(dice.randrange(1000))
        batch.flags.append(int(dice.randrange(50) == 0))
        batch.best[login] = max(batch.best[login], weight * dice.randrange(1, 9))
    for _ in range(dice.randrange(3)):
        batch.rejects.append(
            RejectCount(
                login=dice.randrange(len(batch.account)),
                reason=dice.randrange(1, 6),  # type: ignore[arg-type]
                count=dice.randrange(1, 100),
            )
        )
    return batch


async def append(
    root: Path, batches: Sequence[ShareBatch], partition: str = "eu-0", pool: str = POOL
) -> None:
    """Put batches into a log of chunk files."""
    writer = await FileLog(root).writer(shares_topic(pool), partition)
    try:
        for batch in batches:
            await writer.append(payload(batch))
    finally:
        await writer.close()


async def account_ids(engine: AsyncEngine) -> dict[str, int]:
    """Ids of accounts by the login that they were first met with."""
    async with reading(engine) as connection:
        rows = await connection.execute(select(schema.accounts))
        return {row.login: row.id for row in rows}


async def expected(engine: AsyncEngine, pool: Pool, batches: Sequence[ShareBatch]) -> Counted:
    """What the columnar tables must hold of batches that are all in the log."""
    return recount(batches, pool.name, pool.id, await account_ids(engine))


async def keep_for_ever(door: Columnar) -> None:
    """Let raw rows of any age stay."""
    if door.server.modern:
        for table in ("shares", "rejects"):
            await door.command(f"ALTER TABLE {table} REMOVE TTL")


__all__ = [
    "COIN",
    "NOON_MS",
    "PARAMS",
    "POOL",
    "account_ids",
    "address",
    "append",
    "expected",
    "keep_for_ever",
    "mixed_batch",
]
