"""Metrics of the queries."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = Histogram(
    "pithead_analytics_query_seconds",
    "Time from a call of the queries contract to its answer",
    ["call"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
FAILED = Counter(
    "pithead_analytics_query_failed_total",
    "Calls that were not answered, by the status that the caller got",
    ["call", "status"],
)
WAITING = Gauge(
    "pithead_analytics_query_waiting", "Questions that wait for their turn at the store"
)
REFUSED = Counter(
    "pithead_analytics_query_refused_total", "Questions refused because too many waited"
)
TABLE_ROWS = Gauge(
    "pithead_analytics_query_table_rows", "Rows of worker tables that are kept in memory"
)
