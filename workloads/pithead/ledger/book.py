"""Answers for what an entry of the book is, and which entries may be booked.

An entry moves amounts between books of one coin: its legs sum to zero, so the
sum of all books of a coin is zero at all times (ConservedMoney). Amounts are
integers in base units; a credit is positive, what is owed to somebody is a credit.
Entries form one hash chain: each hash covers the previous one and the canonical
body, so that a changed, removed or inserted entry shows.

Pure: knows no database, no clock and no wire format.
"""

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

AMOUNT_MAX = 2**63 - 1
"""Largest balance or leg: the signed 64-bit integer of both databases and the wire."""

AMOUNT_MIN = -(2**63)

LEGS_MAX = 250_000
"""Legs in one entry: a split over 100,000 accounts and room; bounds a runaway caller."""

ID_CHARS_MAX = 200
MEMO_CHARS_MAX = 500
OWNER_CHARS_MAX = 253

GENESIS = bytes(32)
"""The hash before the first entry."""

FORMAT = "pithead.ledger/1"
"""Names the canonical form; it stands in every hash."""

_COIN = re.compile(r"[a-z0-9-]{1,64}/[a-z0-9-]{1,64}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ACCOUNT = re.compile(r"[1-9][0-9]{0,19}")


class BookKind(enum.IntEnum):
    """What a book stands for; the numbers are those of the contract."""

    CHAIN = 1
    IMMATURE = 2
    PAYABLE = 3
    HOLD = 4
    PAID = 5
    FEE_IMMATURE = 6
    FEE = 7
    NETWORK_FEE = 8
    REMAINDER_IMMATURE = 9
    REMAINDER = 10


MAY_BE_NEGATIVE = frozenset({BookKind.CHAIN, BookKind.FEE})
"""CHAIN is where money comes from; FEE bears network fees and orphan losses. Every other
book is owed to somebody or already left, and can hold no less than nothing."""

_OF_ACCOUNT = frozenset({BookKind.IMMATURE, BookKind.PAYABLE, BookKind.HOLD})
_OF_POOL = frozenset(
    {
        BookKind.FEE_IMMATURE,
        BookKind.FEE,
        BookKind.REMAINDER_IMMATURE,
        BookKind.REMAINDER,
    }
)


class Book(NamedTuple):
    """One book of a coin. `owner` is an account id in decimal, a poolId, or empty."""

    kind: BookKind
    owner: str

    def __str__(self) -> str:
        return f"{self.kind.name}/{self.owner}" if self.owner else self.kind.name


class Leg(NamedTuple):
    """What an entry adds to one book, in base units; never zero."""

    book: Book
    amount: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of money. `id` is its idempotency key, `coin` is `<coin>/<network>`."""

    id: str
    coin: str
    kind: str
    legs: tuple[Leg, ...]
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Booked:
    """An entry as it stands in the book."""

    entry: Entry
    number: int
    booked_ms: int
    hash: bytes


class LedgerError(Exception):
    """Base of every refusal; nothing was changed."""

    rule = "refused"
    """Name of the rule in the refusals metric."""


class EntryInvalid(LedgerError):
    """Raised when an entry can never be booked as it is: the caller has to change it."""

    rule = "invalid"


class EntryUnbalanced(EntryInvalid):
    """Raised when the legs do not sum to zero: money would appear or vanish."""

    rule = "unbalanced"


class EntryConflict(LedgerError):
    """Raised when the id holds another entry; `field` is the first one that differs."""

    rule = "conflict"

    def __init__(self, entry_id: str, field: str, stands: str, offered: str) -> None:
        super().__init__(
            f"entry {entry_id!r} is booked already with another {field}: "
            f"{stands} stands, {offered} was offered"
        )
        self.entry_id = entry_id
        self.field = field


class BookOverdrawn(LedgerError):
    """Raised when a book that may not be negative would become so."""

    rule = "overdrawn"

    def __init__(self, coin: str, book: Book, balance: int, amount: int) -> None:
        super().__init__(
            f"book {book} of {coin} holds {balance} base units and cannot give {-amount}"
        )
        self.coin = coin
        self.book = book
        self.balance = balance
        self.amount = amount


class BookOverflow(LedgerError):
    """Raised when a balance would leave 64 bits."""

    rule = "overflow"

    def __init__(self, coin: str, book: Book, balance: int, amount: int) -> None:
        super().__init__(f"book {book} of {coin} holds {balance}; {amount} more leaves 64 bits")
        self.coin = coin
        self.book = book


def check_entry(entry: Entry) -> None:
    """Refuse an entry that could not be booked whatever the balances are.

    Raises EntryInvalid, or EntryUnbalanced when the legs do not sum to zero.
    """
    _check_texts(entry)
    if not 2 <= len(entry.legs) <= LEGS_MAX:
        raise EntryInvalid(
            f"entry {entry.id!r} has {len(entry.legs)} legs; it needs 2 to {LEGS_MAX}"
        )
    seen: set[Book] = set()
    for book, amount in entry.legs:
        _check_owner(entry, book)
        if book in seen:
            raise EntryInvalid(f"entry {entry.id!r} names book {book} twice")
        seen.add(book)
        if amount == 0:
            raise EntryInvalid(f"entry {entry.id!r} has a leg of zero for book {book}")
        if not AMOUNT_MIN <= amount <= AMOUNT_MAX:
            raise EntryInvalid(f"entry {entry.id!r}: {amount} for book {book} leaves 64 bits")
    total = sum(leg.amount for leg in entry.legs)
    if total != 0:
        raise EntryUnbalanced(
            f"entry {entry.id!r} does not balance: its {len(entry.legs)} legs sum to {total} "
            f"base units instead of 0"
        )


def _check_texts(entry: Entry) -> None:
    if not 1 <= len(entry.id) <= ID_CHARS_MAX or not entry.id.isprintable():
        raise EntryInvalid(f"entry id {entry.id[:80]!r}: want 1 to {ID_CHARS_MAX} characters")
    if not _COIN.fullmatch(entry.coin):
        raise EntryInvalid(f"entry {entry.id!r}: coin {entry.coin[:80]!r} is not <coin>/<network>")
    if not _KIND.fullmatch(entry.kind):
        raise EntryInvalid(f"entry {entry.id!r}: kind {entry.kind[:80]!r} is not a lower-case word")
    # PostgreSQL text cannot hold NUL, and a memo is one line for people.
    if len(entry.memo) > MEMO_CHARS_MAX or not entry.memo.isprintable():
        raise EntryInvalid(
            f"entry {entry.id!r}: a memo is one line of at most {MEMO_CHARS_MAX} characters"
        )


def _check_owner(entry: Entry, book: Book) -> None:
    owner = book.owner
    if book.kind in _OF_ACCOUNT and not _ACCOUNT.fullmatch(owner):
        raise EntryInvalid(
            f"entry {entry.id!r}: the owner of {book.kind.name} is an account id, not {owner!r}"
        )
    if book.kind in _OF_POOL and not owner:
        raise EntryInvalid(f"entry {entry.id!r}: the owner of {book.kind.name} is a poolId")
    if len(owner) > OWNER_CHARS_MAX or not owner.isprintable():
        raise EntryInvalid(
            f"entry {entry.id!r}: an owner has at most {OWNER_CHARS_MAX} printable characters"
        )


def apply(entry: Entry, balances: Mapping[Book, int]) -> dict[Book, int]:
    """Return the new balances of the entry's books; a book absent from `balances` holds 0.

    Raises BookOverdrawn or BookOverflow, naming the first such book in book order.
    """
    after: dict[Book, int] = {}
    for book, amount in sorted(entry.legs):
        before = balances.get(book, 0)
        balance = before + amount
        if balance < 0 and book.kind not in MAY_BE_NEGATIVE:
            raise BookOverdrawn(entry.coin, book, before, amount)
        if not AMOUNT_MIN <= balance <= AMOUNT_MAX:
            raise BookOverflow(entry.coin, book, before, amount)
        after[book] = balance
    return after


def compare(stands: Entry, offered: Entry) -> None:
    """Raise EntryConflict with the first differing field unless both bodies are equal.

    The order of legs does not matter.
    """
    for field in ("coin", "kind", "memo"):
        old, new = getattr(stands, field), getattr(offered, field)
        if old != new:
            raise EntryConflict(stands.id, field, repr(old), repr(new))
    old_legs, new_legs = dict(stands.legs), dict(offered.legs)
    for book in sorted(old_legs.keys() | new_legs.keys()):
        old, new = old_legs.get(book, 0), new_legs.get(book, 0)
        if old != new:
            raise EntryConflict(stands.id, f"legs[{book}]", str(old), str(new))


def canonical(entry: Entry, number: int, booked_ms: int) -> bytes:
    """Return the body that is hashed: compact JSON with the legs in book order."""
    legs = [[book.kind.name, book.owner, amount] for book, amount in sorted(entry.legs)]
    body = [FORMAT, number, booked_ms, entry.id, entry.coin, entry.kind, entry.memo, legs]
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode()


def chain_hash(previous: bytes, entry: Entry, number: int, booked_ms: int) -> bytes:
    """Return sha256(previous hash + canonical body)."""
    return hashlib.sha256(previous + canonical(entry, number, booked_ms)).digest()
