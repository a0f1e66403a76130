"""Metrics of the operator."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter(
    "pithead_operator_reconcile_total", "Reconciles that were carried out.", ["kind"]
)
RECONCILE_ERRORS = Counter(
    "pithead_operator_reconcile_errors_total",
    "Reconciles that failed, by reason.",
    ["kind", "reason"],
)
RECONCILE_SECONDS = Histogram(
    "pithead_operator_reconcile_time_seconds",
    "Time of one reconcile.",
    ["kind"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
QUEUE_DEPTH = Gauge("pithead_operator_queue_depth", "Keys that wait for a worker.")
WRITES = Counter(
    "pithead_operator_write_requests_total",
    "Requests that change something; an empty cluster is the hub's own.",
    ["cluster", "method"],
)
APPLIED = Counter("pithead_operator_applied_total", "Objects applied.", ["cluster", "kind"])
SKIPPED = Counter(
    "pithead_operator_skipped_total", "Objects not applied because nothing changed.", ["cluster"]
)
PRUNED = Counter("pithead_operator_pruned_total", "Objects deleted.", ["cluster", "kind"])
REACHABLE = Gauge("pithead_operator_cluster_reachable", "1 while a cluster answers.", ["cluster"])
LISTS = Counter("pithead_operator_lists_total", "Lists of informers.", ["cluster", "kind"])
LEADER = Gauge("pithead_operator_leader", "1 while this process holds the Lease.")
