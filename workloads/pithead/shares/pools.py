"""Pools and their slot tables as the settings hand them down, written into the database.

Both are append-only: a pool keeps its coin, and a slot's revision that took
effect keeps its scheme and parameters, or history would be counted anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.coins.params import ChainParams
from pithead.coins.registry import chain_params
from pithead.config import CoinSettings, PoolSettings, SlotSettings
from pithead.shares import schema
from pithead.shares.locks import lock_registration
from pithead.shares.slots import SlotRevision, SlotTable
from pithead.store import transaction


class PoolConflict(Exception):
    """Raised when settings contradict what the database has counted by."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool as accounting knows it."""

    id: int
    """Of this database."""
    name: str
    """poolId."""
    coin: str
    """`<coin>/<network>`."""
    params: ChainParams
    slots: SlotTable


async def register(
    engine: AsyncEngine, pools: Sequence[PoolSettings], coins: Sequence[CoinSettings]
) -> list[Pool]:
    """Write what is new in the settings; return the pools. Raises PoolConflict."""
    by_name = {coin.name: coin for coin in coins}
    registered = []
    async with transaction(engine) as connection:
        await lock_registration(connection)
        for settings in pools:
            coin = by_name.get(settings.coin)
            if coin is None:
                raise PoolConflict(
                    f"pool {settings.pool}: coin endpoint {settings.coin} is not in the settings; "
                    f"there are: {', '.join(sorted(by_name)) or 'none'}"
                )
            pool_id = await _register_pool(connection, settings.pool, coin.key)
            slots = await _register_slots(connection, pool_id, settings)
            params = chain_params(coin.coin, coin.network)
            registered.append(Pool(pool_id, settings.pool, coin.key, params, slots))
    return registered


async def _register_pool(connection: AsyncConnection, pool: str, coin: str) -> int:
    table = schema.pools
    row = (await connection.execute(select(table).where(table.c.pool == pool))).first()
    if row is None:
        await connection.execute(insert(table).values(pool=pool, coin=coin))
        return int(
            (await connection.execute(select(table.c.id).where(table.c.pool == pool))).scalar_one()
        )
    if row.coin != coin:
        raise PoolConflict(
            f"pool {pool} has counted shares of {row.coin} and cannot change to {coin}: "
            "give the new pool another poolId"
        )
    return int(row.id)


async def _register_slots(
    connection: AsyncConnection, pool_id: int, settings: PoolSettings
) -> SlotTable:
    known = {(row.slot, row.effective_height): row for row in await read_slots(connection, pool_id)}
    for slot in settings.slots:
        row = known.get((slot.slot, slot.effective_height))
        if row is None:
            _check_scheme(settings.pool, slot, known.values())
            await connection.execute(
                insert(schema.revisions).values(
                    pool=pool_id,
                    slot=slot.slot,
                    scheme=slot.scheme,
                    revision=slot.revision,
                    effective_height=slot.effective_height,
                )
            )
        elif (row.scheme, row.revision) != (slot.scheme, slot.revision):
            raise PoolConflict(
                f"pool {settings.pool}: slot {slot.slot} from height {slot.effective_height} is "
                f"{row.scheme} {row.revision}, the settings say {slot.scheme} {slot.revision}; "
                "revisions are append-only, give the new one a later height"
            )
    return SlotTable(await read_slots(connection, pool_id))


async def newest_revision(connection: AsyncConnection, pool_id: int) -> int:
    """Return the highest id of a pool's revisions, 0 when it has none."""
    table = schema.revisions.c
    newest = await connection.scalar(select(func.max(table.id)).where(table.pool == pool_id))
    return int(newest or 0)


async def read_slots(connection: AsyncConnection, pool_id: int) -> list[SlotRevision]:
    """Return all revisions of a pool."""
    table = schema.revisions
    rows = await connection.execute(select(table).where(table.c.pool == pool_id))
    return [
        SlotRevision(row.id, row.slot, row.scheme, row.revision, row.effective_height)
        for row in rows
    ]


def _check_scheme(pool: str, slot: SlotSettings, known: Iterable[SlotRevision]) -> None:
    for row in known:
        if row.slot == slot.slot and row.scheme != slot.scheme:
            raise PoolConflict(
                f"pool {pool}: slot {slot.slot} belongs to scheme {row.scheme} for ever and cannot "
                f"become {slot.scheme}; use a free slot"
            )
