"""Answers for whether the book is what its entries say: a recomputation from nothing.

Reads head and balances in one snapshot, then every entry up to that head in order,
follows the hash chain, sums the legs, and compares. A sound book gives no
difference, also while the ledger goes on posting: entries are only appended, and
those behind the head are left for the next time. Reads only.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.ledger.book import (
    GENESIS,
    MAY_BE_NEGATIVE,
    Book,
    Booked,
    BookKind,
    LedgerError,
    chain_hash,
    check_entry,
)
from pithead.ledger.posting import Ledger
from pithead.ledger.schema import BOOKS, HEAD
from pithead.store import reading

DIFFERENCES_MAX = 1000
"""A book damaged everywhere need not be listed whole."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the book is not what it should be."""

    where: str
    """The entry, book or coin."""
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.got}"


@dataclass(slots=True)
class _Sum:
    """What the entries read so far say."""

    number: int = 0
    hash: bytes = GENESIS
    balances: dict[str, dict[Book, int]] = field(default_factory=lambda: defaultdict(dict))
    differences: list[Difference] = field(default_factory=list)

    def differ(self, where: str, expected: object, got: object) -> None:
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(where, str(expected), str(got)))

    def add(self, booked: Booked) -> None:
        entry = booked.entry
        name = f"entry {booked.number} ({entry.id})"
        if booked.number != self.number + 1:
            self.differ(name, f"number {self.number + 1}", f"number {booked.number}")
        try:
            check_entry(entry)
        except LedgerError as error:
            self.differ(name, "an entry that may be booked", error)
        digest = chain_hash(self.hash, entry, booked.number, booked.booked_ms)
        if digest != booked.hash:
            self.differ(name, f"hash {digest.hex()}", f"hash {booked.hash.hex()}")
        balances = self.balances[entry.coin]
        for book, amount in entry.legs:
            balance = balances.get(book, 0) + amount
            balances[book] = balance
            if balance < 0 and amount < 0 and book.kind not in MAY_BE_NEGATIVE:
                self.differ(f"{name}, book {book}", "at least 0", balance)
        self.number = booked.number
        # The stored hash, so that one changed entry shows once and not ever after.
        self.hash = booked.hash


async def verify(engine: AsyncEngine) -> list[Difference]:
    """Recompute the whole book; return every difference, at most DIFFERENCES_MAX."""
    async with reading(engine) as connection:
        head = (await connection.execute(select(HEAD.c.number, HEAD.c.hash))).one_or_none()
        books = (await connection.execute(select(BOOKS))).all()
    total = _Sum()
    async for booked in Ledger(engine).entries():
        if head is not None and booked.number > head.number:
            break
        total.add(booked)
    if head is None:
        total.differ("head", f"number {total.number}", "no head")
    elif (head.number, head.hash) != (total.number, total.hash):
        total.differ(
            "head",
            f"number {total.number}, hash {total.hash.hex()}",
            f"number {head.number}, hash {head.hash.hex()}",
        )
    stored: dict[str, dict[Book, int]] = defaultdict(dict)
    for row in books:
        stored[row.coin][Book(BookKind[row.kind], row.owner)] = row.balance
    for coin in sorted(total.balances.keys() | stored.keys()):
        _compare_coin(total, coin, stored[coin])
    return total.differences


def _compare_coin(total: _Sum, coin: str, stored: dict[Book, int]) -> None:
    computed = total.balances[coin]
    for book in sorted(computed.keys() | stored.keys()):
        expected, got = computed.get(book, 0), stored.get(book, 0)
        if expected != got:
            total.differ(f"book {book} of {coin}", expected, got)
    if sum(stored.values()) != 0:
        total.differ(f"sum of all books of {coin}", 0, sum(stored.values()))
