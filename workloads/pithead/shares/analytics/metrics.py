"""Metrics of analytics, labelled by pool unless said otherwise."""

from prometheus_client import Counter, Gauge, Histogram

LAG = Gauge(
    "pithead_analytics_lag_seconds",
    "Age of the oldest record of the log that is not in the columnar database, 0 when all are",
    ["pool"],
)
ROWS = Counter(
    "pithead_analytics_rows_total",
    "Raw rows written, by table (shares, rejects)",
    ["pool", "table"],
)
DUPLICATES = Counter(
    "pithead_analytics_duplicate_batches_total", "Batches left out as planned before", ["pool"]
)
UNREADABLE = Counter(
    "pithead_analytics_unreadable_total", "Records left out because they cannot be read", ["pool"]
)
SKIPPED = Counter(
    "pithead_analytics_skips_total",
    "Times that a stretch of the log was gone before it was read",
    ["pool"],
)
TOO_OLD = Counter(
    "pithead_analytics_too_old_total",
    "Rows left out because their raw rows had been dropped already",
    ["pool"],
)
INSERT_SECONDS = Histogram(
    "pithead_analytics_insert_seconds",
    "Time to write one plan into the columnar database",
    ["pool"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
FAILURES = Counter(
    "pithead_analytics_failures_total", "Plans that could not be written at once", ["pool"]
)
