"""Claims on a pool's partitions, in the database, with a lease: several consumers share a log.

A consumer that is alive renews its lease every RENEW_MS; one that is killed loses its
claims LEASE_MS after its last renewal, one that ends gives them back at once. Times
are those of the consumers' own clocks: if they differ by more than the lease, partitions
change hands too often, and nothing else happens, as positions are fenced.
"""

import logging
from collections.abc import Callable, Collection

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.shares import schema
from pithead.shares.division import Claim, Plan, divide
from pithead.shares.locks import lock_pool
from pithead.store import insert_into, transaction

LEASE_MS = 6_000
"""Longer than a poll that is behind may take, many times over."""

RENEW_MS = 1_500

logger = logging.getLogger(__name__)


class Claims:
    """One consumer's claims on the partitions of one pool."""

    def __init__(
        self, engine: AsyncEngine, pool: int, topic: str, name: str, now_ms: Callable[[], int]
    ) -> None:
        """`name` is this consumer's alone: another process never takes it, nor a later start."""
        self._engine = engine
        self._pool = pool
        self._topic = topic
        self._name = name
        self._now_ms = now_ms
        self._mine: frozenset[str] = frozenset()
        self._asked: frozenset[str] = frozenset()
        self._due_ms = 0

    async def mine(self, partitions: Collection[str]) -> frozenset[str]:
        """Return which of the partitions that exist are this consumer's to read now."""
        asked = frozenset(partitions)
        if self._now_ms() >= self._due_ms or asked != self._asked:
            before = self._mine
            self._mine = await self._renew(asked)
            self._asked = asked
            if before != self._mine:
                logger.info("%s: reading partitions %s", self._topic, sorted(self._mine))
        return self._mine

    def doubt(self) -> None:
        """Look again before the next poll: another one has read on in our place."""
        self._due_ms = 0

    async def release(self) -> None:
        """Give everything back, so that others need not wait for the lease to end."""
        members, claims = schema.consumers, schema.claims
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool)
            await connection.execute(
                delete(members).where(
                    members.c.pool == self._pool, members.c.consumer == self._name
                )
            )
            await connection.execute(
                delete(claims).where(claims.c.topic == self._topic, claims.c.owner == self._name)
            )
        self._mine = frozenset()
        self.doubt()

    async def _renew(self, partitions: frozenset[str]) -> frozenset[str]:
        async with transaction(self._engine) as connection:
            await lock_pool(connection, self._pool)
            # Read after the lock: whoever had it may have taken its time.
            now_ms = self._now_ms()
            alive = await self._alive(connection, now_ms)
            plan = divide(self._name, alive, partitions, await self._claims(connection), now_ms)
            await self._write(connection, plan, now_ms + LEASE_MS)
        self._due_ms = now_ms + RENEW_MS
        return plan.mine

    async def _alive(self, connection: AsyncConnection, now_ms: int) -> list[str]:
        table = schema.consumers
        statement = insert_into(connection, table)
        await connection.execute(
            statement.values(
                pool=self._pool, consumer=self._name, until_ms=now_ms + LEASE_MS
            ).on_conflict_do_update(
                index_elements=["pool", "consumer"], set_={"until_ms": statement.excluded.until_ms}
            )
        )
        await connection.execute(
            delete(table).where(table.c.pool == self._pool, table.c.until_ms <= now_ms)
        )
        names = await connection.scalars(select(table.c.consumer).where(table.c.pool == self._pool))
        return list(names)

    async def _claims(self, connection: AsyncConnection) -> dict[str, Claim]:
        table = schema.claims
        rows = await connection.execute(select(table).where(table.c.topic == self._topic))
        return {row.partition: Claim(row.owner, row.until_ms) for row in rows}

    async def _write(self, connection: AsyncConnection, plan: Plan, until_ms: int) -> None:
        table = schema.claims
        if plan.drop:
            await connection.execute(
                delete(table).where(
                    table.c.topic == self._topic, table.c.partition.in_(sorted(plan.drop))
                )
            )
        if plan.mine:
            statement = insert_into(connection, table)
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["topic", "partition"],
                    set_={
                        "owner": statement.excluded.owner,
                        "until_ms": statement.excluded.until_ms,
                    },
                ),
                [
                    {
                        "topic": self._topic,
                        "partition": partition,
                        "owner": self._name,
                        "until_ms": until_ms,
                    }
                    for partition in sorted(plan.mine)
                ],
            )
