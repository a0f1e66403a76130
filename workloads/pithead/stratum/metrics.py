"""Metrics of an edge; the invariants' metrics carry their names."""

from prometheus_client import Counter, Gauge, Histogram

from pithead.contracts.share_log_pb2 import RejectReason
from pithead.stratum.jobs import STALE_SUCCESSOR, STALE_UNCONFIRMED

ACCEPTED = Counter("pithead_edge_shares_accepted_total", "Shares answered true")
REJECTED = Counter("pithead_edge_shares_rejected_total", "Shares refused, by reason", ["reason"])
CONNECTIONS = Gauge("pithead_edge_connections", "Open miner connections")
CLOSED = Counter("pithead_edge_connections_closed_total", "Connections closed by us", ["reason"])
BATCHES = Counter("pithead_edge_batches_total", "Batches that are durable in the share log")
BLOCKS_FOUND = Counter("pithead_edge_blocks_found_total", "Solves found")
BLOCKS = Counter("pithead_edge_blocks_total", "Solves offered to nodes, by outcome", ["outcome"])
COMMIT_SECONDS = Histogram(
    "pithead_edge_log_commit_seconds",
    "Time of one append to the share log",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0),
)
LOG_FAILURES = Counter("pithead_edge_log_failures_total", "Failed attempts to append to the log")
LOG_AWAY_SECONDS = Gauge(
    "pithead_edge_log_away_seconds", "How long the share log has not confirmed, 0 while it does"
)
SPOOLING = Gauge("pithead_edge_spooling", "1 while records are kept on this machine for the log")
SPOOL_BYTES = Gauge("pithead_edge_spool_bytes", "Bytes that wait in the spool")
SPOOL_BATCHES = Gauge("pithead_edge_spool_batches", "Records that wait in the spool")
SPOOL_AGE_SECONDS = Gauge(
    "pithead_edge_spool_age_seconds", "Age of the oldest record that waits in the spool"
)
SPOOL_LEFT_BEHIND = Gauge(
    "pithead_edge_spool_left_behind",
    "Records in the spool when this edge ended; the next process on the volume sends them",
)
LOG_BYTES = Gauge("pithead_edge_log_bytes", "Bytes of the pool's shares topic, where it is bounded")
LOG_BYTES_MAX = Gauge("pithead_edge_log_bytes_max", "Bound of pithead_edge_log_bytes, 0 for none")
LOG_HALF_FULL = Gauge(
    "pithead_edge_log_half_full", "1 from half of the log's byte bound on: time to find out why"
)
LOG_FULL = Gauge("pithead_edge_log_full", "1 while shares are refused for the log's byte bound")
LOG_UNMEASURED = Counter(
    "pithead_edge_log_measurements_failed_total", "Times that the log's size could not be told"
)
BLOCK_RECORDS_WAITING = Gauge(
    "pithead_edge_block_records_waiting", "Records of solves that are not in the log yet"
)
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
    "Job latency: time from a new template to the last connection's write",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0),
)

DRAIN = Gauge(
    "pithead_edge_drain_state", "0 serving, 1 lingering, 2 sending miners away, 3 flushing"
)
RECONNECTS = Counter(
    "pithead_edge_reconnects_sent_total", "client.reconnect sent, by cause", ["cause"]
)
CALM_MOVES_BROKEN = Counter(
    "pithead_edge_calm_moves_broken_total",
    "CalmMoves: miners whose connection a drain closed without client.reconnect first",
)
HANDSHAKES_FAILED = Counter(
    "pithead_edge_tls_handshakes_failed_total",
    "TLS handshakes that failed, by listener and cause",
    ["listener", "cause"],
)
RELOADS_FAILED = Counter(
    "pithead_edge_tls_reloads_failed_total",
    "Replaced certificate files that were not usable, by listener; the pair of before is used",
    ["listener"],
)
REPORTS_FAILED = Counter(
    "pithead_edge_reports_failed_total", "Reports that the API server did not take"
)
NODE_REACHABLE = Gauge("pithead_edge_node_reachable", "1 while a coin node answers", ["node"])
NODE_ACTIVE = Gauge("pithead_edge_node_active", "1 for the node that work comes from", ["node"])
NODE_HEIGHT = Gauge("pithead_edge_node_height", "Height of a coin node", ["node"])
NODE_LATENCY_SECONDS = Gauge(
    "pithead_edge_node_latency_seconds", "Time of a coin node's last answer to a poll", ["node"]
)

REASONS: dict[RejectReason.ValueType, str] = {
    RejectReason.REJECT_STALE: "stale",
    RejectReason.REJECT_DUPLICATE: "duplicate",
    RejectReason.REJECT_LOW: "low",
    RejectReason.REJECT_INVALID: "invalid",
    RejectReason.REJECT_UNAUTHORIZED: "unauthorized",
}

FRESH_WORK_CAUSES = {STALE_SUCCESSOR: "successor", STALE_UNCONFIRMED: "unconfirmed"}
