"""What the ledger's tests share: a migrated database, and short ways to write entries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.ledger.book import Book, BookKind, Entry, Leg
from pithead.store import open_store, transaction
from tests.support.databases import DATABASES

COIN = "devchain/regtest"
CHAIN = Book(BookKind.CHAIN, "")
FEE = Book(BookKind.FEE, "pool")


def payable(account: int) -> Book:
    return Book(BookKind.PAYABLE, str(account))


def hold(account: int) -> Book:
    return Book(BookKind.HOLD, str(account))


def entry(entry_id: str, *legs: tuple[Book, int], kind: str = "split", coin: str = COIN) -> Entry:
    return Entry(entry_id, coin, kind, tuple(Leg(book, amount) for book, amount in legs))


def url_of(directory: Path) -> str:
    return f"sqlite+aiosqlite:///{directory / 'ledger.db'}"


@asynccontextmanager
async def database(directory: Path) -> AsyncIterator[AsyncEngine]:
    engine = open_store(await DATABASES.migrated(directory, "ledger"))
    try:
        yield engine
    finally:
        await engine.dispose()


async def execute(engine: AsyncEngine, *statements: str) -> None:
    """Run SQL behind the ledger's back."""
    async with transaction(engine) as connection:
        for statement in statements:
            await connection.execute(text(statement))
