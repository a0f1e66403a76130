"""Answers for the ledger's contract messages: both directions, nothing lost, nothing guessed."""

from pithead.contracts import ledger_pb2
from pithead.ledger.book import Book, Booked, BookKind, Entry, EntryInvalid, Leg
from pithead.ledger.posting import Balance


def kind_of(value: int) -> BookKind:
    """Return the kind behind a wire number; raise EntryInvalid for one that is not known."""
    try:
        return BookKind(value)
    except ValueError:
        raise EntryInvalid(f"book kind {value} is not known to this ledger") from None


def entry_of(message: ledger_pb2.Entry) -> Entry:
    """Read an entry; raise EntryInvalid for an unknown book kind."""
    return Entry(
        id=message.id,
        coin=message.coin,
        kind=message.kind,
        legs=tuple(
            Leg(Book(kind_of(leg.book.kind), leg.book.owner), leg.amount) for leg in message.legs
        ),
        memo=message.memo,
    )


def message_of_book(book: Book) -> ledger_pb2.Book:
    """Write a book."""
    return ledger_pb2.Book(
        kind=ledger_pb2.BookKind.ValueType(book.kind.value),
        owner=book.owner,
    )


def message_of_entry(booked: Booked) -> ledger_pb2.Entry:
    """Write a booked entry with its number and time."""
    entry = booked.entry
    return ledger_pb2.Entry(
        id=entry.id,
        coin=entry.coin,
        kind=entry.kind,
        legs=[
            ledger_pb2.Leg(book=message_of_book(leg.book), amount=leg.amount) for leg in entry.legs
        ],
        memo=entry.memo,
        number=booked.number,
        booked_ms=booked.booked_ms,
    )


def message_of_balance(balance: Balance) -> ledger_pb2.Balance:
    """Write a balance."""
    return ledger_pb2.Balance(book=message_of_book(balance.book), amount=balance.amount)
