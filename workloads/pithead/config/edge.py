"""Answers for the settings of a region's processes: edges, and the relay of its log."""

from pathlib import Path

from pithead.config.loading import Settings
from pithead.config.shared import (
    CoinSettings,
    HealthSettings,
    LogSettings,
    PeerSettings,
    ServeSettings,
    SlotSettings,
    TlsFiles,
)

SPOOL_BYTES_MIN = 1 << 20
"""Less would be full before anybody has noticed."""


class ListenerSettings(Settings, frozen=True, kw_only=True):
    """One stratum port."""

    name: str
    host: str = "0.0.0.0"  # noqa: S104 - miners connect from anywhere
    port: int
    slot: int
    start_weight: int
    """Weight of a new connection's shares: expected hashes >> shift of the coin."""
    min_weight: int
    max_weight: int
    tls: TlsFiles | None = None
    """`ca` is not used: miners show no certificates."""


class VardiffSettings(Settings, frozen=True, kw_only=True):
    """How fast a connection should send shares."""

    share_interval_ms: int = 5000
    retarget_interval_ms: int = 60000
    variance_percent: int = 40


class LimitSettings(Settings, frozen=True, kw_only=True):
    """Bounds that keep one miner from harming others."""

    connections_max: int = 20000
    line_bytes_max: int = 8192
    subscribe_timeout_ms: int = 15000
    """Time in which a connection must have subscribed and authorized."""
    idle_timeout_ms: int = 900_000
    garbage_lines_max: int = 3
    """Unparseable lines after which a connection is closed."""
    invalid_percent: int = 50
    """Share of invalid submits, of the last `invalid_window`, that bans an address."""
    invalid_window: int = 200
    ban_ms: int = 600_000


class DrainSettings(Settings, frozen=True, kw_only=True):
    """How an edge lets its miners go before it ends; all zero: at once."""

    linger_ms: int = 0
    """Time in which it still takes in connections, so that load balancers see that it leaves."""
    reconnect_ms: int = 0
    """Time over which miners are asked to reconnect, in `slices` parts."""
    slices: int = 10


class SpoolSettings(Settings, frozen=True, kw_only=True):
    """Where an edge keeps what it accepts while the log is away (`onLogOutage: spool`)."""

    directory: Path
    """On a volume that outlives the process; what another process left there is adopted."""
    bytes_max: int = 1 << 30
    """Of shares that wait; from there on they are refused. Solved blocks are always kept."""
    wait_ms: int = 20_000
    """Time in which an edge that ends waits for its spool to become empty."""

    def __post_init__(self) -> None:
        if self.bytes_max < SPOOL_BYTES_MIN:
            raise ValueError("`bytes_max` of a spool is at least one MiB")


class ReportSettings(Settings, frozen=True, kw_only=True):
    """The ConfigMap that an edge writes its state to, one key an edge."""

    namespace: str
    config_map: str
    key: str
    interval_ms: int = 15_000


class StratumSettings(Settings, frozen=True, kw_only=True):
    """One edge process."""

    pool: str
    """poolId."""
    region: str
    coin: CoinSettings
    payout_script: str
    """Hex script that every coinbase pays."""
    listeners: tuple[ListenerSettings, ...]
    slots: tuple[SlotSettings, ...]
    vardiff: VardiffSettings = VardiffSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings
    partition: str = ""
    """The partition of shares and blocks that this process owns; empty: the log chooses one
    by the producer, which chunk files can not."""
    spool: SpoolSettings | None = None
    """None: shares are refused while the log is away."""
    serve: ServeSettings
    drain: DrainSettings = DrainSettings()
    report: ReportSettings | None = None
    health: HealthSettings | None = None
    batch_shares_max: int = 512
    batch_delay_ms: int = 3

    def __post_init__(self) -> None:
        if self.log.directory is not None and not self.partition:
            raise ValueError("an edge on a log of chunk files needs a `partition`")


class RelaySettings(Settings, frozen=True, kw_only=True):
    """The relay: pushes a region's log to the hub, one process for each log of a region.

    It keeps nothing, so it needs no volume; a second one that runs for a while beside
    it (a rollout) takes over. It only dials out: the region's log and `hub`.
    """

    region: str
    """Immutable id of the region; every batch that is pushed bears it."""
    pools: tuple[str, ...]
    """poolIds whose topics of shares and blocks lie in this log. Each pool of a region has one
    relay."""
    log: LogSettings
    """The region's log. The user in Kafka needs Describe, Read and Delete of these topics (Delete
    is what DeleteRecords asks for) and writes nothing."""
    hub: PeerSettings
    """`IntakeSettings.serve` as it is reached from the region. With `tls` the certificate shown
    bears `region_name(region)` as a DNS name and comes from the authority that the intake
    trusts; `ca` is that of the hub's own certificate."""
    bound_bytes: int = 0
    """Bytes of one pool that the region's log may hold before edges refuse shares, for alerts at
    half of it; 0: none is known."""
    health: HealthSettings | None = None
