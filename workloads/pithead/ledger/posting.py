"""Answers for booking an entry in one transaction, and for reading the book.

A posting first locks the one row of `head`, so postings stand in one order; then
it locks the books it changes, in key order, checks the pure rules, and writes the
entry, its legs, the balances and the new head together. A caller that never heard
the answer posts again: an equal entry answers `existed`.

Knows nothing of gRPC; `store` decides how connections are made.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, and_, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.ledger.book import (
    Book,
    Booked,
    BookKind,
    Entry,
    Leg,
    apply,
    chain_hash,
    check_entry,
    compare,
)
from pithead.ledger.schema import BOOKS, ENTRIES, HEAD, LEGS
from pithead.store import reading, retried, transaction

CHUNK = 500
"""Owners in one SELECT: below SQLite's old limit of 999 variables in a statement."""

PAGE = 100
"""Entries read at once, fewer when they are large."""

PAGE_LEGS = 100_000
"""Legs read at once, or those of one entry: a page of splits of a large pool fits in memory."""

ItemT = TypeVar("ItemT")


class Posted(NamedTuple):
    """Where an entry stands in the book, and whether it stood there before."""

    number: int
    existed: bool


class Balance(NamedTuple):
    """What a book holds, in base units."""

    book: Book
    amount: int


class Ledger:
    """The book over one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def post(self, entry: Entry, now_ms: int) -> Posted:
        """Book `entry`, or find that an equal one stands under its id.

        Raises EntryInvalid, EntryUnbalanced, EntryConflict, BookOverdrawn or
        BookOverflow; then nothing was changed.
        """
        check_entry(entry)
        async with reading(self._engine) as connection:
            stands = await _find(connection, entry.id)
        if stands is not None:
            compare(stands.entry, entry)
            return Posted(stands.number, existed=True)

        async def post() -> Posted:
            async with transaction(self._engine) as connection:
                return await _post(connection, entry, now_ms)

        return await retried(post)

    async def balances(
        self,
        coin: str,
        *,
        kinds: Sequence[BookKind] = (),
        owner: str = "",
        at_least: int | None = None,
        non_zero: bool = False,
    ) -> list[Balance]:
        """Return balances of a coin in book order; no `kinds` or `owner` means all."""
        where: list[ColumnElement[bool]] = [BOOKS.c.coin == coin]
        if kinds:
            where.append(BOOKS.c.kind.in_([kind.name for kind in kinds]))
        if owner:
            where.append(BOOKS.c.owner == owner)
        if at_least is not None:
            where.append(BOOKS.c.balance >= at_least)
        if non_zero:
            where.append(BOOKS.c.balance != 0)
        query = select(BOOKS.c.kind, BOOKS.c.owner, BOOKS.c.balance).where(*where)
        async with reading(self._engine) as connection:
            rows = (await connection.execute(query)).all()
        return sorted(Balance(Book(BookKind[row.kind], row.owner), row.balance) for row in rows)

    async def entries(
        self, coin: str = "", *, after_number: int = 0, kind: str = "", entry_id: str = ""
    ) -> AsyncIterator[Booked]:
        """Yield entries by number, newest last; empty arguments mean all.

        Each page is a transaction of its own, so a slow reader holds nothing open.
        """
        where: list[ColumnElement[bool]] = []
        if coin:
            where.append(ENTRIES.c.coin == coin)
        if kind:
            where.append(ENTRIES.c.kind == kind)
        if entry_id:
            where.append(ENTRIES.c.id == entry_id)
        number = after_number
        while True:
            async with reading(self._engine) as connection:
                page = await _page(connection, [*where, ENTRIES.c.number > number])
            for booked in page:
                yield booked
            if not page or entry_id:
                return
            number = page[-1].number


async def _post(connection: AsyncConnection, entry: Entry, now_ms: int) -> Posted:
    # The lock comes first: everything read after it is current.
    head = (await connection.execute(select(HEAD).where(HEAD.c.id == 1).with_for_update())).one()
    stands = await _find(connection, entry.id)
    if stands is not None:
        compare(stands.entry, entry)
        return Posted(stands.number, existed=True)
    before = await _lock_books(connection, entry)
    after = apply(entry, before)
    number = head.number + 1
    digest = chain_hash(head.hash, entry, number, now_ms)
    await connection.execute(
        insert(ENTRIES).values(
            number=number,
            id=entry.id,
            coin=entry.coin,
            kind=entry.kind,
            memo=entry.memo,
            booked_ms=now_ms,
            hash=digest,
        )
    )
    await connection.execute(
        insert(LEGS),
        [
            {"number": number, "kind": book.kind.name, "owner": book.owner, "amount": amount}
            for book, amount in sorted(entry.legs)
        ],
    )
    await _write_balances(connection, entry.coin, before, after)
    await connection.execute(update(HEAD).where(HEAD.c.id == 1).values(number=number, hash=digest))
    return Posted(number, existed=False)


async def _lock_books(connection: AsyncConnection, entry: Entry) -> dict[Book, int]:
    """Return the balances of the entry's books that exist, their rows locked in key order."""
    owners: dict[BookKind, list[str]] = {}
    for book, _ in sorted(entry.legs):
        owners.setdefault(book.kind, []).append(book.owner)
    balances: dict[Book, int] = {}
    for kind, names in sorted(owners.items()):
        for chunk in _chunks(names):
            query = (
                select(BOOKS.c.owner, BOOKS.c.balance)
                .where(
                    BOOKS.c.coin == entry.coin,
                    BOOKS.c.kind == kind.name,
                    BOOKS.c.owner.in_(chunk),
                )
                .order_by(BOOKS.c.owner)
                .with_for_update()
            )
            for row in await connection.execute(query):
                balances[Book(kind, row.owner)] = row.balance
    return balances


