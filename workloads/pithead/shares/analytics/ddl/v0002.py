"""Version 2: work by height, for rounds and luck. Pure.

A height's work comes from the raw rows themselves, minute by minute, so that an old
server can count the minutes that a plan touched again. What raw rows of version 1 hold
is not counted afterwards: rounds are told from the heights on that came since.
"""

from collections.abc import Sequence

from pithead.shares.analytics.ddl.v0001 import WINDOW
from pithead.store.columnar import Server

COLUMNS = "ts, pool, height, shares, work"
REPLACING = "ReplacingMergeTree(ver)"
ADDING = "AggregatingMergeTree"


def statements(server: Server) -> Sequence[str]:
    """All of version 2."""
    key = "ts DateTime('UTC'), pool UInt32, height UInt32"
    place = "PARTITION BY toYear(ts) ORDER BY (pool, height, ts)"
    if not server.modern:
        columns, engine, window = f"{key}, shares UInt64, work UInt64, ver UInt64", REPLACING, ""
    else:
        added = "SimpleAggregateFunction(sum, UInt64)"
        sums = f"shares {added}, work {added}"
        columns, engine = f"{key}, {sums}", ADDING
        window = f" SETTINGS non_replicated_deduplication_window = {WINDOW}"
    table = f"CREATE TABLE IF NOT EXISTS height_m ({columns}) ENGINE = {engine} {place}{window}"
    view = "CREATE MATERIALIZED VIEW IF NOT EXISTS shares_to_height_m TO height_m AS "
    return [table, view + counted("shares")] if server.modern else [table]


def counted(source: str) -> str:
    """SELECT of work by minute and height out of raw shares, given as a table or subquery."""
    return (
        "SELECT toStartOfMinute(t) AS ts, pool, height, count() AS shares, "  # noqa: S608
        f"sum(weight) AS work FROM {source} GROUP BY ts, pool, height"
    )
