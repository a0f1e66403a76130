"""Writes one poll: producers, cells, counters, sessions, what was closed and set aside.

All in the caller's transaction. It never reads the log and knows no positions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.columns import Columns
from pithead.log.topics import shares_topic
from pithead.shares import decisions, schema
from pithead.shares.admit import Admission, admit
from pithead.shares.books import AccountBook, SegmentBook, SegmentKey, segment_key
from pithead.shares.fold import CellKind, CellSum, Fold
from pithead.shares.intake import read_producers, write_producers
from pithead.shares.locks import lock_producers
from pithead.shares.pools import Pool
from pithead.shares.records import Read
from pithead.shares.seals import counting_height
from pithead.store import add_up, insert_into

CREDITED = 0
"""Reason under which credited shares are counted."""

NOBODY = 0
"""Account of rejects whose login has no account: garbage makes none."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What one poll wrote."""

    admission: Admission
    sums: list[CellSum]


class Booking:
    """Books one pool's records."""

    def __init__(self, pool: Pool, *, exclusive: bool) -> None:
        """`exclusive`: the log's partitions have one writer at a time."""
        self._pool = pool
        self._exclusive = exclusive
        self._accounts = AccountBook(pool.coin, pool.params)
        self._segments = SegmentBook(pool.coin)

    def keep(self) -> None:
        """The transaction has committed: what it made may be remembered."""
        self._accounts.keep()
        self._segments.keep()

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._accounts.forget()
        self._segments.forget()

    async def book(self, connection: AsyncConnection, reads: list[Read], now_ms: int) -> Booked:
        """Write all that the records bring, in the transaction that moves the positions.

        The caller holds the pool's lock, so no seal and no decision comes between.
        """
        named = {read.columns.batch.producer for read in reads if read.columns is not None}
        before = await read_producers(connection, self._pool.id, named)
        if named - before.keys():
            await lock_producers(connection)
            before = await read_producers(connection, self._pool.id, named)
        admission = admit(self._pool.id, reads, before, exclusive=self._exclusive)
        await write_producers(connection, before, admission.producers)
        await self._write_closings(connection, admission, now_ms)
        await self._set_aside(connection, admission, now_ms)
        taken = [columns for _, columns in admission.taken]
        sealed_height = await self._sealed_height(connection, [each.batch for each in taken])
        sums = await self._write_cells(connection, admission, sealed_height, now_ms)
        await self._write_counters(connection, taken, sums)
        await self._write_sessions(connection, taken)
        return Booked(admission, sums)

    async def _sealed_height(
        self, connection: AsyncConnection, batches: list[ShareBatch]
    ) -> int | None:
        """Highest sealed height; a pool's sealing starts below the first height it meets."""
        table = schema.pools
        row = (await connection.execute(select(table).where(table.c.id == self._pool.id))).one()
        if row.sealed_height is not None:
            return int(row.sealed_height)
        first = first_height(batches)
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
        admission: Admission,
        sealed_height: int | None,
        now_ms: int,
    ) -> list[CellSum]:
        shared = [columns for _, columns in admission.taken if len(columns)]
        if not shared or sealed_height is None:
            return []
        batches = [columns.batch for columns in shared]
        logins = {
            columns.accounts[index] for columns in shared for index in set(columns.login.tolist())
        }
        accounts = await self._accounts.resolve(connection, logins, create=True)
        met = [batch.segments[index] for batch in batches for index in sorted(set(batch.segment))]
        values = {segment_key(segment): segment.value for segment in met}
        segments = await self._segments.resolve(connection, values, now_ms)
        fold = Fold()
        for columns in shared:
            fold.add(columns, self._kinds(columns, accounts, segments, sealed_height))
        sums = fold.sums()
        await decisions.add_cells(
            connection,
            [
                {
                    "pool": self._pool.id,
                    **cell.kind._asdict(),
                    "minute": cell.minute,
                    "weight": cell.weight,
                    "shares": cell.shares,
                }
                for cell in sums
            ],
        )
        late = sorted({cell.kind.seal for cell in sums if cell.kind.seal})
        if late:
            await decisions.open_late_seals(connection, self._pool.id, late, now_ms)
        return sums

    def _kinds(
        self,
        columns: Columns,
        accounts: dict[str, int],
        segments: dict[SegmentKey, int],
        sealed_height: int,
    ) -> Callable[[int, int], CellKind]:
        # Looked up once a login and segment, as a batch can hold a pair for every share.
        named = [
            (slot, accounts.get(account))
            for slot, account in zip(columns.slots, columns.accounts, strict=True)
        ]
        placed = [
            (
                segment.height,
                *counting_height(segment.height, sealed_height),
                segments.get(segment_key(segment)),
            )
            for segment in columns.batch.segments
        ]
        revision_at = self._pool.slots.revision_at
        revisions: dict[tuple[int, int], int] = {}

        def kind_of(login_index: int, segment_index: int) -> CellKind:
            slot, account = named[login_index]
            own_height, height, seal, segment = placed[segment_index]
            if account is None or segment is None:
                raise LookupError(f"share of login {login_index} or segment {segment_index} unmet")
            revision = revisions.get((slot, own_height))
            if revision is None:
                revision = revisions[slot, own_height] = revision_at(slot, own_height)
            return CellKind(height, seal, segment, revision, account)

        return kind_of

    async def _write_counters(
        self, connection: AsyncConnection, taken: list[Columns], sums: list[CellSum]
    ) -> None:
        counts: dict[tuple[int, int], list[int]] = {}
        for cell in sums:
            count = counts.setdefault((cell.kind.account, CREDITED), [0, 0])
            count[0] += cell.shares
            count[1] += cell.weight
        rejected = {
            columns.accounts[reject.login] for columns in taken for reject in columns.batch.rejects
        }
        known = await self._accounts.resolve(connection, rejected, create=False)
        for columns in taken:
            for reject in columns.batch.rejects:
                account = known.get(columns.accounts[reject.login], NOBODY)
                counts.setdefault((account, int(reject.reason)), [0, 0])[0] += reject.count
        if not counts:
            return
        rows = [
            {
                "pool": self._pool.id,
                "account": account,
                "reason": reason,
                "count": count,
                "weight": weight,
            }
            for (account, reason), (count, weight) in counts.items()
        ]
        await add_up(connection, schema.counters, rows, ("count", "weight"))

    async def _write_sessions(self, connection: AsyncConnection, taken: list[Columns]) -> None:
        """Keep who a connection is; the first record of an extranonce1 stays."""
        named = [(columns, session) for columns in taken for session in columns.batch.sessions]
        if not named:
            return
        accounts = await self._accounts.resolve(
            connection,
            {columns.accounts[session.login] for columns, session in named},
            create=True,
        )
        await connection.execute(
            insert_into(connection, schema.sessions).on_conflict_do_nothing(),
            [
                {
                    "producer": columns.batch.producer,
                    "extranonce1": session.extranonce1,
                    "account": accounts[columns.accounts[session.login]],
                    "worker": columns.workers[session.login],
                    "agent": session.agent,
                }
                for columns, session in named
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
                    "partition": read.partition,
                    "position": read.record.position,
                    "reason": read.fault,
                    "payload": read.record.payload,
                    "at_ms": now_ms,
                }
                for read in admission.aside
            ],
        )


def first_height(batches: list[ShareBatch]) -> int | None:
    """Lowest height that batches speak of: of a segment with shares, or promised; else None."""
    heights = [batch.promise for batch in batches if batch.promise > 0]
    for batch in batches:
        heights += [batch.segments[index].height for index in set(batch.segment)]
    return min(heights, default=None)
