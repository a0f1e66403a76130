"""Writes one poll: producers, cells, counters, sessions, what was closed and set aside.

All in the caller's transaction. It never reads the log and knows no positions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.log.topics import shares_topic
from pithead.shares import decisions, schema
from pithead.shares.admit import Admission, admit
from pithead.shares.books import AccountBook, SegmentBook
from pithead.shares.finds import add_finds
from pithead.shares.fold import CellColumns, Context, Fold, Ints
from pithead.shares.intake import read_producers, write_producers
from pithead.shares.locks import lock_producers
from pithead.shares.pools import Pool
from pithead.shares.records import Aside, Entry, Place, SegmentKey
from pithead.shares.seals import counting_height
from pithead.store import add_up, insert_into

CREDITED = 0
"""Reason under which credited shares are counted."""

NOBODY = 0
"""Account of rejects whose login has no account: garbage makes none."""

PRODUCERS_MAX = 100_000
"""Remembered as a pool's own; a few megabytes."""

CONTEXT_COLUMNS = ("height", "seal", "segment", "revision")
"""Of cells; most polls have one context, so that a single number says it for all rows."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What one poll wrote."""

    admission: Admission
    sums: CellColumns


class Booking:
    """Books one pool's records."""

    def __init__(self, pool: Pool, *, exclusive: bool) -> None:
        """`exclusive`: the log's partitions have one writer at a time."""
        self._pool = pool
        self._exclusive = exclusive
        self._accounts = AccountBook(pool.coin, pool.params)
        self._segments = SegmentBook(pool.coin)
        self._ours: set[bytes] = set()
        self._fresh: set[bytes] = set()

    def keep(self) -> None:
        """The transaction has committed: what it made may be remembered."""
        self._accounts.keep()
        self._segments.keep()
        if len(self._ours) > PRODUCERS_MAX:
            self._ours.clear()
        self._ours |= self._fresh
        self._fresh.clear()

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._accounts.forget()
        self._segments.forget()
        self._fresh.clear()

    def account_ids(self, logins: Sequence[str]) -> Ints:
        """Ids of accounts as far as they are remembered, 0 for the others."""
        return self._accounts.ids(logins)

    def is_ours(self, producer: bytes) -> bool:
        """Tell whether a producer is remembered as this pool's, which it is for ever then."""
        return producer in self._ours

    async def book(
        self, connection: AsyncConnection, reads: Sequence[Entry | Aside], now_ms: int
    ) -> Booked:
        """Write all that the records bring, in the transaction that moves the positions.

        The caller holds the pool's lock, so no seal and no decision comes between.
        """
        named = {read.producer for read in reads if isinstance(read, Entry)}
        before = await read_producers(connection, self._pool.id, named)
        if named - before.keys():
            await lock_producers(connection)
            before = await read_producers(connection, self._pool.id, named)
        admission = admit(self._pool.id, reads, before, exclusive=self._exclusive)
        await write_producers(connection, before, admission.producers)
        await self._write_closings(connection, admission, now_ms)
        await self._set_aside(connection, admission, now_ms)
        taken = admission.taken
        self._fresh = {entry.producer for entry in taken}
        sealed_height = await self._sealed_height(connection, taken)
        sums = await self._write_cells(connection, taken, sealed_height, now_ms)
        await self._write_finds(connection, taken, now_ms)
        await self._write_counters(connection, taken, sums)
        await self._write_sessions(connection, taken)
        return Booked(admission, sums)

    async def _sealed_height(
        self, connection: AsyncConnection, taken: Sequence[Entry]
    ) -> int | None:
        """Highest sealed height; a pool's sealing starts below the first height it meets."""
        table = schema.pools
        row = (await connection.execute(select(table).where(table.c.id == self._pool.id))).one()
        if row.sealed_height is not None:
            return int(row.sealed_height)
        first = first_height(taken)
        if first is None:
            return None
        await connection.execute(
            update(table)
            .where(table.c.id == self._pool.id)
            .values(first_height=first, sealed_height=first - 1)
        )
        return first - 1

    async def _write_cells(
        self,
        connection: AsyncConnection,
        taken: Sequence[Entry],
        sealed_height: int | None,
        now_ms: int,
    ) -> CellColumns:
        fold = Fold()
        shared = [entry for entry in taken if len(entry)]
        if shared and sealed_height is not None:
            fold.take(
                await self._contexts_of(connection, shared, fold, sealed_height, now_ms),
                await self._accounts_of(connection, shared),
                np.concatenate([entry.minute for entry in shared]),
                np.concatenate([entry.weight for entry in shared]),
            )
        sums = fold.columns()
        columns: dict[str, int | list[int]] = {
            "pool": self._pool.id,
            **{name: _compact(getattr(sums, name)) for name in CONTEXT_COLUMNS},
            "account": sums.account.tolist(),
            "minute": sums.minute.tolist(),
            "weight": sums.weight.tolist(),
            "shares": sums.shares.tolist(),
        }
        await decisions.add_cells(connection, columns)
        late = sorted(set(sums.seal.tolist()) - {0})
        if late:
            await decisions.open_late_seals(connection, self._pool.id, late, now_ms)
        return sums

    async def _accounts_of(self, connection: AsyncConnection, shared: Sequence[Entry]) -> Ints:
        """Account ids of all shares; those that were not known are asked for together."""
        wanted = {account for entry in shared for account in entry.unknown}
        found = await self._accounts.resolve(connection, wanted, create=True)
        parts = []
        for entry in shared:
            if entry.unknown:
                fresh = np.array([found[account] for account in entry.unknown], np.int64)
                # What is not negative takes any of them and keeps its own.
                places = np.maximum(-1 - entry.account, 0)
                parts.append(np.where(entry.account < 0, fresh[places], entry.account))
            else:
                parts.append(entry.account)
        return np.concatenate(parts)

    async def _contexts_of(
        self,
        connection: AsyncConnection,
        shared: Sequence[Entry],
        fold: Fold,
        sealed_height: int,
        now_ms: int,
    ) -> Ints:
        """Numbers, of `fold`, of the contexts of all shares, looked up once a place."""
        values: dict[SegmentKey, int] = {}
        for entry in shared:
            values |= entry.values
        ids = await self._segments.resolve(connection, values, now_ms)
        numbers: dict[Place, int] = {}
        for place in {place for entry in shared for place in entry.places}:
            height, seal = counting_height(place.segment.height, sealed_height)
            revision = self._pool.slots.revision_at(place.slot, place.segment.height)
            numbers[place] = fold.number(Context(height, seal, ids[place.segment], revision))
        return np.concatenate(
            [
                np.array([numbers[place] for place in entry.places], np.int64)[entry.place]
                for entry in shared
            ]
        )

    async def _write_finds(
        self, connection: AsyncConnection, taken: Sequence[Entry], now_ms: int
    ) -> None:
        """Count shares that solved a block; they are rare, and cells gave ids to all they name."""
        solved = [(entry.values[find.segment], find) for entry in taken for find in entry.finds]
        if not solved:
            return
        segments = await self._segments.resolve(
            connection, {find.segment: value for value, find in solved}, now_ms
        )
        accounts = await self._accounts.resolve(
            connection, {find.account for _, find in solved}, create=True
        )
        finds = Counter((segments[find.segment], accounts[find.account]) for _, find in solved)
        await add_finds(connection, self._pool.id, finds)

    async def _write_counters(
        self, connection: AsyncConnection, taken: Sequence[Entry], sums: CellColumns
    ) -> None:
        credited, which = np.unique(sums.account, return_inverse=True)
        shares, weight = np.zeros_like(credited), np.zeros_like(credited)
        np.add.at(shares, which, sums.shares)
        np.add.at(weight, which, sums.weight)
        counters = {
            "account": credited.tolist(),
            "count": shares.tolist(),
            "weight": weight.tolist(),
        }
        await self._add_counters(connection, CREDITED, counters)
        rejects = [reject for entry in taken for reject in entry.rejects]
        known = await self._accounts.resolve(
            connection, {reject.account for reject in rejects}, create=False
        )
        refused: dict[int, Counter[int]] = {}
        for reject in rejects:
            counts = refused.setdefault(reject.reason, Counter())
            counts[known.get(reject.account, NOBODY)] += reject.shares
        for reason, counts in sorted(refused.items()):
            counters = {
                "account": list(counts),
                "count": list(counts.values()),
                "weight": [0] * len(counts),
            }
            await self._add_counters(connection, reason, counters)

    async def _add_counters(
        self, connection: AsyncConnection, reason: int, counters: dict[str, list[int]]
    ) -> None:
        """Add to the counters of one reason, by account."""
        columns: dict[str, int | list[int]] = {
            "pool": self._pool.id,
            "reason": reason,
            **counters,
        }
        await add_up(connection, schema.counters, columns, ("count", "weight"))

    async def _write_sessions(self, connection: AsyncConnection, taken: Sequence[Entry]) -> None:
        """Keep who a connection is; the first record of an extranonce1 stays."""
        named = [(entry.producer, session) for entry in taken for session in entry.sessions]
        if not named:
            return
        accounts = await self._accounts.resolve(
            connection, {session.account for _, session in named}, create=True
        )
        await connection.execute(
            insert_into(connection, schema.sessions).on_conflict_do_nothing(),
            [
                {
                    "producer": producer,
                    "extranonce1": session.extranonce1,
                    "account": accounts[session.account],
                    "worker": session.worker,
                    "agent": session.agent,
                }
                for producer, session in named
            ],
        )

    async def _write_closings(
        self, connection: AsyncConnection, admission: Admission, now_ms: int
    ) -> None:
        for closing in admission.closings:
            await decisions.record(
                connection,
                who=decisions.ACCOUNTING,
                action="close producer",
                subject=closing.producer.hex(),
                reason=f"producer {closing.successor.hex()} has opened its partition "
                f"{closing.partition}, which has one writer at a time",
                now_ms=now_ms,
            )

    async def _set_aside(
        self, connection: AsyncConnection, admission: Admission, now_ms: int
    ) -> None:
        if not admission.aside:
            return
        await connection.execute(
            insert_into(connection, schema.set_aside).on_conflict_do_nothing(),
            [
                {
                    "topic": shares_topic(self._pool.name),
                    "partition": aside.partition,
                    "position": aside.position,
                    "reason": aside.fault,
                    "payload": aside.payload,
                    "at_ms": now_ms,
                }
                for aside in admission.aside
            ],
        )


def _compact(column: Ints) -> int | list[int]:
    """Return a column for the database: one number when all are the same."""
    numbers: list[int] = column.tolist()
    return numbers[0] if numbers and (column == column[0]).all() else numbers


def first_height(taken: Sequence[Entry]) -> int | None:
    """Lowest height that batches speak of: of a segment with shares, or promised; else None."""
    heights = [entry.promise for entry in taken if entry.promise > 0]
    heights += [key.height for entry in taken for key in entry.values]
    return min(heights, default=None)
