"""Splits in the database, and the entries that the ledger must hold because of them.

A split is provisional, for display, until it is written once more as final;
after that it never changes. `plan_entries` compares where a block's money is with
where its state says it belongs and writes the entries in between, in the
transaction that changed either; posting them is somebody else's work.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.rewards.booking import entry_id
from pithead.rewards.database import BlockRow, change_block, find_block
from pithead.rewards.schema import BLOCKS, ENTRIES, SCHEMES, SPLIT_SHARES, SPLITS
from pithead.rewards.scheme import Split, SplitShare
from pithead.rewards.states import (
    AFTER_MOVEMENT,
    ON_CHAIN,
    REVERSALS,
    Money,
    Movement,
    State,
    movement,
)

CHUNK = 5000
"""Shares in one INSERT: 100,000 accounts go in twenty statements, none of them huge."""


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """What a split keeps of its window, to prove it later. Weights as they were used."""

    weight: int
    """W: the weight that the scheme wanted."""
    group_weight: int
    needed: int
    filled: bool
    groups: int
    first_group: str
    last_group: str
    hash: bytes
    archive: bytes = b""
    """Hash of the block's height in the archive of shares; empty while it is not archived."""


@dataclass(frozen=True, slots=True)
class StoredSplit:
    """A split as stored, without its shares' logins."""

    coin: str
    hash: bytes
    revision: str
    final: bool
    window: WindowFacts
    split: Split
    made_ms: int


class SplitIsFinal(Exception):
    """Raised when something would change a final split; nothing has changed."""

    def __init__(self, coin: str, block_hash: bytes) -> None:
        self.coin = coin
        self.hash = block_hash
        super().__init__(f"the split of {coin} block {block_hash[::-1].hex()} is final")


def _of(table: Table, coin: str, block_hash: bytes) -> ColumnElement[bool]:
    return and_(table.c.coin == coin, table.c.hash == block_hash)


def _same_block(table: Table) -> ColumnElement[bool]:
    return and_(table.c.coin == BLOCKS.c.coin, table.c.hash == BLOCKS.c.hash)


async def store_split(connection: AsyncConnection, stored: StoredSplit) -> None:
    """Write a split in place of a provisional one; raises SplitIsFinal.

    Checks conservation before it writes anything.
    """
    stored.split.check()
    standing = await connection.scalar(
        select(SPLITS.c.final).where(_of(SPLITS, stored.coin, stored.hash))
    )
    if standing:
        raise SplitIsFinal(stored.coin, stored.hash)
    if standing is not None:
        for table in (SPLIT_SHARES, SPLITS):
            await connection.execute(delete(table).where(_of(table, stored.coin, stored.hash)))
    window, split = stored.window, stored.split
    await connection.execute(
        insert(SPLITS).values(
            coin=stored.coin,
            hash=stored.hash,
            revision=stored.revision,
            final=stored.final,
            weight=window.weight,
            group_weight=window.group_weight,
            needed=window.needed,
            filled=window.filled,
            groups=window.groups,
            first_group=window.first_group,
            last_group=window.last_group,
            window_hash=window.hash,
            value=split.value,
            carried=split.carried,
            fee=split.fee,
            remainder=split.remainder,
            made_ms=stored.made_ms,
            archive_hash=window.archive or None,
        )
    )
    for start in range(0, len(split.shares), CHUNK):
        await connection.execute(
            insert(SPLIT_SHARES),
            [
                {
                    "coin": stored.coin,
                    "hash": stored.hash,
                    "account": share.account,
                    "amount": share.amount,
                    "weight": share.weight,
                }
                for share in split.shares[start : start + CHUNK]
            ],
        )


async def find_split(
    connection: AsyncConnection, coin: str, block_hash: bytes
) -> StoredSplit | None:
    """The split of a block; its conservation is checked after reading, too."""
    row = (
        await connection.execute(select(SPLITS).where(_of(SPLITS, coin, block_hash)))
    ).one_or_none()
    if row is None:
        return None
    shares = await connection.execute(
        select(SPLIT_SHARES.c.account, SPLIT_SHARES.c.amount, SPLIT_SHARES.c.weight)
        .where(_of(SPLIT_SHARES, coin, block_hash))
        .order_by(SPLIT_SHARES.c.account)
    )
    stored = _stored(row, [(one.account, one.amount, one.weight) for one in shares])
    stored.split.check()
    return stored


