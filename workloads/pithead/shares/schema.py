"""Tables of accounting.

Rows of `cells` are only added to, and not even that once their height is
sealed. `height` in a cell is the height that it counts at: that of its segment,
or, for a late share, the height whose seal takes it in (then `seal` names the
same height; 0 means in time). The order of the primary key is the order in
which windows read.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from pithead.shares.states import INT63_MAX
from pithead.store import BigId, Hash32, JsonText, WideInt, make_metadata

REVISION = "0008"
"""Newest migration: what the database must be of."""

METADATA = make_metadata()

pools = Table(
    "pools",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("pool", Text, nullable=False),
    Column("coin", Text, nullable=False),
    Column("first_height", BigInteger, nullable=True),
    Column("sealed_height", BigInteger, nullable=True),
    Column("finds_from", BigInteger, nullable=True),
    UniqueConstraint("pool"),
)
"""`first_height` is where sealing starts; both are empty before the first batch that has one."""

accounts = Table(
    "accounts",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("coin", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("script", LargeBinary, nullable=False),
    Column("login", Text, nullable=False),
    UniqueConstraint("coin", "key"),
)
"""The key is the payout script; a login that is no address has a key of its own and no script."""

producers = Table(
    "producers",
    METADATA,
    Column("producer", LargeBinary(16), nullable=False),
    Column("pool", BigInteger, nullable=False),
    Column("region", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("mark", BigInteger, nullable=False),
    Column("top", BigInteger, nullable=False),
    Column("promise", BigInteger, nullable=False),
    Column("promise_seen", BigInteger, nullable=False),
    Column("end_seen", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("producer"),
    Index(None, "pool", "state"),
)
"""`mark` is the last sequence before which nothing is missing (-1: none), `top` the highest read;
`promise` holds for all up to the mark, `promise_seen` for what was read beyond it."""

missing = Table(
    "missing",
    METADATA,
    Column("producer", LargeBinary(16), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    PrimaryKeyConstraint("producer", "first"),
)
"""Ranges of sequences, ends included, that were never read though a later one was; for ever."""

positions = Table(
    "positions",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("log", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition"),
)
"""Where to read on. `log` names the cluster whose positions these are."""

consumers = Table(
    "consumers",
    METADATA,
    Column("pool", BigInteger, autoincrement=False, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "consumer"),
)
"""Consumers that share a pool's partitions, each alive until its time is over."""

claims = Table(
    "claims",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition"),
)
"""Which consumer reads a partition; a claim whose time is over is anybody's."""

