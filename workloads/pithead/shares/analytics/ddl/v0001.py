"""Version 1: raw shares and rejects, rollups by minute, hour and day, names, its own id. Pure.

Every ordering key begins with the pool and a stretch of time (a minute of raw rows, an
hour of minutes, a day of hours, a month of days): a chart reads one short range of keys
a stretch, a table of all workers of an account one range over it.

On a modern server the raw tables feed the minutes of workers by views, and those each
coarser rollup; an insert token makes a repeat harmless in all of them, which needs
deduplication on every table. An old one has neither: its tables replace equal keys,
its rollups keep the row of the highest `ver`, and the writer recomputes what it touched.
"""

from collections.abc import Sequence

from pithead.store.columnar import Server

WINDOW = 10_000
"""Blocks whose tokens a table remembers; a writer has one insert under way at a time."""

RETENTION_DAYS = 14
"""Of raw rows until the process sets its own."""

GRANULE = 2048
"""Rows that are read at least. With blocks of few rows compressed together a short range
costs little: a worker's 30 days are 30 ranges of hours, 7 ms instead of 18 among 10,000."""
FINE_GRANULE = 512
"""For the hours of workers, which such charts read; minutes would hold too large an index."""

STRETCH = {"m": "toStartOfHour(ts)", "h": "toDate(ts)", "d": "toStartOfMonth(ts)"}
PARTITION = {"m": "toYYYYMM(ts)", "h": "toYYYYMM(ts)", "d": "toYear(ts)"}
START = {"m": "toStartOfMinute", "h": "toStartOfHour", "d": "toStartOfDay"}
KEYS = {
    "worker": ("pool", "account", "worker", "region", "slot"),
    "account": ("pool", "account", "region", "slot"),
    "pool": ("pool", "region", "slot"),
}
TYPES = {
    "pool": "UInt32",
    "account": "UInt64",
    "worker": "UInt64",
    "region": "UInt32",
    "slot": "UInt8",
}
SUMS = ("shares", "work", "stale", "duplicate", "low", "invalid")

FEEDS = (
    ("worker_m", "worker_h"),
    ("worker_h", "worker_d"),
    ("worker_m", "account_m"),
    ("account_m", "account_h"),
    ("account_h", "account_d"),
    ("account_m", "pool_m"),
    ("pool_m", "pool_h"),
    ("pool_h", "pool_d"),
)
"""Which rollup each coarser one is made of, each after its source."""

FROM_SHARES = (
    "count() AS shares, sum(weight) AS work, toUInt64(0) AS stale, toUInt64(0) AS duplicate, "
    "toUInt64(0) AS low, toUInt64(0) AS invalid, max(achieved) AS best, max(t) AS last"
)
FROM_REJECTS = (
    "toUInt64(0) AS shares, toUInt64(0) AS work, sumIf(count, reason = 1) AS stale, "
    "sumIf(count, reason = 2) AS duplicate, sumIf(count, reason = 3) AS low, "
    "sumIf(count, reason NOT IN (1, 2, 3)) AS invalid, toUInt64(0) AS best, max(t) AS last"
)
WORKER_KEY = "pool, account, worker, region, slot"


def statements(server: Server) -> Sequence[str]:
    """All of version 1."""
    raw = [_shares(server), _rejects(server)]
    rollups = [_rollup(server, name, unit) for name in KEYS for unit in ("m", "h", "d")]
    views = _views() if server.modern else []
    store = "CREATE TABLE IF NOT EXISTS store (id String) ENGINE = MergeTree ORDER BY id"
    return [*raw, *rollups, *_names(server), store, *views]


def rolled_up(source: str, target: str) -> str:
    """SELECT of a rollup's rows out of a finer rollup, given as a table or subquery.

    Columns are renamed inside: an alias that equals a column it is made of would be
    taken for it.
    """
    name, unit = target.split("_")
    keys, start = KEYS[name], START[unit]
    inner = ", ".join(f"{each} AS {each}_" for each in ("ts", *keys, *SUMS, "best", "last"))
    outer = ", ".join(
        (
            f"{start}(ts_) AS ts",
            *(f"{each}_ AS {each}" for each in keys),
            *(f"sum({each}_) AS {each}" for each in SUMS),
            "max(best_) AS best",
            "max(last_) AS last",
        )
    )
    by = ", ".join(("ts", *keys))
    return f"SELECT {outer} FROM (SELECT {inner} FROM {source}) AS finer GROUP BY {by}"  # noqa: S608


def _shares(server: Server) -> str:
    columns = (
        "t", "ms UInt16", "pool UInt32", "account UInt64", "worker UInt64", "region UInt32",
        "slot UInt8", "height UInt32", "weight UInt64", "achieved UInt64", "serial UInt32",
        "solved UInt8", "producer UInt64", "seq UInt64", "idx UInt32",
    )  # fmt: skip
    return _raw(server, "shares", columns)


