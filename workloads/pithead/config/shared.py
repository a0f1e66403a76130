"""Answers for the settings that several processes have: addresses, logs, nodes and coins."""

import ipaddress
from pathlib import Path

from pithead.config.loading import Settings

UNIX = "unix:"


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


class ConnectionsSettings(Settings, frozen=True, kw_only=True):
    """A process's connections to its PostgreSQL database; SQLite has a pool of its own.

    All services of a hub twice over, as a rolling update has them, stay below a
    server's usual 100 connections.
    """

    most: int = 8
    """Connections open at a time; a transaction beyond them waits."""
    wait_s: float = 15.0
    """Longest wait for one: a database that is slower than this is as good as away."""
    statement_s: float = 120.0
    """A statement that takes longer is broken off, at the server too."""

    def __post_init__(self) -> None:
        if self.most < 1 or not self.wait_s > 0 or not self.statement_s > 0:
            raise ValueError("connections: `most` is at least 1, and the times are above 0")


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
    bytes_max: int | None = None
    """Of a pool's shares topic, over all partitions, copies not counted: from there on edges refuse
    new shares until less is left. Nothing is deleted for its sake. None: no bound."""

    def __post_init__(self) -> None:
        if (self.directory is None) == (self.kafka is None):
            raise ValueError("a log has either `directory` or `kafka`")
        if self.bytes_max is not None and self.bytes_max <= 0:
            raise ValueError("`bytes_max` of a log is a number of bytes above 0")


class ClickHouseSettings(Settings, frozen=True, kw_only=True):
    """A ClickHouse server, reached by its native protocol."""

    host: str
    port: int = 9000
    """9440 is usual with TLS."""
    database: str = "pithead"
    """Made when it is not there and the user may."""
    user: str = "default"
    password: str = ""
    tls: bool = False
    ca: Path | None = None
    """PEM file that the server's certificate is checked against, its name included. None with
    `tls`: the certificate is not checked."""
    connections: int = 4
    """Connections open at a time; a statement beyond them waits."""


class ColumnarSettings(Settings, frozen=True, kw_only=True):
    """The columnar database: ClickHouse, or chdb over a directory that one process owns."""

    directory: Path | None = None
    clickhouse: ClickHouseSettings | None = None

    def __post_init__(self) -> None:
        if (self.directory is None) == (self.clickhouse is None):
            raise ValueError("a columnar database has either `directory` or `clickhouse`")


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


REGION_NAMES = ".regions.pithead"


def region_name(region: str) -> str:
    """DNS name by which a certificate says that its owner is the relay of a region."""
    return f"{region}{REGION_NAMES}"


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
