"""What accounts worked and found, read from the tables."""

from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares import schema
from pithead.shares.finds import add_finds
from pithead.shares.query import UnknownName
from pithead.shares.states import SegmentState
from pithead.shares.suspects import read_records
from pithead.shares.withholding import Record, Work
from pithead.store import reading, transaction
from tests.support.shares import BITS, COIN, POOL, address, make_store, parent

pytestmark = pytest.mark.databases

HUGE = (1 << 62) + 5


async def fill(engine: AsyncEngine, pool: int) -> None:
    """Two accounts on four segments, one of them disputed, one at another difficulty."""
    states = [SegmentState.SETTLED, SegmentState.CONFIRMED, SegmentState.DISPUTED]
    async with transaction(engine) as connection:
        for account in (1, 2):
            key = address(account).encode()
            await connection.execute(
                insert(schema.accounts).values(
                    id=account, coin=COIN, key=key, script=key, login=address(account)
                )
            )
        for number, height in enumerate((10, 11, 11, 12), start=1):
            await connection.execute(
                insert(schema.segments).values(
                    id=number,
                    coin=COIN,
                    parent=parent(height, number),
                    height=height,
                    bits=BITS - (number == 4),
                    aux=[],
                    value=1,
                    state=states[(number - 1) % 3],
                    first_seen_ms=0,
                )
            )
        for segment, height, account, weight, shares in (
            (1, 10, 1, HUGE, 3),
            (2, 11, 1, HUGE, 4),
            (3, 11, 1, 100, 1),
            (4, 12, 1, 7, 2),
            # Late: it counts at a height above its segment's.
            (1, 12, 2, 9, 1),
        ):
            await connection.execute(
                insert(schema.cells).values(
                    pool=pool,
                    height=height,
                    seal=height if account == 2 else 0,
                    segment=segment,
                    minute=0,
                    revision=1,
                    account=account,
                    weight=weight,
                    shares=shares,
                )
            )
        await add_finds(connection, pool, Counter({(1, 1): 1, (3, 1): 1, (4, 1): 1}))
        await add_finds(connection, pool, Counter({(4, 1): 2, (1, 2): 1}))
        await add_finds(connection, pool, Counter())


async def records(engine: AsyncEngine, from_height: int = 0) -> tuple[int, list[Record]]:
    async with reading(engine) as connection:
        first, coin, found = await read_records(connection, POOL, from_height)
    assert coin == COIN
    return first, found


async def test_work_and_finds_are_summed_by_account_and_difficulty(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id)
    assert await records(engine) == (
        0,
        [
            # Nothing of the disputed segment counts, neither work nor its block.
            Record(1, address(1), {BITS: Work(2 * HUGE, 7), BITS - 1: Work(7, 2)}, 4),
            Record(2, address(2), {BITS: Work(9, 1)}, 1),
        ],
    )
    assert await records(engine, 11) == (
        11,
        [Record(1, address(1), {BITS: Work(HUGE, 4), BITS - 1: Work(7, 2)}, 3)],
    )
    await engine.dispose()


async def test_nothing_counts_from_before_solved_shares_were_counted(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    await fill(engine, pool.id)
    async with transaction(engine) as connection:
        await connection.execute(update(schema.pools).values(finds_from=12))
    assert await records(engine, 3) == (
        12,
        [Record(1, address(1), {BITS - 1: Work(7, 2)}, 3)],
    )
    with pytest.raises(UnknownName):
        async with reading(engine) as connection:
            await read_records(connection, "nobody", 0)
    await engine.dispose()
