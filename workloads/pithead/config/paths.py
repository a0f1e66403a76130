"""Answers for where a one-machine runtime keeps what its services need; makes nothing itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pithead.config import (
    ColumnarSettings,
    DrainSettings,
    HealthSettings,
    IntakeSettings,
    LogSettings,
    NodeSettings,
    PeerSettings,
    ReportSettings,
    ServeSettings,
    SpoolSettings,
    TlsFiles,
    unix_address,
)
from pithead.config.places import nodes_of, plain
from pithead.manifests.endpoint import BuiltInNode, CoinEndpoint, CoinNode
from pithead.manifests.objects import Credentials
from pithead.manifests.pool import Listener

BUILT_IN_HOST = "127.0.0.1"
BUILT_IN_USER = "pithead"


@dataclass(frozen=True)
class RuntimePaths:
    """Where a one-machine runtime keeps what its services need; implements `Places`."""

    databases: Path
    """Folder of the SQLite files, one a service."""
    log: Path
    """Root of the share log."""
    node: Path
    """Folder of the built-in node."""
    run: Path
    """Folder of the unix sockets: short, as a socket's path holds 107 bytes."""
    credentials: Mapping[str, Credentials] = field(default_factory=dict, repr=False)
    """Of nodes, by the name of their Secret."""
    built_in_password: str = field(default="", repr=False)
    """Protects the RPC of the built-in node."""

    def database(self, service: str) -> str:
        """SQLAlchemy URL of a service's own database."""
        return f"sqlite+aiosqlite:///{self.databases / service}.db"

    def share_log(self) -> LogSettings:
        """The share log."""
        return LogSettings(directory=self.log)

    def serve(self, service: str) -> ServeSettings:
        """Where a service listens."""
        return ServeSettings(address=unix_address(self._socket(service)))

    def peer(self, service: str, client: str = "") -> PeerSettings:
        """Where a service is reached."""
        return PeerSettings(address=unix_address(self._socket(service)))

    def columnar(self) -> ColumnarSettings | None:
        """Chdb beside the SQLite files."""
        return ColumnarSettings(directory=self.databases / "columnar")

    def intake(self) -> IntakeSettings | None:
        """None: the edges here write the hub's log themselves."""
        return None

    def health(self) -> HealthSettings | None:
        """None: processes are watched by their parent."""
        return None

    def nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """Nodes of a coin with their passwords as they are: settings files are private here."""
        if endpoint.spec.nodes:
            return nodes_of(endpoint, self._credentials_of)
        port = (endpoint.spec.devchain or BuiltInNode()).rpc_port
        url = f"http://{BUILT_IN_HOST}:{port}"
        return (
            NodeSettings(
                name="devchain", url=url, user=BUILT_IN_USER, password=self.built_in_password
            ),
        )

    def wallet_nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """The same nodes: one machine trusts all its processes alike."""
        return self.nodes(endpoint)

    def edge(self, pool_id: str, region: str) -> "EdgePaths":
        """Where the edge of a pool in a region finds its own."""
        return EdgePaths(self, pool_id, region)

    def _credentials_of(self, node: CoinNode) -> Credentials:
        secret = node.credentials_secret_ref.name
        found = self.credentials[secret]
        return Credentials(
            plain(found.username, f"Secret {secret}, key username"),
            plain(found.password, f"Secret {secret}, key password"),
        )

    def _socket(self, service: str) -> Path:
        return self.run / f"{service}.sock"


@dataclass(frozen=True)
class EdgePaths:
    """One edge of a one-machine runtime; implements `EdgePlaces`."""

    paths: RuntimePaths
    pool_id: str
    region: str

    @property
    def partition(self) -> str:
        """Its own partition of the log."""
        return f"{self.region}-0"

    def share_log(self) -> LogSettings:
        """The share log."""
        return self.paths.share_log()

    def serve(self) -> ServeSettings:
        """A socket named by a hash, because a poolId alone may fill the path."""
        digest = hashlib.sha256(f"{self.pool_id}/{self.region}".encode()).hexdigest()[:16]
        return self.paths.serve(f"stratum-{digest}")

    def health(self) -> HealthSettings | None:
        """None: the parent watches it."""
        return self.paths.health()

    def nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """Nodes of the coin."""
        return self.paths.nodes(endpoint)

    def host(self, listener: Listener) -> str:
        """The address that the manifest gives."""
        return listener.host

    def tls(self, listener: Listener) -> TlsFiles | None:
        """None: certificates come with a cluster."""
        return None

    def spool(self) -> SpoolSettings | None:
        """None: its log is on the same disk."""
        return None

    def drain(self) -> DrainSettings:
        """At once: there is no other edge to go to."""
        return DrainSettings()

    def report(self) -> ReportSettings | None:
        """None: it is asked on its socket."""
        return None
