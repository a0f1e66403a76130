"""Windows from the tables, against a naive reading of all cells."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares import schema
from pithead.shares.query import (
    UnknownName,
    WindowQuestion,
    read_newest,
    read_seals,
    read_window,
)
from pithead.shares.states import SegmentState
from pithead.shares.window import AccountWeight, GroupKey
from pithead.store import reading, transaction
from tests.support.databases import DATABASES
from tests.support.shares import BITS, COIN, POOL, make_store, parent

pytestmark = pytest.mark.databases


class Cell(NamedTuple):
    account: int
    height: int
    fork: int
    minute: int
    revision: int
    late_at: int
    weight: int


# Three forks of each height, of which the last is disputed.
FORKS = (0, 1, 2)
DISPUTED_FORK = 2
CELLS = st.builds(
    Cell,
    account=st.integers(1, 4),
    height=st.integers(1, 5),
    fork=st.sampled_from(FORKS),
    minute=st.integers(0, 2),
    revision=st.integers(1, 3),
    late_at=st.sampled_from([0, 0, 0, 6, 7]),
    weight=st.integers(1, 5) | st.just((1 << 62) + 1),
)


def segment_id(height: int, fork: int) -> int:
    return height * 10 + fork + 1


async def fill(engine: AsyncEngine, pool: int, cells: Iterable[Cell]) -> None:
    async with transaction(engine) as connection:
        await connection.execute(
            insert(schema.segments),
            [
                {
                    "id": segment_id(height, fork),
                    "coin": COIN,
                    "parent": parent(height, fork),
                    "height": height,
                    "bits": BITS,
                    "aux": [],
                    "value": 1,
                    "state": SegmentState.DISPUTED
                    if fork == DISPUTED_FORK
                    else SegmentState.SETTLED,
                    "first_seen_ms": 0,
                }
                for height in range(1, 8)
                for fork in FORKS
            ],
        )
        rows = [
            {
                "pool": pool,
                "height": cell.late_at or cell.height,
                "seal": cell.late_at,
                "segment": segment_id(cell.height, cell.fork),
                "minute": cell.minute,
                "revision": cell.revision,
                "account": cell.account,
                "weight": cell.weight,
                "shares": 1,
            }
            for cell in cells
        ]
        if rows:
            await connection.execute(insert(schema.cells), rows)


def naive(
    cells: list[Cell], height: int, fork: int, weight: int
) -> tuple[int, int, bool, list[AccountWeight]]:
    """(groups, needed, filled, accounts) by walking over all groups one by one."""
    groups: dict[GroupKey, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for cell in cells:
        # Revisions 1 and 2 are of one scheme, 3 of another.
        if cell.fork == DISPUTED_FORK or cell.revision == 3:
            continue
        if cell.late_at:
            key = GroupKey(cell.late_at, in_time=False, parent=b"", minute=0)
        else:
            key = GroupKey(
                cell.height, in_time=True, parent=parent(cell.height, cell.fork), minute=cell.minute
            )
        groups[key][cell.account] += cell.weight
    end = (height, True, parent(height, fork), 1 << 60)
    left = weight
    full: dict[int, int] = defaultdict(int)
    last: dict[int, int] = {}
    taken = needed = 0
    for key in sorted((key for key in groups if key < end), reverse=True):
        for account, amount in last.items():
            full[account] += amount
        last = groups[key]
        taken += 1
        needed = min(left, sum(last.values()))
        left -= needed
        if left == 0:
            break
    accounts = sorted(full.keys() | last.keys())
    return (
        taken,
        needed,
        left == 0,
        [AccountWeight(name, full.get(name, 0), last.get(name, 0)) for name in accounts],
    )


@pytest.mark.timeout(240)
@settings(max_examples=60, deadline=None)
@given(
    st.lists(CELLS, max_size=25),
    st.integers(1, 7),
    st.sampled_from(FORKS),
    st.integers(1, 60) | st.integers(1 << 62, 1 << 66),
)
def test_a_window_is_what_its_definition_says(
    cells: list[Cell], height: int, fork: int, weight: int
) -> None:
    unique = {cell[:-1]: cell for cell in cells}

    async def check(directory: Path) -> None:
        engine, pool = await make_store(directory)
        try:
            await fill(engine, pool.id, unique.values())
            question = WindowQuestion(POOL, "pplns", height, parent(height, fork), weight)
            async with reading(engine) as connection:
                answer = await read_window(connection, question)
        finally:
            await engine.dispose()
        expected = naive(list(unique.values()), height, fork, weight)
        taken = answer.taken
        assert (taken.groups, taken.needed, taken.filled, answer.accounts) == expected
        assert sum(entry.last for entry in answer.accounts) == taken.group_weight
        assert not answer.sealed

    with DATABASES.example() as directory:
        asyncio.run(check(directory))


async def test_a_window_over_many_heights_is_read_in_steps(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    async with transaction(engine) as connection:
        for height in range(1, 101):
            await connection.execute(
                insert(schema.segments).values(
                    id=height,
                    coin=COIN,
                    parent=parent(height),
                    height=height,
                    bits=BITS,
                    aux=[],
                    value=1,
                    state=SegmentState.SETTLED,
                    first_seen_ms=0,
                )
            )
            await connection.execute(
                insert(schema.cells).values(
                    pool=pool.id,
                    height=height,
                    seal=0,
                    segment=height,
                    minute=0,
                    revision=1,
                    account=1,
                    weight=10,
                    shares=1,
                )
            )
    async with reading(engine) as connection:
        question = WindowQuestion(POOL, "pplns", 90, parent(90), 755)
        answer = await read_window(connection, question)
    await engine.dispose()
    assert (answer.taken.groups, answer.taken.needed, answer.taken.filled) == (76, 5, True)
    assert answer.accounts == [AccountWeight(1, 750, 10)]


async def test_an_unknown_pool_or_scheme_is_named(tmp_path: Path) -> None:
    engine, _ = await make_store(tmp_path)
    async with reading(engine) as connection:
        with pytest.raises(UnknownName, match="pool nobody is unknown"):
            await read_seals(connection, "nobody")
        question = WindowQuestion(POOL, "pps", 1, parent(1), 1)
        with pytest.raises(UnknownName, match="has no scheme pps"):
            await read_window(connection, question)
    await engine.dispose()


async def test_the_newest_segment_is_the_highest_that_earns(tmp_path: Path) -> None:
    engine, pool = await make_store(tmp_path)
    try:
        async with reading(engine) as connection:
            assert await read_newest(connection, POOL) is None
            with pytest.raises(UnknownName):
                await read_newest(connection, "unknown")
        await fill(engine, pool.id, [])
        async with transaction(engine) as connection:
            # A fork further down that came later, and a higher one that nobody knows yet.
            for number, (height, state) in enumerate(
                ((3, SegmentState.CONFIRMED), (9, SegmentState.UNKNOWN)), start=1000
            ):
                await connection.execute(
                    insert(schema.segments).values(
                        id=number,
                        coin=COIN,
                        parent=parent(height, 9),
                        height=height,
                        bits=BITS,
                        aux=[],
                        value=1,
                        state=state,
                        first_seen_ms=0,
                    )
                )
        async with reading(engine) as connection:
            row = await read_newest(connection, POOL)
        assert row is not None
        assert (row.height, bytes(row.parent), row.bits) == (7, parent(7, 1), BITS)
    finally:
        await engine.dispose()
