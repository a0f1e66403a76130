"""Answers for the settings of the services that hold the money, and of the built-in node."""

from pathlib import Path

from pithead.config.loading import Settings
from pithead.config.shared import (
    CoinSettings,
    ColumnarSettings,
    ConnectionsSettings,
    HealthSettings,
    LogSettings,
    PeerSettings,
    ServeSettings,
    SlotSettings,
)


class KeepSettings(Settings, frozen=True, kw_only=True):
    """How much of a pool's log stays behind what the hub has read. With both, what keeps less."""

    bytes: int | None = None
    ms: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is ever deleted."""
        return self.bytes is None and self.ms is None


class PoolSettings(Settings, frozen=True, kw_only=True):
    """What hub services know of one pool."""

    pool: str
    name: str
    coin: str
    """CoinEndpoint name."""
    regions: tuple[str, ...]
    payout_script: str = ""
    """Hex; needed by rewards to see the pool's outputs in a coinbase."""
    slots: tuple[SlotSettings, ...] = ()
    keep: KeepSettings = KeepSettings()
    """Of shares behind accounting, and of solved blocks behind rewards. Default: everything."""


class RelayedRegion(Settings, frozen=True, kw_only=True):
    """A region with a log of its own, whose records a relay pushes to the hub."""

    region: str
    pools: tuple[str, ...]
    """poolIds that come this way. Seals of these wait for the region."""


class IntakeSettings(Settings, frozen=True, kw_only=True):
    """Where relays push to, and which; served by the share processor beside its own contract."""

    serve: ServeSettings
    """An address of its own, as regions may reach nothing else of the hub. Over TLS its `ca` is the
    authority of the regions, and each client's certificate bears `region_name` of its region as a
    DNS name. Without TLS (a unix socket, loopback) a relay is who it says."""
    regions: tuple[RelayedRegion, ...]


class ChecksSettings(Settings, frozen=True, kw_only=True):
    """How much of what edges report is checked again."""

    sha256d_percent: int = 100
    """Of the batches; one sample takes some microseconds."""
    scrypt_percent: int = 5
    """Of the batches; one sample takes up to a millisecond."""

    def __post_init__(self) -> None:
        for name in ("sha256d_percent", "scrypt_percent"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"checks: {name} is 0 to 100")

    def percent(self, pow_name: str) -> int:
        """Of batches whose PoW has this name (`sha256d`, `scrypt`)."""
        return self.sha256d_percent if pow_name == "sha256d" else self.scrypt_percent


class SharesSettings(Settings, frozen=True, kw_only=True):
    """The share processor."""

    database: str
    """SQLAlchemy URL."""
    serve: ServeSettings
    log: LogSettings
    pools: tuple[PoolSettings, ...]
    coins: tuple[CoinSettings, ...]
    health: HealthSettings | None = None
    connections: ConnectionsSettings = ConnectionsSettings(most=12)
    """The pools' booking and sealing, a few side by side, and answers beside them."""
    checks: ChecksSettings = ChecksSettings()
    intake: IntakeSettings | None = None
    """None: all regions write the hub's log themselves."""


class AnalyticsSettings(Settings, frozen=True, kw_only=True):
    """Analytics: raw shares and rollups for charts, and the queries over them.

    One process; a second one beside it does no harm and no good. It needs the share log and the
    database of `shares` by that service's own role (account ids, and plans and positions of its
    own), no coin node and no Secret of one: `coins` come without nodes. With `store.clickhouse`
    it needs a user that may create tables in the database named there; with `store.directory`
    the directory belongs to this process alone. About 400 MB of memory with chdb, twice that
    while it catches up with a backlog. Everything in the store can be made again from the log
    while that is kept.
    """

    database: str
    """SQLAlchemy URL of the database of `shares`."""
    serve: ServeSettings
    log: LogSettings
    pools: tuple[PoolSettings, ...]
    """Without slots and scripts."""
    coins: tuple[CoinSettings, ...]
    store: ColumnarSettings
    shares: PeerSettings
    """Asked for windows."""
    rewards: PeerSettings
    """Asked for blocks and parameters of schemes."""
    health: HealthSettings | None = None
    connections: ConnectionsSettings = ConnectionsSettings(most=4)
    """A pool's plans come one after another; names are looked up beside them."""
    retention_days: int = 14
    """Days that raw shares and rejects are kept; rollups stay."""
    interval_ms: int = 2000
    """Shortest time between two inserts of a pool that has no backlog."""
    nice: int = 0
    """Added to the process's niceness, where it shares cores with edges."""

    def __post_init__(self) -> None:
        if not 1 <= self.retention_days <= 3650:
            raise ValueError("`retention_days` is from 1 to 3650")
        if not 100 <= self.interval_ms <= 60_000:
            raise ValueError("`interval_ms` is from 100 to 60000")


class RewardsSettings(Settings, frozen=True, kw_only=True):
    """Blocks, schemes and splits. Slots are rewards' own and empty in its pools."""

    database: str
    serve: ServeSettings
    log: LogSettings
    pools: tuple[PoolSettings, ...]
    coins: tuple[CoinSettings, ...]
    shares: PeerSettings
    ledger: PeerSettings
    health: HealthSettings | None = None
    connections: ConnectionsSettings = ConnectionsSettings(most=6)
    """A coin's blocks are settled one after another; windows come from `shares`, not from here."""
    notice_blocks: int = 6
    """Blocks between the tip and the height from which a changed revision counts."""


class LedgerSettings(Settings, frozen=True, kw_only=True):
    """The double-entry book."""

    database: str
    serve: ServeSettings
    health: HealthSettings | None = None
    connections: ConnectionsSettings = ConnectionsSettings(most=8)
    """Entries of a coin are booked one after another; balances are read beside them."""


class PayoutPolicy(Settings, frozen=True, kw_only=True):
    """When and what a coin's wallet pays. One policy per CoinEndpoint."""

    coin: str
    """CoinEndpoint name."""
    interval_s: int
    threshold: int
    """Base units below which a balance waits."""
    paused: bool = False
    payments_max: int = 500
    """Payees in one transaction."""
    fee_rate: int = 10
    """Base units per virtual byte of a payout transaction; the pool's fee book bears it."""
    fee_book: str
    """poolId whose fee book bears the network fee."""


class PayoutsSettings(Settings, frozen=True, kw_only=True):
    """Payout state machine and wallets."""

    database: str
    serve: ServeSettings
    coins: tuple[CoinSettings, ...]
    policies: tuple[PayoutPolicy, ...]
    shares: PeerSettings
    ledger: PeerSettings
    health: HealthSettings | None = None
    connections: ConnectionsSettings = ConnectionsSettings(most=4)
    """One cycle a coin, each with one transaction at a time."""


class DevchainSettings(Settings, frozen=True, kw_only=True):
    """The built-in regtest node."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int
    user: str
    password: str
    bits: int = 0x1F00FFFF
    """Compact target of every block: 0x1f00ffff is one block in 2^16 hashes."""
    coinbase_maturity: int = 10
    socket: Path | None = None
