"""Process configuration: frozen groups that each service reads once from its JSON file.

The runtime (one machine or cluster) renders these from manifests; services see
nothing else of the outside: no environment, no manifest. Unknown or half-given
keys are refused with their path.

A text value `fromFile:/abs/path` is replaced, when settings are loaded, by the
content of that file without surrounding white space. So a settings file itself
can be public while its secrets are mounted beside it.
"""

import ipaddress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pithead.config.from_file import UnreadableSecret, with_files


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all groups: frozen, and strict about unknown keys."""


class TlsFiles(Settings, frozen=True, kw_only=True):
    """PEM files of one end of TLS."""

    certificate: Path
    """The chain, this end's own certificate first."""
    key: Path
    ca: Path | None = None
    """What the other end's certificate must be signed by; not asked for when None."""


class ServeSettings(Settings, frozen=True, kw_only=True):
    """Where a service listens for its neighbours.

    With `tls` both ends show certificates and trust its `ca` alone. Without, the
    address must be one that only this machine reaches.
    """

    address: str
    """`unix:/path` or `host:port`."""
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        _check_address(self.address, self.tls)


class PeerSettings(Settings, frozen=True, kw_only=True):
    """Where a neighbour listens; the client's side of its ServeSettings."""

    address: str
    """`unix:/path` or `host:port`; over TLS its certificate must bear this host."""
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        _check_address(self.address, self.tls)


class KafkaSettings(Settings, frozen=True, kw_only=True):
    """How a Kafka cluster is reached."""

    bootstrap_servers: tuple[str, ...]
    ca: Path | None = None
    """PEM file; TLS when given."""
    username: str = ""
    """SASL SCRAM-SHA-512 when given."""
    password: str = ""


class LogSettings(Settings, frozen=True, kw_only=True):
    """The share log: chunk files below a directory, or Kafka."""

    directory: Path | None = None
    kafka: KafkaSettings | None = None

    def __post_init__(self) -> None:
        if (self.directory is None) == (self.kafka is None):
            raise ValueError("a log has either `directory` or `kafka`")


class HealthSettings(Settings, frozen=True, kw_only=True):
    """HTTP port for probes and Prometheus: /livez, /readyz, /metrics."""

    host: str = "0.0.0.0"  # noqa: S104 - probes come from the node's address
    port: int = 9400


class NodeSettings(Settings, frozen=True, kw_only=True):
    """One coin node that a process may dial."""

    name: str
    url: str
    """JSON-RPC address, `http://host:port`."""
    user: str
    password: str
    """From the Secret that the CoinEndpoint names: the value where the settings file is 0600,
    `fromFile:` where it is public."""
    standby: bool = False


class WalletSettings(Settings, frozen=True, kw_only=True):
    """The wallet that coinbases pay and payouts spend."""

    kind: str = "node"
    """`node`: a wallet inside the coin node, reached by its RPC."""
    name: str = "pool"


class CoinSettings(Settings, frozen=True, kw_only=True):
    """One CoinEndpoint as services see it."""

    name: str
    """CoinEndpoint name."""
    coin: str
    """Coin family member: `litecoin`, `bitcoin`, `devchain`."""
    network: str
    """`mainnet`, `testnet` or `regtest`."""
    nodes: tuple[NodeSettings, ...]
    wallet: WalletSettings = WalletSettings()
    confirmations: int = 6
    """Depth at which a payout is buried and at which an orphan is believed."""
    poll_interval_ms: int = 500
    """How often a node's tip is polled beneath the long poll."""

    @property
    def key(self) -> str:
        """Name of the chain in records and books: `<coin>/<network>`."""
        return f"{self.coin}/{self.network}"


class SlotSettings(Settings, frozen=True, kw_only=True):
    """A scheme revision behind a slot of extranonce1, from a height on."""

    slot: int
    scheme: str
    revision: str
    effective_height: int


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
    serve: ServeSettings
    drain: DrainSettings = DrainSettings()
    report: ReportSettings | None = None
    health: HealthSettings | None = None
    batch_shares_max: int = 512
    batch_delay_ms: int = 3

    def __post_init__(self) -> None:
        if self.log.directory is not None and not self.partition:
            raise ValueError("an edge on a log of chunk files needs a `partition`")


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


