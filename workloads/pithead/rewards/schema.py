"""Answers for the tables of rewards.

`schemes`, `revisions` and `payout_scripts` only grow. `blocks` has one row a
block, whoever reported it first; its raw bytes lie apart, because lists of blocks
must not read them. A split and its shares are written in one transaction and never
change once final. `entries` is what the ledger must hold: a row is written
together with the decision behind it and marked when the ledger has answered, so
that a crash between the two is made good by asking again.

Weights outgrow 63 bits, so their columns are wide. Amounts are base units.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from pithead.store import Hash32, WideInt, make_metadata

REVISION = "0003"
"""Revision of the migrations that this code is written for."""

METADATA = make_metadata()

SCHEMES = Table(
    "schemes",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("scheme", Text, primary_key=True),
    Column("slot", SmallInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("coin", Text, nullable=False),
    UniqueConstraint("pool", "slot"),
    CheckConstraint("slot BETWEEN 0 AND 255", name="slot"),
)

REVISIONS = Table(
    "revisions",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("scheme", Text, primary_key=True),
    Column("effective_height", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("applied_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["pool", "scheme"], ["schemes.pool", "schemes.scheme"]),
)

PAYOUT_SCRIPTS = Table(
    "payout_scripts",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("script", LargeBinary, primary_key=True),
)
"""Every script that a pool's coinbases ever paid: an old block is judged by the old one too."""

BLOCKS = Table(
    "blocks",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("hash", Hash32, primary_key=True),
    Column("pool", Text, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("parent", Hash32, nullable=False),
    Column("bits", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("slot", SmallInteger, nullable=False),
    Column("producer", LargeBinary, nullable=False),
    Column("extranonce1", LargeBinary, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("login", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("found_ms", BigInteger, nullable=False),
    Column("from_watcher", Boolean, nullable=False),
    Column("checked", Boolean, nullable=False),
    Column("recheck", Boolean, nullable=False),
    Column("money", SmallInteger, nullable=False),
    Column("orphans", Integer, nullable=False),
    CheckConstraint("value >= 0", name="value"),
    CheckConstraint("state BETWEEN 1 AND 4", name="state"),
    CheckConstraint("money BETWEEN 0 AND 3", name="money"),
    Index("ix_blocks_pool_height", "pool", "height"),
    Index("ix_blocks_coin_state", "coin", "state"),
    Index("ix_blocks_coin_recheck", "coin", "recheck"),
    Index("ix_blocks_pool_money_height", "pool", "money", "height"),
)
"""`checked`: the value has been compared with the block on the chain. `recheck`: the chain
moved under a block whose state would otherwise be at rest. `orphans`: how often its money
has been taken back."""

BLOCK_BYTES = Table(
    "block_bytes",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("hash", Hash32, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
    ForeignKeyConstraint(["coin", "hash"], ["blocks.coin", "blocks.hash"]),
)

SPLITS = Table(
    "splits",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("hash", Hash32, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("weight", WideInt, nullable=False),
    Column("group_weight", WideInt, nullable=False),
    Column("needed", WideInt, nullable=False),
    Column("filled", Boolean, nullable=False),
    Column("groups", BigInteger, nullable=False),
    Column("first_group", Text, nullable=False),
    Column("last_group", Text, nullable=False),
    Column("window_hash", Hash32, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("carried", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("remainder", BigInteger, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("archive_hash", Hash32, nullable=True),
    ForeignKeyConstraint(["coin", "hash"], ["blocks.coin", "blocks.hash"]),
    CheckConstraint("fee >= 0 AND remainder >= 0", name="parts"),
)

"""`archive_hash` is the hash of the block's height in the archive of shares; empty for provisional
splits and for those that were final before there was one."""

SPLIT_SHARES = Table(
    "split_shares",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("hash", Hash32, primary_key=True),
    Column("account", BigInteger, primary_key=True, autoincrement=False),
    Column("amount", BigInteger, nullable=False),
    Column("weight", WideInt, nullable=False),
    ForeignKeyConstraint(["coin", "hash"], ["splits.coin", "splits.hash"]),
    CheckConstraint("amount >= 0", name="amount"),
)

ENTRIES = Table(
    "entries",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("hash", Hash32, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("movement", Text, nullable=False),
    Column("booked", Boolean, nullable=False),
    ForeignKeyConstraint(["coin", "hash"], ["splits.coin", "splits.hash"]),
    Index("ix_entries_booked", "booked"),
)
"""`number` orders the entries of one block, from 1."""

WATCH_POSITIONS = Table(
    "watch_positions",
    METADATA,
    Column("coin", Text, primary_key=True),
    Column("height", BigInteger, nullable=False),
    Column("hash", Hash32, nullable=False),
)

LOG_POSITIONS = Table(
    "log_positions",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("log", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
)
