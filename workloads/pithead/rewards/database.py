"""Rewards' database: transactions, blocks, positions.

Writers take turns, those of other processes over the same database too, so that
what a transaction has read still holds when it writes. Their transactions are
short, and there are a few in a second.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from sqlalchemy import Row, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.rewards.schema import (
    BLOCK_BYTES,
    BLOCKS,
    LOG_POSITIONS,
    PAYOUT_SCRIPTS,
    WATCH_POSITIONS,
)
from pithead.rewards.states import Money, State
from pithead.store import reading, take_turns, transaction


class Database:
    """Connections to one rewards database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, alone among all writers; an exception rolls it back."""
        # Taken in this process first, so that waiting holds one connection and not all.
        async with self._writing, transaction(self._engine) as connection:
            await take_turns(connection, "rewards/write")
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot to read from; it waits for no writer."""
        async with reading(self._engine) as connection:
            yield connection


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A block as stored; see the table for the columns. Hashes in internal order."""

    coin: str
    hash: bytes
    pool: str
    height: int
    parent: bytes
    bits: int
    value: int
    slot: int
    producer: bytes
    extranonce1: bytes
    serial: int
    login: str
    worker: str
    found_ms: int
    from_watcher: bool
    state: State = State.CANDIDATE
    checked: bool = False
    recheck: bool = False
    money: Money = Money.NONE
    orphans: int = 0

    @property
    def name(self) -> str:
        """The hash as explorers show it, for people."""
        return self.hash[::-1].hex()


class Recorded(Enum):
    """What recording a block changed."""

    NEW = "new"
    COMPLETED = "completed"
    """A row of the watcher got its finder and bytes."""
    KNOWN = "known"


def _block(row: Row[Any]) -> BlockRow:
    values: dict[str, Any] = dict(row._mapping)
    return BlockRow(**{**values, "state": State(row.state), "money": Money(row.money)})


def _is(coin: str, block_hash: bytes) -> Any:
    return and_(BLOCKS.c.coin == coin, BLOCKS.c.hash == block_hash)


async def find_block(connection: AsyncConnection, coin: str, block_hash: bytes) -> BlockRow | None:
    """The block of an identity, or None."""
    row = (await connection.execute(select(BLOCKS).where(_is(coin, block_hash)))).one_or_none()
    return _block(row) if row is not None else None


async def record_block(connection: AsyncConnection, block: BlockRow, raw: bytes | None) -> Recorded:
    """Insert a block once. A full record completes a row that the watcher wrote before it."""
    known = await find_block(connection, block.coin, block.hash)
    if known is None:
        values = {**asdict(block), "state": int(block.state), "money": int(block.money)}
        await connection.execute(insert(BLOCKS).values(values))
        await _store_bytes(connection, block, raw)
        return Recorded.NEW
    if block.from_watcher or not known.from_watcher:
        return Recorded.KNOWN
    await change_block(
        connection,
        known,
        login=block.login,
        worker=block.worker,
        found_ms=block.found_ms,
        from_watcher=False,
    )
    await _store_bytes(connection, block, raw)
    return Recorded.COMPLETED


async def _store_bytes(connection: AsyncConnection, block: BlockRow, raw: bytes | None) -> None:
    if raw is not None:
        await connection.execute(
            insert(BLOCK_BYTES).values(coin=block.coin, hash=block.hash, bytes=raw)
        )


async def block_bytes(connection: AsyncConnection, block: BlockRow) -> bytes | None:
    """The recorded bytes of a block, ready for submission; None when only the chain has them."""
    found: bytes | None = await connection.scalar(
        select(BLOCK_BYTES.c.bytes).where(
            BLOCK_BYTES.c.coin == block.coin, BLOCK_BYTES.c.hash == block.hash
        )
    )
    return found


async def change_block(connection: AsyncConnection, block: BlockRow, **values: Any) -> BlockRow:
    """Write columns of a block and return it as it is then."""
    stored = {
        key: int(value) if isinstance(value, State | Money) else value
        for key, value in values.items()
    }
    await connection.execute(update(BLOCKS).where(_is(block.coin, block.hash)).values(stored))
    return replace(block, **values)


async def blocks_to_judge(
    connection: AsyncConnection, coin: str, *, scanned: int, ripe: int, limit: int
) -> list[BlockRow]:
    """Blocks whose state may have to change, lowest first.

    Only up to the height `scanned`: below it the watcher notices every
    reorganisation and asks for another look, so a settled block costs nothing.
    Confirmed blocks are due at `ripe` and below, or before their value is checked.
    """
    found: dict[bytes, BlockRow] = {}
    # One question a reason: each has an index, an OR of them has none.
    for due in (
        BLOCKS.c.state == int(State.CANDIDATE),
        BLOCKS.c.recheck.is_(True),
        and_(BLOCKS.c.state == int(State.CONFIRMED), BLOCKS.c.height <= ripe),
        and_(BLOCKS.c.state == int(State.CONFIRMED), BLOCKS.c.checked.is_(False)),
    ):
        rows = await connection.execute(
            select(BLOCKS)
            .where(BLOCKS.c.coin == coin, BLOCKS.c.height <= scanned, due)
            .order_by(BLOCKS.c.height, BLOCKS.c.hash)
            .limit(limit)
        )
        found |= {row.hash: _block(row) for row in rows}
    return sorted(found.values(), key=lambda block: (block.height, block.hash))[:limit]


async def candidates_above(
    connection: AsyncConnection, coin: str, height: int, limit: int
) -> list[BlockRow]:
    """Candidates above a height: those that the chain may not have heard of."""
    rows = await connection.execute(
        select(BLOCKS)
        .where(
            BLOCKS.c.coin == coin,
            BLOCKS.c.height > height,
            BLOCKS.c.state == int(State.CANDIDATE),
        )
        .order_by(BLOCKS.c.height, BLOCKS.c.hash)
        .limit(limit)
    )
    return [_block(row) for row in rows]


async def recheck_above(connection: AsyncConnection, coin: str, height: int) -> int:
    """Ask for another look at all blocks above a height; returns how many there are."""
    result = await connection.execute(
        update(BLOCKS).where(BLOCKS.c.coin == coin, BLOCKS.c.height > height).values(recheck=True)
    )
    return int(result.rowcount)


async def recheck(connection: AsyncConnection, block: BlockRow) -> None:
    """Ask for another look at one block."""
    await change_block(connection, block, recheck=True)


async def without_finder(connection: AsyncConnection, limit: int) -> list[BlockRow]:
    """Unripe blocks that only the chain showed and whose finder is not known, newest first."""
    rows = await connection.execute(
        select(BLOCKS)
        .where(
            BLOCKS.c.state.in_([int(State.CANDIDATE), int(State.CONFIRMED)]),
            BLOCKS.c.from_watcher,
            BLOCKS.c.login == "",
        )
        .order_by(BLOCKS.c.height.desc())
        .limit(limit)
    )
    return [_block(row) for row in rows]


async def newest_blocks(connection: AsyncConnection, pool: str, limit: int) -> list[BlockRow]:
    """A pool's blocks, newest first."""
    rows = await connection.execute(
        select(BLOCKS)
        .where(BLOCKS.c.pool == pool)
        .order_by(BLOCKS.c.height.desc(), BLOCKS.c.found_ms.desc(), BLOCKS.c.hash)
        .limit(limit)
    )
    return [_block(row) for row in rows]