def _rejects(server: Server) -> str:
    columns = (
        "t", "pool UInt32", "account UInt64", "worker UInt64", "region UInt32", "slot UInt8",
        "reason UInt8", "count UInt32", "producer UInt64", "seq UInt64", "idx UInt32",
    )  # fmt: skip
    return _raw(server, "rejects", columns)


def _raw(server: Server, table: str, columns: Sequence[str]) -> str:
    key = "pool, toStartOfMinute(t), account, worker, t, producer, seq, idx"
    if not server.modern:
        rows = ", ".join("t DateTime('UTC')" if each == "t" else each for each in columns)
        return (
            f"CREATE TABLE IF NOT EXISTS {table} ({rows}) ENGINE = ReplacingMergeTree "
            f"PARTITION BY toYYYYMMDD(t) ORDER BY ({key})"
        )
    packed = {"weight UInt64", "achieved UInt64", "seq UInt64"}
    rows = ", ".join(
        "t DateTime('UTC') CODEC(DoubleDelta, ZSTD(1))"
        if each == "t"
        else f"{each} CODEC({'T64, ' if each in packed else ''}ZSTD(1))"
        for each in columns
    )
    return (
        f"CREATE TABLE IF NOT EXISTS {table} ({rows}) ENGINE = MergeTree "
        f"PARTITION BY toYYYYMMDD(t) ORDER BY ({key}) "
        f"TTL t + INTERVAL {RETENTION_DAYS} DAY "
        f"SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = {WINDOW}"
    )


def _rollup(server: Server, name: str, unit: str) -> str:
    keys = KEYS[name]
    first, *rest = keys
    # Workers and accounts lie within a stretch of time; of a pool there is little to skip.
    order = ", ".join((first, STRETCH[unit], *rest[:-2], "ts", "region", "slot"))
    granule = FINE_GRANULE if (name, unit) == ("worker", "h") else GRANULE
    if server.modern:
        columns = (
            "ts DateTime('UTC') CODEC(DoubleDelta, ZSTD(1))",
            *(f"{key} {TYPES[key]} CODEC(ZSTD(1))" for key in keys),
            *(f"{each} SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1))" for each in SUMS),
            "best SimpleAggregateFunction(max, UInt64) CODEC(T64, ZSTD(1))",
            "last SimpleAggregateFunction(max, DateTime('UTC')) CODEC(ZSTD(1))",
        )
        engine = "AggregatingMergeTree"
        settings = (
            f"index_granularity = {granule}, min_compress_block_size = 8192, "
            f"non_replicated_deduplication_window = {WINDOW}"
        )
    else:
        columns = (
            "ts DateTime('UTC')",
            *(f"{key} {TYPES[key]}" for key in keys),
            *(f"{each} UInt64" for each in SUMS),
            "best UInt64",
            "last DateTime('UTC')",
            "ver UInt64",
        )
        engine = "ReplacingMergeTree(ver)"
        settings = f"index_granularity = {granule}"
    return (
        f"CREATE TABLE IF NOT EXISTS {name}_{unit} ({', '.join(columns)}) ENGINE = {engine} "
        f"PARTITION BY {PARTITION[unit]} ORDER BY ({order}) SETTINGS {settings}"
    )


def _names(server: Server) -> list[str]:
    """Names of workers and regions; `ver` makes the earliest `first` win."""
    window = f" SETTINGS non_replicated_deduplication_window = {WINDOW}" if server.modern else ""
    workers = (
        "CREATE TABLE IF NOT EXISTS workers (worker UInt64, pool UInt32, account UInt64, "
        "name String, first DateTime('UTC'), ver UInt32) ENGINE = ReplacingMergeTree(ver) "
        f"ORDER BY (pool, account, worker){window}"
    )
    regions = (
        "CREATE TABLE IF NOT EXISTS regions (region UInt32, name String) "
        f"ENGINE = ReplacingMergeTree ORDER BY region{window}"
    )
    return [workers, regions]


def _views() -> list[str]:
    raw = [
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_to_worker_m TO worker_m AS "  # noqa: S608
        f"SELECT toStartOfMinute(t) AS ts, {WORKER_KEY}, {measures} FROM {table} "
        f"GROUP BY ts, {WORKER_KEY}"
        for table, measures in (("shares", FROM_SHARES), ("rejects", FROM_REJECTS))
    ]
    coarser = [
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {source}_to_{target} TO {target} AS "
        + rolled_up(source, target)
        for source, target in FEEDS
    ]
    return raw + coarser