def _stored(row: Row[Any], shares: Iterable[tuple[int, int, int]]) -> StoredSplit:
    window = WindowFacts(
        weight=row.weight,
        group_weight=row.group_weight,
        needed=row.needed,
        filled=row.filled,
        groups=row.groups,
        first_group=row.first_group,
        last_group=row.last_group,
        hash=row.window_hash,
        archive=row.archive_hash or b"",
    )
    parts = tuple(SplitShare(account, amount, weight) for account, amount, weight in shares)
    split = Split(row.value, row.carried, row.fee, row.remainder, parts)
    return StoredSplit(row.coin, row.hash, row.revision, row.final, window, split, row.made_ms)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A block without a final split; `made_ms` is when its provisional one was made, or 0."""

    block: BlockRow
    made_ms: int


async def unsettled_blocks(connection: AsyncConnection, pool: str, limit: int) -> list[Unsettled]:
    """Blocks of a pool that are not orphaned and have no final split, lowest first.

    Blocks of a slot that no scheme has are left out: they wait in suspense.
    """
    rows = await connection.execute(
        select(BLOCKS.c.coin, BLOCKS.c.hash, func.coalesce(SPLITS.c.made_ms, 0))
        .select_from(
            BLOCKS.join(
                SCHEMES, and_(SCHEMES.c.pool == BLOCKS.c.pool, SCHEMES.c.slot == BLOCKS.c.slot)
            ).outerjoin(SPLITS, _same_block(SPLITS))
        )
        .where(
            BLOCKS.c.pool == pool,
            # Money moves only with a final split: this keeps the long history out by an index.
            BLOCKS.c.money == int(Money.NONE),
            BLOCKS.c.state != int(State.ORPHANED),
            or_(SPLITS.c.final.is_(None), SPLITS.c.final.is_(False)),
        )
        .order_by(BLOCKS.c.height, BLOCKS.c.hash)
        .limit(limit)
    )
    found = []
    for coin, block_hash, made_ms in rows.all():
        block = await find_block(connection, coin, block_hash)
        if block is not None:
            found.append(Unsettled(block, made_ms))
    return found


def can_be_final(block: BlockRow) -> bool:
    """Whether a block's own side allows a final split: on the chain, undoubted, value checked."""
    return block.state in ON_CHAIN and block.checked and not block.recheck


async def has_final_split(connection: AsyncConnection, coin: str, block_hash: bytes) -> bool:
    """Whether a block's split is final."""
    return bool(
        await connection.scalar(select(SPLITS.c.final).where(_of(SPLITS, coin, block_hash)))
    )


async def final_among(
    connection: AsyncConnection, coin: str, hashes: Sequence[bytes]
) -> set[bytes]:
    """Those of some blocks whose split is final."""
    rows = await connection.scalars(
        select(SPLITS.c.hash).where(
            SPLITS.c.coin == coin, SPLITS.c.final, SPLITS.c.hash.in_(hashes)
        )
    )
    return set(rows)


async def final_splits(connection: AsyncConnection, coin: str) -> list[bytes]:
    """Hashes of a coin's blocks with a final split, lowest block first."""
    rows = await connection.scalars(
        select(SPLITS.c.hash)
        .join_from(
            SPLITS, BLOCKS, and_(SPLITS.c.coin == BLOCKS.c.coin, SPLITS.c.hash == BLOCKS.c.hash)
        )
        .where(SPLITS.c.coin == coin, SPLITS.c.final)
        .order_by(BLOCKS.c.height, BLOCKS.c.hash)
    )
    return list(rows)


@dataclass(frozen=True, slots=True)
class PlannedEntry:
    """An entry that the ledger must hold."""

    coin: str
    hash: bytes
    number: int
    id: str
    movement: Movement
    booked: bool


async def plan_entries(connection: AsyncConnection, block: BlockRow) -> BlockRow:
    """Write the entries between where a block's money is and where it belongs."""
    final = await has_final_split(connection, block.coin, block.hash)
    while step := movement(block.state, block.money, final=final, orphans=block.orphans):
        orphans = block.orphans + (step in REVERSALS)
        number = await connection.scalar(
            select(func.count()).select_from(ENTRIES).where(_of(ENTRIES, block.coin, block.hash))
        )
        await connection.execute(
            insert(ENTRIES).values(
                coin=block.coin,
                hash=block.hash,
                number=(number or 0) + 1,
                id=entry_id(step, block.coin, block.hash, orphans),
                movement=step.value,
                booked=False,
            )
        )
        block = await change_block(connection, block, money=AFTER_MOVEMENT[step], orphans=orphans)
    return block


async def block_entries(
    connection: AsyncConnection, coin: str, block_hash: bytes
) -> list[PlannedEntry]:
    """All entries of a block in their order."""
    return await _entries(connection, _of(ENTRIES, coin, block_hash))


async def unbooked_entries(connection: AsyncConnection, limit: int) -> list[PlannedEntry]:
    """Entries that the ledger has not answered yet, those of one block in their order."""
    return await _entries(connection, ENTRIES.c.booked.is_(False), limit)


async def _entries(
    connection: AsyncConnection, where: ColumnElement[bool], limit: int | None = None
) -> list[PlannedEntry]:
    rows = await connection.execute(
        select(ENTRIES)
        .where(where)
        .order_by(ENTRIES.c.coin, ENTRIES.c.hash, ENTRIES.c.number)
        .limit(limit)
    )
    return [
        PlannedEntry(row.coin, row.hash, row.number, row.id, Movement(row.movement), row.booked)
        for row in rows
    ]


async def mark_booked(connection: AsyncConnection, planned: PlannedEntry) -> None:
    """Note that the ledger holds an entry."""
    await connection.execute(
        update(ENTRIES)
        .where(_of(ENTRIES, planned.coin, planned.hash), ENTRIES.c.number == planned.number)
        .values(booked=True)
    )
