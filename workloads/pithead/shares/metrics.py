"""Metrics of accounting, labelled by pool unless said otherwise."""

from prometheus_client import Counter, Gauge

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
