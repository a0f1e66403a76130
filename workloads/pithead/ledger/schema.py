"""Answers for the ledger's tables: entries and legs that only grow, books that sum them.

`head` is one row: the number and hash of the newest entry. A posting locks it
first, so that entries are numbered without gaps and hashed in one order. `books`
holds the sum of its legs; a CHECK keeps books that are owed to somebody at zero
or above. Triggers, which stand in the migration, refuse UPDATE and DELETE on
entries and legs.

Book kinds are stored by name, so that a row explains itself.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    SmallInteger,
    Table,
    Text,
)

from pithead.store import Hash32, make_metadata

REVISION = "0001"
"""The migration that these tables are."""

METADATA = make_metadata()

HEAD = Table(
    "head",
    METADATA,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", Hash32, nullable=False),
    CheckConstraint("id = 1", name="single"),
    CheckConstraint("number >= 0", name="number"),
)

ENTRIES = Table(
    "entries",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("coin", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("memo", Text, nullable=False),
    Column("booked_ms", BigInteger, nullable=False),
    Column("hash", Hash32, nullable=False),
    CheckConstraint("number > 0", name="number"),
    CheckConstraint("length(hash) = 32", name="hash"),
)

LEGS = Table(
    "legs",
    METADATA,
    Column(
        "number", BigInteger, ForeignKey("entries.number"), primary_key=True, autoincrement=False
    ),
    Column("kind", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount <> 0", name="amount"),
)

BOOKS = Table(
    "books",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("balance", BigInteger, nullable=False),
    CheckConstraint("balance >= 0 OR kind IN ('CHAIN', 'FEE')", name="balance"),
)
