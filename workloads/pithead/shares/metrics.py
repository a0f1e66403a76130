"""Metrics of accounting, labelled by pool unless said otherwise."""

from prometheus_client import Counter, Gauge, Histogram

BATCHES = Counter("pithead_accounting_batches_total", "Batches booked", ["pool"])
SHARES = Counter("pithead_accounting_shares_total", "Shares booked into cells", ["pool"])
LATE_SHARES = Counter(
    "pithead_accounting_late_shares_total",
    "Shares that came after their height was sealed",
    ["pool"],
)
DUPLICATES = Counter(
    "pithead_accounting_duplicate_batches_total", "Batches dropped as read before", ["pool"]
)
LAG = Gauge(
    "pithead_accounting_lag",
    "What a partition holds behind the position of accounting: bytes of chunk files, records of "
    "Kafka; told by the process that reads the partition",
    ["pool", "partition"],
)
BEHIND_SECONDS = Gauge(
    "pithead_accounting_behind_seconds",
    "Age of the newest batch booked while more is waiting; 0 at the end of the log",
    ["pool"],
)
PARTITIONS = Gauge("pithead_accounting_partitions", "Partitions that this process reads", ["pool"])
POLL_BYTES = Histogram(
    "pithead_accounting_poll_bytes",
    "Size of the records of a poll that had any",
    ["pool"],
    buckets=[1 << bits for bits in range(10, 26, 2)],
)
TRANSACTION_SECONDS = Histogram(
    "pithead_accounting_transaction_seconds",
    "Time from the beginning of a booking transaction to its commit",
    ["pool"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
MISSING = Gauge(
    "pithead_accounting_missing_batches", "Batches missing below a later one read", ["pool"]
)
SET_ASIDE = Counter(
    "pithead_accounting_set_aside_total", "Records that could not be booked", ["pool"]
)
CLOCK_AHEAD = Counter(
    "pithead_accounting_clock_ahead_total",
    "Batches whose producer's clock is more than a minute ahead of the hub's",
    ["pool"],
)
SEALED_HEIGHT = Gauge("pithead_accounting_sealed_height", "Highest sealed height", ["pool"])
ARCHIVED_HEIGHT = Gauge("pithead_accounting_archived_height", "Highest archived height", ["pool"])
COMPACTED_HEIGHT = Gauge(
    "pithead_accounting_compacted_height",
    "Height up to which cells are merged over the minutes of a segment",
    ["pool"],
)
ARCHIVE_LAG = Gauge(
    "pithead_accounting_archive_lag_heights", "Heights sealed and not yet archived", ["pool"]
)
DISPUTED = Counter(
    "pithead_accounting_disputed_segments_total", "Segments that became Disputed", ["coin"]
)
CHAIN_HEIGHT = Gauge(
    "pithead_accounting_chain_height", "Highest block whose bits and fees are known", ["coin"]
)
CHAIN_REPLACED = Counter(
    "pithead_accounting_chain_replaced_total", "Known blocks that left the main chain", ["coin"]
)
CHAIN_CONTRADICTED = Counter(
    "pithead_accounting_chain_contradicted_total",
    "Times that no node had a settled block on its main chain",
    ["coin"],
)
DOUBTED = Counter(
    "pithead_accounting_doubted_values_total",
    "Segments whose claimed block value is not believed",
    ["coin"],
)
LOG_TRIMMED = Counter(
    "pithead_accounting_log_trimmed_total",
    "Times that the log let go what all its readers are past, by topic",
    ["topic"],
)
CHECKED = Counter(
    "pithead_accounting_checks_total", "Samples of shares that were checked", ["pool", "region"]
)
CHECKS_FAILED = Counter(
    "pithead_accounting_checks_failed_total",
    "Samples that do not show what the share claims",
    ["pool", "region", "fault"],
)
CHECKS_DROPPED = Counter(
    "pithead_accounting_checks_dropped_total", "Samples for which there was no room", ["pool"]
)
CHECKS_WAITING = Gauge(
    "pithead_accounting_checks_waiting", "Samples that wait to be checked", ["pool"]
)
ANALYTICS_LEFT_BEHIND = Counter(
    "pithead_accounting_analytics_not_waited_for_total",
    "Looks at which analytics was too far behind to keep the log for it, by topic",
    ["topic"],
)