async def _write_balances(
    connection: AsyncConnection, coin: str, before: dict[Book, int], after: dict[Book, int]
) -> None:
    changed = [
        {"at_kind": book.kind.name, "at_owner": book.owner, "new_balance": balance}
        for book, balance in after.items()
        if book in before
    ]
    if changed:
        await connection.execute(
            update(BOOKS)
            .where(
                and_(
                    BOOKS.c.coin == coin,
                    BOOKS.c.kind == bindparam("at_kind"),
                    BOOKS.c.owner == bindparam("at_owner"),
                )
            )
            .values(balance=bindparam("new_balance")),
            changed,
        )
    made = [
        {"coin": coin, "kind": book.kind.name, "owner": book.owner, "balance": balance}
        for book, balance in after.items()
        if book not in before
    ]
    if made:
        await connection.execute(insert(BOOKS), made)


async def _find(connection: AsyncConnection, entry_id: str) -> Booked | None:
    page = await _page(connection, [ENTRIES.c.id == entry_id])
    return page[0] if page else None


async def _page(connection: AsyncConnection, where: list[ColumnElement[bool]]) -> list[Booked]:
    query = select(ENTRIES).where(*where).order_by(ENTRIES.c.number).limit(PAGE)
    rows = (await connection.execute(query)).all()
    rows = rows[: await _fitting(connection, [row.number for row in rows])]
    legs: dict[int, list[Leg]] = {row.number: [] for row in rows}
    legs_query = select(LEGS).where(LEGS.c.number.in_(list(legs)))
    for leg in await connection.execute(legs_query):
        legs[leg.number].append(Leg(Book(BookKind[leg.kind], leg.owner), leg.amount))
    return [
        Booked(
            Entry(row.id, row.coin, row.kind, tuple(sorted(legs[row.number])), row.memo),
            row.number,
            row.booked_ms,
            row.hash,
        )
        for row in rows
    ]


async def _fitting(connection: AsyncConnection, numbers: list[int]) -> int:
    """How many of some entries, from the first, hold PAGE_LEGS legs together; at least one."""
    number_of = LEGS.c.number
    query = select(number_of, func.count()).where(number_of.in_(numbers)).group_by(number_of)
    counts = {row[0]: row[1] for row in await connection.execute(query)}
    total = 0
    for index, number in enumerate(numbers):
        total += counts.get(number, 0)
        if total > PAGE_LEGS:
            return max(index, 1)
    return len(numbers)


def _chunks(items: list[ItemT]) -> Iterator[list[ItemT]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