async def state_counts(connection: AsyncConnection, pool: str) -> Mapping[State, int]:
    """How many blocks of a pool stand in each state."""
    rows = await connection.execute(
        select(BLOCKS.c.state, func.count()).where(BLOCKS.c.pool == pool).group_by(BLOCKS.c.state)
    )
    return {State(state): count for state, count in rows}


async def lowest_height(connection: AsyncConnection, coin: str) -> int | None:
    """Height of the first known block of a coin."""
    found: int | None = await connection.scalar(
        select(func.min(BLOCKS.c.height)).where(BLOCKS.c.coin == coin)
    )
    return found


@dataclass(frozen=True, slots=True)
class Scanned:
    """The last block of the main chain that the watcher has looked at."""

    height: int
    hash: bytes


async def watch_position(connection: AsyncConnection, coin: str) -> Scanned | None:
    """Where the watcher of a coin stands, None before its first start."""
    row = (
        await connection.execute(
            select(WATCH_POSITIONS.c.height, WATCH_POSITIONS.c.hash).where(
                WATCH_POSITIONS.c.coin == coin
            )
        )
    ).one_or_none()
    return Scanned(row.height, row.hash) if row is not None else None


async def set_watch_position(connection: AsyncConnection, coin: str, at: Scanned) -> None:
    """Move the watcher of a coin."""
    changed = await connection.execute(
        update(WATCH_POSITIONS)
        .where(WATCH_POSITIONS.c.coin == coin)
        .values(height=at.height, hash=at.hash)
    )
    if not changed.rowcount:
        await connection.execute(
            insert(WATCH_POSITIONS).values(coin=coin, height=at.height, hash=at.hash)
        )


async def log_positions(connection: AsyncConnection, topic: str, log: str) -> dict[str, int]:
    """Where to read on in each partition of a topic of one log; another log's mean nothing."""
    rows = await connection.execute(
        select(LOG_POSITIONS.c.partition, LOG_POSITIONS.c.position).where(
            LOG_POSITIONS.c.topic == topic, LOG_POSITIONS.c.log == log
        )
    )
    return {row.partition: row.position for row in rows}


async def set_log_position(
    connection: AsyncConnection, topic: str, partition: str, log: str, position: int
) -> None:
    """Commit a position of a log, in the transaction of the records before it."""
    changed = await connection.execute(
        update(LOG_POSITIONS)
        .where(LOG_POSITIONS.c.topic == topic, LOG_POSITIONS.c.partition == partition)
        .values(log=log, position=position)
    )
    if not changed.rowcount:
        await connection.execute(
            insert(LOG_POSITIONS).values(
                topic=topic, partition=partition, log=log, position=position
            )
        )


async def remember_script(connection: AsyncConnection, pool: str, script: bytes) -> None:
    """Add a script to those that the pool's coinbases pay."""
    if script not in await pool_scripts(connection, pool):
        await connection.execute(insert(PAYOUT_SCRIPTS).values(pool=pool, script=script))


async def pool_scripts(connection: AsyncConnection, pool: str) -> Sequence[bytes]:
    """Every script that the pool's coinbases ever paid."""
    rows = await connection.scalars(
        select(PAYOUT_SCRIPTS.c.script).where(PAYOUT_SCRIPTS.c.pool == pool)
    )
    return list(rows)
