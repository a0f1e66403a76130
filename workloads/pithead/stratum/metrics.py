"""Metrics of an edge; the invariants' metrics carry their names."""

from prometheus_client import Counter, Gauge, Histogram

from pithead.contracts.share_log_pb2 import RejectReason
from pithead.stratum.jobs import STALE_SUCCESSOR, STALE_UNCONFIRMED

ACCEPTED = Counter("pithead_edge_shares_accepted_total", "Shares answered true")
REJECTED = Counter("pithead_edge_shares_rejected_total", "Shares refused, by reason", ["reason"])
CONNECTIONS = Gauge("pithead_edge_connections", "Open miner connections")
CLOSED = Counter("pithead_edge_connections_closed_total", "Connections closed by us", ["reason"])
BLOCKS = Counter("pithead_edge_blocks_total", "Solves found, by outcome", ["outcome"])
COMMIT_SECONDS = Histogram(
    "pithead_edge_log_commit_seconds",
    "Time of one append to the share log",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0),
)
LOG_FAILURES = Counter("pithead_edge_log_failures_total", "Failed attempts to append to the log")
UNCREDITED = Counter(
    "pithead_edge_durable_accept_refused_total",
    "DurableAccept: valid shares answered 20 because the log did not confirm them",
)
FRESH_WORK_REFUSED = Counter(
    "pithead_edge_fresh_work_refused_total",
    "FreshWork: shares refused because their job is stale, by cause",
    ["cause"],
)
UNIQUE_WORK_SERIALS = Gauge("pithead_edge_unique_work_serials", "UniqueWork: job serials minted")
JOB_DIFFICULTY_WAITS = Counter(
    "pithead_edge_job_difficulty_waits_total",
    "JobDifficulty: retargets that wait for the next template",
)
FAN_OUT_SECONDS = Histogram(
    "pithead_edge_fan_out_seconds",
    "Time from a new template to the last connection's write",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0),
)

REASONS: dict[RejectReason.ValueType, str] = {
    RejectReason.REJECT_STALE: "stale",
    RejectReason.REJECT_DUPLICATE: "duplicate",
    RejectReason.REJECT_LOW: "low",
    RejectReason.REJECT_INVALID: "invalid",
    RejectReason.REJECT_UNAUTHORIZED: "unauthorized",
}

FRESH_WORK_CAUSES = {STALE_SUCCESSOR: "successor", STALE_UNCONFIRMED: "unconfirmed"}
