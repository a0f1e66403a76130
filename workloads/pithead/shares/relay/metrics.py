"""Metrics of the relay, labelled by pool."""

from prometheus_client import Counter, Gauge

CONNECTED = Gauge("pithead_relay_connected", "Whether the hub takes what this relay pushes")
RECORDS = Counter("pithead_relay_records_total", "Records pushed to the hub", ["pool"])
BYTES = Counter("pithead_relay_bytes_total", "Bytes of records pushed to the hub", ["pool"])
WAITING_RECORDS = Gauge(
    "pithead_relay_waiting_records", "Records not at the hub yet (estimated)", ["pool"]
)
WAITING_BYTES = Gauge(
    "pithead_relay_waiting_bytes",
    "Bytes not at the hub yet (estimated): what the loss of this region would cost",
    ["pool"],
)
BOUND_BYTES = Gauge(
    "pithead_relay_bound_bytes",
    "Bytes of a pool that the region's log may hold before edges refuse shares; 0: none is known",
    ["pool"],
)
BEHIND_S = Gauge(
    "pithead_relay_behind_seconds",
    "Seconds since everything was at the hub: the oldest record that waits is no older",
    ["pool"],
)
RELEASED = Counter(
    "pithead_relay_released_total", "Times that partitions were cut behind accounting", ["pool"]
)
