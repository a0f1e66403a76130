"""Checks samples of one pool again, beside booking: what fails is an alarm and moves no money.

Batches that were booked are handed in with `offer`, which never waits: what
does not fit is dropped and counted. `step` hashes some on a thread and writes
what came of it: sums per producer, and the first failures of each with all that
a person needs to judge them. Sums that were not written yet when the process
dies are lost, shares never.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.coins.hashing import pow_function
from pithead.shares import metrics, schema
from pithead.shares.checks import Found, Share, due, fault_of
from pithead.shares.pools import Pool
from pithead.store import insert_into, transaction

logger = logging.getLogger(__name__)

WAITING_MAX = 10_000
"""Samples that wait: some 4 MB, and about ten seconds of scrypt on one core."""

CHUNK = 64
"""Samples hashed in one go: up to a tenth of a second of scrypt."""

FAILURES_KEPT_MAX = 100
"""Failures of one producer that are kept until a person has seen them; later ones are counted."""

REGION_LABELS_MAX = 64
"""Regions with a metric of their own: names come from edges."""


@dataclass(slots=True)
class Sums:
    """What is to be added for one producer."""

    region: str
    batches: int = 0
    checked: int = 0
    failed: int = 0


class Checker:
    """Samples that wait to be checked, and what came of the others."""

    def __init__(
        self, engine: AsyncEngine, pool: Pool, percent: int, now_ms: Callable[[], int]
    ) -> None:
        """`percent` of the batches are checked."""
        self._engine = engine
        self._pool = pool
        self._percent = percent
        self._now_ms = now_ms
        self._pow = pow_function(pool.params)
        self._waiting: deque[Share] = deque()
        self._sums: dict[bytes, Sums] = {}
        self._failures: list[tuple[Share, Found]] = []
        self._regions: set[str] = set()

    def offer(self, shares: Iterable[Share]) -> None:
        """Take in the shares that are due, one of each batch that was booked."""
        dropped = 0
        for share in shares:
            self._sums.setdefault(share.producer, Sums(share.region)).batches += 1
            if not due(share.producer, share.sequence, self._percent):
                continue
            if len(self._waiting) >= WAITING_MAX:
                dropped += 1
                continue
            self._waiting.append(share)
        metrics.CHECKS_DROPPED.labels(self._pool.name).inc(dropped)
        metrics.CHECKS_WAITING.labels(self._pool.name).set(len(self._waiting))

    async def step(self) -> int:
        """Check some samples and write what came of it; return how many. Raises DBAPIError.

        What could not be written is written by a later step.
        """
        chunk = [self._waiting.popleft() for _ in range(min(CHUNK, len(self._waiting)))]
        if chunk:
            for share, found in zip(
                chunk, await asyncio.to_thread(self._judge, chunk), strict=True
            ):
                self._note(share, found)
        if self._sums:
            await self._write()
        metrics.CHECKS_WAITING.labels(self._pool.name).set(len(self._waiting))
        return len(chunk)

    def _judge(self, shares: list[Share]) -> list[Found | None]:
        params = self._pool.params
        return [fault_of(share, params, self._pow) for share in shares]

    def _note(self, share: Share, found: Found | None) -> None:
        region = self._region_label(share.region)
        sums = self._sums.setdefault(share.producer, Sums(share.region))
        sums.checked += 1
        metrics.CHECKED.labels(self._pool.name, region).inc()
        if found is None:
            return
        sums.failed += 1
        self._failures.append((share, found))
        metrics.CHECKS_FAILED.labels(self._pool.name, region, found.fault).inc()
        logger.error(
            "%s: batch %d of producer %s in %s fails its check (%s): %s",
            self._pool.name,
            share.sequence,
            share.producer.hex(),
            share.region,
            found.fault,
            found.detail,
        )

    def _region_label(self, region: str) -> str:
        if len(self._regions) < REGION_LABELS_MAX:
            self._regions.add(region)
        return region if region in self._regions else "other"

    async def _write(self) -> None:
        sums, failures = self._sums, self._failures
        self._sums, self._failures = {}, []
        try:
            async with transaction(self._engine) as connection:
                await self._add_sums(connection, sums)
                await self._add_failures(connection, failures)
        except BaseException:
            self._take_back(sums, failures)
            raise

    def _take_back(self, sums: dict[bytes, Sums], failures: list[tuple[Share, Found]]) -> None:
        for producer, one in sums.items():
            now = self._sums.setdefault(producer, Sums(one.region))
            now.batches += one.batches
            now.checked += one.checked
            now.failed += one.failed
        # While the database is away the first ones matter; the sums know the rest.
        self._failures = (failures + self._failures)[: 10 * FAILURES_KEPT_MAX]

    async def _add_sums(self, connection: AsyncConnection, sums: dict[bytes, Sums]) -> None:
        table = schema.checks
        statement = insert_into(connection, table)
        columns = ("batches", "checked", "failed")
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["pool", "producer"],
                set_={name: table.c[name] + statement.excluded[name] for name in columns},
            ),
            [
                {
                    "pool": self._pool.id,
                    "producer": producer,
                    "region": one.region,
                    "batches": one.batches,
                    "checked": one.checked,
                    "failed": one.failed,
                }
                # In one order everywhere, as several processes may add to the same rows.
                for producer, one in sorted(sums.items())
            ],
        )

    async def _add_failures(
        self, connection: AsyncConnection, failures: list[tuple[Share, Found]]
    ) -> None:
        if not failures:
            return
        table = schema.check_failures.c
        kept = {
            bytes(row[0]): int(row[1])
            for row in await connection.execute(
                select(table.producer, func.count())
                .where(
                    table.pool == self._pool.id,
                    table.seen.is_(False),
                    table.producer.in_({share.producer for share, _ in failures}),
                )
                .group_by(table.producer)
            )
        }
        rows = []
        for share, found in failures:
            kept[share.producer] = kept.get(share.producer, 0) + 1
            if kept[share.producer] <= FAILURES_KEPT_MAX:
                rows.append(
                    {
                        "pool": self._pool.id,
                        "producer": share.producer,
                        "sequence": share.sequence,
                        "region": share.region,
                        "share": share.due,
                        "fault": found.fault,
                        "detail": found.detail,
                        "header": share.header,
                        "at_ms": self._now_ms(),
                        "seen": False,
                    }
                )
        if rows:
            await connection.execute(insert(schema.check_failures), rows)