class SharesSettings(Settings, frozen=True, kw_only=True):
    """The share processor."""

    database: str
    """SQLAlchemy URL."""
    serve: ServeSettings
    log: LogSettings
    pools: tuple[PoolSettings, ...]
    coins: tuple[CoinSettings, ...]
    health: HealthSettings | None = None


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
    notice_blocks: int = 6
    """Blocks between the tip and the height from which a changed revision counts."""


class LedgerSettings(Settings, frozen=True, kw_only=True):
    """The double-entry book."""

    database: str
    serve: ServeSettings
    health: HealthSettings | None = None


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


class ServiceRole(Settings, frozen=True, kw_only=True):
    """The role by which one service reaches its own tables."""

    service: str
    username: str
    password: str


class WireDatabasesSettings(Settings, frozen=True, kw_only=True):
    """Roles and schemas that the services of a hub need."""

    admin_url: str
    """SQLAlchemy URL of the database, without a user."""
    username: str
    """Role that may create schemas and roles."""
    password: str
    services: tuple[ServiceRole, ...]


class TopicSettings(Settings, frozen=True, kw_only=True):
    """One topic of the share log in Kafka."""

    name: str
    partitions: int
    replicas: int


class WireTopicsSettings(Settings, frozen=True, kw_only=True):
    """Topics that the services of a hub need."""

    kafka: KafkaSettings
    topics: tuple[TopicSettings, ...]


class WireWalletSettings(Settings, frozen=True, kw_only=True):
    """The wallet whose address coinbases pay."""

    database: str
    """Of payouts, which remembers the address for ever."""
    coin: CoinSettings


class SchemeRegistration(Settings, frozen=True, kw_only=True):
    """One scheme that rewards must be told about before edges start."""

    name: str
    method: str
    parameters: str
    """Canonical JSON of all that changes money."""


class PoolRegistration(Settings, frozen=True, kw_only=True):
    """The schemes of one pool."""

    pool: str
    """poolId."""
    coin: str
    """`<coin>/<network>`."""
    schemes: tuple[SchemeRegistration, ...]


class WireSchemesSettings(Settings, frozen=True, kw_only=True):
    """What rewards is told about schemes, and asked for slots."""

    rewards: PeerSettings
    pools: tuple[PoolRegistration, ...]


UNIX = "unix:"
SettingsT = TypeVar("SettingsT", bound=Settings)
StructT = TypeVar("StructT", bound=msgspec.Struct)


class Unusable(Exception):
    """Raised by a process that can not start as it is configured; the text says what to change.

    Its supervisor does not start it again: nothing but another configuration helps.
    """


class SettingsError(Unusable):
    """Raised when a settings file, or a file that it names, is missing or not of its shape."""


def unix_address(path: Path) -> str:
    """Address of a unix socket, as `ServeSettings` and `PeerSettings` have it."""
    return f"{UNIX}{path}"


def _check_address(address: str, tls: TlsFiles | None) -> None:
    if address.startswith(UNIX):
        if tls is not None:
            raise ValueError(f"{address}: a unix socket has no TLS")
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{address}: an address is `unix:/path` or `host:port`")
    if tls is None and not _is_loopback(host):
        raise ValueError(f"{address}: needs `tls`, as other machines can reach it")
    if tls is not None and tls.ca is None:
        raise ValueError(f"{address}: its `tls` needs a `ca` to know the other end by")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _path_to_text(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _text_to_path(shape: type, value: Any) -> Any:
    if issubclass(shape, Path) and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected `str` for a path, got `{type(value).__name__}`")


def to_json(value: msgspec.Struct) -> bytes:
    """Encode settings, or another struct with paths, as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_path_to_text), indent=2)


def from_json(text: bytes, shape: type[StructT]) -> StructT:
    """Decode what `to_json` wrote; raises msgspec.DecodeError with the path of what is wrong."""
    return msgspec.json.decode(text, type=shape, dec_hook=_text_to_path)


def load(path: Path, shape: type[SettingsT]) -> SettingsT:
    """Read settings of `shape` from a JSON file, with `fromFile:` values read in.

    The error names file, key and what is allowed.
    """
    try:
        value = with_files(msgspec.json.decode(path.read_bytes()))
        return msgspec.convert(value, shape, dec_hook=_text_to_path)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such settings file") from error
    except OSError as error:
        raise SettingsError(f"{path}: can not be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnreadableSecret) as error:
        raise SettingsError(f"{path}: {error}") from error


def store(path: Path, settings: Settings) -> None:
    """Write settings where only their owner may read them: they can hold node passwords."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(to_json(settings))
