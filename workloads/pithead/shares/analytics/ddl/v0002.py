"""Version 2: work by height, for rounds and luck, and quarters of days of workers. Pure.

A height's work comes from the raw rows themselves, minute by minute, so that an old
server can count the minutes that a plan touched again. A worker's quarters of a day lie
one after the other, a month in one range of keys: a chart of 30 days out of hours, which
lie by days for the sake of tables of all workers, costs two to three times as much. What
version 1 holds is not counted afterwards: both are told from what came since.
"""

from collections.abc import Sequence

from pithead.shares.analytics.ddl.v0001 import SUMS, WINDOW, WORKER_KEY
from pithead.store.columnar import Server

QUARTER_S = 6 * 3600
SMALL = (
    "index_granularity = 512, min_compress_block_size = 8192, min_bytes_for_wide_part = 1073741824"
)
"""All columns of few rows are read at a time: they lie in one file up to a gigabyte. Together
with partitions of a year, of which a month needs one or two, a chart costs a third less."""
HEIGHT_COLUMNS = "ts, pool, height, shares, work"
ADDED = "SimpleAggregateFunction(sum, UInt64)"
LATEST = "SimpleAggregateFunction(max, {})"
WORKER_TYPES = "pool UInt32, account UInt64, worker UInt64, region UInt32, slot UInt8"


def statements(server: Server) -> Sequence[str]:
    """All of version 2."""
    tables = [
        _table(
            server,
            "height_m",
            "pool UInt32, height UInt32",
            ("shares", "work"),
            "PARTITION BY toYear(ts) ORDER BY (pool, height, ts)",
        ),
        _table(
            server,
            "worker_q",
            WORKER_TYPES,
            (*SUMS, "best", "last"),
            "PARTITION BY toYear(ts) ORDER BY (pool, account, worker, ts, region, slot)",
        ),
    ]
    views = [
        "CREATE MATERIALIZED VIEW IF NOT EXISTS shares_to_height_m TO height_m AS "
        + heights("shares"),
        "CREATE MATERIALIZED VIEW IF NOT EXISTS worker_h_to_worker_q TO worker_q AS "
        + quarters("worker_h"),
    ]
    return [*tables, *views] if server.modern else tables


def heights(source: str) -> str:
    """SELECT of work by minute and height out of raw shares, given as a table or subquery."""
    return (
        "SELECT toStartOfMinute(t) AS ts, pool, height, count() AS shares, "  # noqa: S608
        f"sum(weight) AS work FROM {source} GROUP BY ts, pool, height"
    )


def quarters(source: str) -> str:
    """SELECT of workers' quarters of days out of their hours, given as a table or subquery."""
    # Renamed inside: an alias that equals a column it is made of would be taken for it.
    keys = WORKER_KEY.split(", ")
    inner = ", ".join(f"{name} AS {name}_" for name in ("ts", *keys, *SUMS, "best", "last"))
    outer = ", ".join(
        (
            f"toDateTime(intDiv(toUInt32(ts_), {QUARTER_S}) * {QUARTER_S}, 'UTC') AS ts",
            *(f"{name}_ AS {name}" for name in keys),
            *(f"sum({name}_) AS {name}" for name in SUMS),
            "max(best_) AS best",
            "max(last_) AS last",
        )
    )
    return (
        f"SELECT {outer} FROM (SELECT {inner} FROM {source}) AS finer "  # noqa: S608
        f"GROUP BY ts, {WORKER_KEY}"
    )


def _table(server: Server, name: str, keys: str, measures: Sequence[str], place: str) -> str:
    columns = ["ts DateTime('UTC')", keys]
    for measure in measures:
        kind = "DateTime('UTC')" if measure == "last" else "UInt64"
        if server.modern:
            kind = LATEST.format(kind) if measure in ("best", "last") else ADDED
        columns.append(f"{measure} {kind}")
    if server.modern:
        engine = "AggregatingMergeTree"
        settings = f"{SMALL}, non_replicated_deduplication_window = {WINDOW}"
    else:
        columns.append("ver UInt64")
        engine, settings = "ReplacingMergeTree(ver)", "index_granularity = 512"
    return (
        f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(columns)}) ENGINE = {engine} "
        f"{place} SETTINGS {settings}"
    )