segments = Table(
    "segments",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("coin", Text, nullable=False),
    Column("parent", Hash32, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("bits", BigInteger, nullable=False),
    Column("aux", JsonText, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("subsidy", BigInteger, nullable=True),
    Column("doubt", Text, nullable=True),
    UniqueConstraint("coin", "parent", "height", "bits", "aux"),
    Index(None, "coin", "state"),
)
"""A segment claimed with two heights is two segments; at most one of them gets confirmed.

`subsidy` is there from the confirmation on; `doubt` says why `value`, which an edge claimed, is
not believed."""

chain_blocks = Table(
    "chain_blocks",
    METADATA,
    Column("coin", Text, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("hash", Hash32, nullable=False),
    Column("parent", Hash32, nullable=False),
    Column("bits", BigInteger, nullable=False),
    Column("subsidy", BigInteger, nullable=False),
    Column("value", BigInteger, nullable=True),
    Column("fees", BigInteger, nullable=True),
    Column("settled", Boolean, nullable=False),
    PrimaryKeyConstraint("coin", "height"),
)
"""The main chain as the hub's nodes have it, heights without gaps; settled rows never change.

`value` is the sum of the coinbase's outputs, `fees` what of it is above the subsidy; both are empty
while no node has the block's bytes any more."""

revisions = Table(
    "revisions",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("pool", BigInteger, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("scheme", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("effective_height", BigInteger, nullable=False),
    UniqueConstraint("pool", "slot", "effective_height"),
)
"""Append-only, as handed down by rewards."""

cells = Table(
    "cells",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("seal", BigInteger, nullable=False),
    Column("segment", BigInteger, nullable=False),
    Column("minute", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("account", BigInteger, nullable=False),
    Column("weight", BigInteger, nullable=False),
    Column("shares", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "height", "seal", "segment", "minute", "revision", "account"),
    # SQLite turns an integer sum beyond 63 bits into a float without a word;
    # the bound makes that an error.
    CheckConstraint(f"weight BETWEEN 1 AND {INT63_MAX}", name="weight"),
    CheckConstraint(f"shares BETWEEN 1 AND {INT63_MAX}", name="shares"),
    Index(None, "segment"),
    sqlite_with_rowid=False,
)

sessions = Table(
    "sessions",
    METADATA,
    Column("producer", LargeBinary(16), nullable=False),
    Column("extranonce1", LargeBinary(5), nullable=False),
    Column("account", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("agent", Text, nullable=False),
    PrimaryKeyConstraint("producer", "extranonce1"),
)

counters = Table(
    "counters",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("account", BigInteger, nullable=False),
    Column("reason", Integer, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("weight", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "account", "reason"),
    CheckConstraint(f"count BETWEEN 0 AND {INT63_MAX}", name="count"),
    CheckConstraint(f"weight BETWEEN 0 AND {INT63_MAX}", name="weight"),
)
"""Reason 0 counts credited shares, others are those of the log; account 0 is nobody known."""

seals = Table(
    "seals",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("last_height", BigInteger, nullable=False),
    Column("first_height", BigInteger, nullable=False),
    Column("sealed_ms", BigInteger, nullable=False),
    Column("node_height", BigInteger, nullable=False),
    Column("cut", JsonText, nullable=False),
    PrimaryKeyConstraint("pool", "last_height"),
)
"""One row for heights sealed together. The cut is {partition: position read before the seal}."""

late_seals = Table(
    "late_seals",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("seal", BigInteger, nullable=False),
    Column("counts_at", BigInteger, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "seal"),
)
"""Seals that hold late shares, and the height as whose first group these count."""

late_segments = Table(
    "late_segments",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("segment", BigInteger, nullable=False),
    Column("counts_from", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "segment"),
)
"""Disputed segments that were decided to be right after heights of theirs had been sealed: what
would have counted below `counts_from` counts there, as late shares."""

archives = Table(
    "archives",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("first_height", BigInteger, nullable=False),
    Column("last_height", BigInteger, nullable=False),
    Column("before", Hash32, nullable=False),
    Column("hash", Hash32, nullable=False),
    Column("format", Integer, nullable=False),
    Column("cells", BigInteger, nullable=False),
    Column("weights", JsonText, nullable=False),
    Column("ids", JsonText, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("archived_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "first_height"),
)
"""A sealed height, or a run of them without cells, without gaps (see `archive.rows`); triggers
refuse anything but new rows. `before` and `hash` are those of the height before and of the last
one; `weights` is {scheme: weight}, `ids` this database's numbers of what the body names."""

window_bounds = Table(
    "window_bounds",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("scheme", Text, nullable=False),
    Column("weight", WideInt, nullable=False),
    PrimaryKeyConstraint("pool", "scheme"),
)
"""The largest window that the revisions of a scheme may still ask for, as rewards told last."""

compactions = Table(
    "compactions",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("account", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool"),
)
"""Cells that count at `height` or below may be merged over minutes: windows there are read out of
the archive. At `height` itself those of accounts up to `account` are."""

finds = Table(
    "finds",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("segment", BigInteger, nullable=False),
    Column("account", BigInteger, nullable=False),
    Column("solved", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "segment", "account"),
)
"""Credited shares that solved a block. A pool's are complete from its `finds_from` on."""

checks = Table(
    "checks",
    METADATA,
    Column("pool", BigInteger, nullable=False),
    Column("producer", LargeBinary(16), nullable=False),
    Column("region", Text, nullable=False),
    Column("batches", BigInteger, nullable=False),
    Column("checked", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    PrimaryKeyConstraint("pool", "producer"),
)
"""Batches with shares, those whose sample was checked, and those that failed."""

check_failures = Table(
    "check_failures",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("pool", BigInteger, nullable=False),
    Column("producer", LargeBinary(16), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("region", Text, nullable=False),
    Column("share", BigInteger, nullable=False),
    Column("fault", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("seen", Boolean, nullable=False),
    Index(None, "pool", "producer"),
)
"""Failures with what was shown, a bounded number of each producer; `seen` by a decision."""

set_aside = Table(
    "set_aside",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition", "position"),
)
"""Records that could not be booked: each one is an alarm."""

decisions = Table(
    "decisions",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
"""Audited and append-only (triggers refuse anything else)."""

relay_streams = Table(
    "relay_streams",
    METADATA,
    Column("region", Text, nullable=False),
    Column("pool", BigInteger, nullable=False),
    Column("owner", LargeBinary, nullable=False),
    Column("log", Text, nullable=False),
    Column("asked", BigInteger, nullable=False),
    Column("answered", BigInteger, nullable=False),
    Column("told_ms", BigInteger, nullable=False),
    Column("heard_ms", BigInteger, nullable=False),
    Column("moved_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("region", "pool"),
)
"""A relayed region's stream of one pool. `owner` names the connection that may write; `log` is the
region's. Sealers count `asked` up; `answered` is what the last answer answers, which came at
`told_ms` of the hub's clock. `heard_ms` is the region's log's newest time when that was asked, and
`moved_ms` the hub's clock when it was last seen to be newer than before."""

relay_positions = Table(
    "relay_positions",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("log", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("told_end", BigInteger, nullable=False),
    Column("hub_log", Text, nullable=False),
    Column("hub_position", BigInteger, nullable=False),
    Column("released", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "region", "partition"),
)
"""What of a region's partition is durable in the hub's log: all before `position` of the region's
`log` lies before `hub_position` of `hub_log`. `told_end` is where the partition ended as last told;
what is before `released` nobody needs any more."""

relay_pairs = Table(
    "relay_pairs",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("hub_position", BigInteger, nullable=False),
    Column("height", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "region", "partition", "position"),
)
"""Earlier pairs of the same kind, some seconds apart, until accounting is past them. `height` is
the highest of the solved blocks since the pair before, 0 for shares."""

relay_producers = Table(
    "relay_producers",
    METADATA,
    Column("producer", LargeBinary(16), nullable=False),
    Column("pool", BigInteger, nullable=False),
    Column("region", Text, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("producer"),
)
"""Region of each producer that came by a relay, and its region's log's time of its newest batch."""

analytics_state = Table(
    "analytics_state",
    METADATA,
    Column("id", Integer, nullable=False, autoincrement=False),
    Column("store", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("dropped_s", BigInteger, nullable=False),
    PrimaryKeyConstraint("id"),
    CheckConstraint("id = 1", name="one"),
)
"""Which columnar database the rows below speak of, how often it was filled anew, and before which
second its raw rows were dropped by us (0: never)."""

analytics_positions = Table(
    "analytics_positions",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("log", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition"),
)
"""Up to where the log is in the columnar database."""

analytics_producers = Table(
    "analytics_producers",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("producer", LargeBinary(16), nullable=False),
    Column("top", BigInteger, nullable=False),
    Column("gaps", JsonText, nullable=False),
    PrimaryKeyConstraint("topic", "producer"),
)
"""Which batches of a producer were planned: the highest, and [first, last] of what is missing."""

analytics_plans = Table(
    "analytics_plans",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("log", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("content", JsonText, nullable=False),
    PrimaryKeyConstraint("topic"),
)
"""The newest plan of a topic: until it is done, exactly it is written, again after a crash."""
