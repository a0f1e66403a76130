"""Metrics of relayed regions at the hub, labelled by region and pool unless said otherwise."""

from prometheus_client import Counter, Gauge

CONNECTED = Gauge("pithead_intake_connected", "Whether a relay is connected", ["region", "pool"])
RECORDS = Counter(
    "pithead_intake_records_total", "Records of regions made durable here", ["region", "pool"]
)
BYTES = Counter(
    "pithead_intake_bytes_total", "Bytes of regions' records made durable here", ["region", "pool"]
)
SET_ASIDE = Counter(
    "pithead_intake_set_aside_total",
    "Records of regions that were not let in: they speak for others or can not be read",
    ["region", "pool"],
)
WAITING_RECORDS = Gauge(
    "pithead_intake_waiting_records",
    "Records in the region's log that are not here yet, as last told (estimated)",
    ["region", "pool"],
)
WAITING_BYTES = Gauge(
    "pithead_intake_waiting_bytes",
    "Bytes in the region's log that are not here yet, as last told: what its loss would cost",
    ["region", "pool"],
)
TOLD = Gauge(
    "pithead_intake_told_timestamp_seconds",
    "When the region last told its ends; seals wait for one that does not",
    ["region", "pool"],
)
DECIDED = Counter(
    "pithead_intake_decisions_total",
    "Partitions of a region read anew, or found to have lost records, by what was decided",
    ["region", "action"],
)
