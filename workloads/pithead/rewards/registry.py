"""Registers the schemes that a pool offers: slots for ever, revisions from a height on.

A scheme keeps its slot for ever, because blocks and shares name it. The first
revision of a scheme counts from height 0. Changed parameters are a new revision,
which counts from a height above every tip that the nodes know plus a notice
period, so that no share already made can fall under it. Applying the same again
changes nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.rewards.database import Database
from pithead.rewards.schema import REVISIONS, SCHEMES
from pithead.rewards.scheme import revision_of, scheme_for

SLOTS = 256
"""The slot is one byte of extranonce1."""


class MethodChanged(Exception):
    """Raised when a scheme's method would change; it is immutable."""

    def __init__(self, pool: str, scheme: str, standing: str, asked: str) -> None:
        super().__init__(
            f"pool {pool}: scheme {scheme} is {standing} for ever, not {asked}; "
            "give the new method a RewardScheme of its own name"
        )


class CoinChanged(Exception):
    """Raised when a pool known on one chain is applied on another."""

    def __init__(self, pool: str, standing: str, asked: str) -> None:
        super().__init__(
            f"pool {pool} has its books on {standing}, not {asked}; give the new pool "
            "a poolId of its own"
        )


class SlotsExhausted(Exception):
    """Raised when a pool has used up the slots of one byte."""

    def __init__(self, pool: str) -> None:
        super().__init__(f"pool {pool} has used all {SLOTS} slots that schemes can have")


class TipUnknown(Exception):
    """Raised when a revision needs a height and no node tells one."""

    def __init__(self, pool: str, reason: str) -> None:
        super().__init__(
            f"pool {pool}: changed scheme parameters need the tip of the chain to count from, "
            f"and no node tells it ({reason}); apply again when one does"
        )


@dataclass(frozen=True, slots=True)
class SchemeSpec:
    """A scheme as a manifest gives it; `parameters` is canonical JSON."""

    name: str
    method: str
    parameters: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A set of parameters behind a slot, from a height on."""

    slot: int
    scheme: str
    revision: str
    effective_height: int
    method: str
    parameters: str


class Registry:
    """The scheme table of all pools."""

    def __init__(self, database: Database, notice_blocks: int) -> None:
        self._database = database
        self._notice_blocks = notice_blocks

    async def apply(
        self,
        pool: str,
        coin: str,
        specs: Sequence[SchemeSpec],
        tip: Callable[[], Awaitable[int]],
        now_ms: int,
    ) -> list[Revision]:
        """Register schemes and return the pool's whole table, withdrawn ones included.

        `tip` returns the highest height that any node knows; it is asked only when
        parameters changed, and raises TipUnknown. Raises SchemeError, MethodChanged,
        CoinChanged or SlotsExhausted; then nothing has changed.
        """
        for spec in specs:
            scheme_for(spec.method).bind(spec.parameters)
        async with self._database.read() as connection:
            changed = _changed(await revisions(connection, pool), specs)
        # A node is asked before the transaction, which must not wait for it.
        height = await tip() + self._notice_blocks if changed else 0
        async with self._database.write() as connection:
            await _check_coin(connection, pool, coin)
            standing = {one.scheme: one for one in await revisions(connection, pool)}
            for spec in specs:
                effective = _effective_height(pool, standing.get(spec.name), spec, height)
                if spec.name not in standing:
                    await _add_scheme(connection, pool, coin, spec)
                if effective is not None:
                    await _add_revision(connection, pool, spec, effective, now_ms)
            return await revisions(connection, pool)


def _effective_height(
    pool: str, newest: Revision | None, spec: SchemeSpec, height: int
) -> int | None:
    """From where a scheme's parameters count; None when they stand already."""
    if newest is None:
        return 0
    if newest.method != spec.method:
        raise MethodChanged(pool, spec.name, newest.method, spec.method)
    if newest.parameters == spec.parameters:
        return None
    # A revision that is announced but not yet effective stands; the next one follows it.
    return max(height, newest.effective_height + 1)


def _changed(standing: Sequence[Revision], specs: Sequence[SchemeSpec]) -> bool:
    newest = {revision.scheme: revision.parameters for revision in standing}
    return any(newest.get(spec.name, spec.parameters) != spec.parameters for spec in specs)


async def _check_coin(connection: AsyncConnection, pool: str, coin: str) -> None:
    standing = await connection.scalar(
        select(SCHEMES.c.coin).where(SCHEMES.c.pool == pool, SCHEMES.c.coin != coin).limit(1)
    )
    if standing is not None:
        raise CoinChanged(pool, standing, coin)


async def _add_scheme(connection: AsyncConnection, pool: str, coin: str, spec: SchemeSpec) -> None:
    highest = await connection.scalar(
        select(func.max(SCHEMES.c.slot)).where(SCHEMES.c.pool == pool)
    )
    slot = 0 if highest is None else highest + 1
    if slot >= SLOTS:
        raise SlotsExhausted(pool)
    await connection.execute(
        insert(SCHEMES).values(
            pool=pool, scheme=spec.name, slot=slot, method=spec.method, coin=coin
        )
    )


async def _add_revision(
    connection: AsyncConnection, pool: str, spec: SchemeSpec, effective: int, now_ms: int
) -> None:
    await connection.execute(
        insert(REVISIONS).values(
            pool=pool,
            scheme=spec.name,
            effective_height=effective,
            revision=revision_of(spec.parameters),
            parameters=spec.parameters,
            applied_ms=now_ms,
        )
    )


async def revisions(connection: AsyncConnection, pool: str) -> list[Revision]:
    """All revisions of a pool by slot, then by the height from which they count."""
    rows = await connection.execute(
        select(
            SCHEMES.c.slot,
            SCHEMES.c.scheme,
            REVISIONS.c.revision,
            REVISIONS.c.effective_height,
            SCHEMES.c.method,
            REVISIONS.c.parameters,
        )
        .join_from(
            SCHEMES,
            REVISIONS,
            (SCHEMES.c.pool == REVISIONS.c.pool) & (SCHEMES.c.scheme == REVISIONS.c.scheme),
        )
        .where(SCHEMES.c.pool == pool)
        .order_by(SCHEMES.c.slot, REVISIONS.c.effective_height)
    )
    return [Revision(*row) for row in rows]


def revision_at(table: Sequence[Revision], slot: int, height: int) -> Revision | None:
    """The revision behind a slot at a height; None for a slot that nobody has."""
    counting = [
        revision
        for revision in table
        if revision.slot == slot and revision.effective_height <= height
    ]
    return counting[-1] if counting else None
