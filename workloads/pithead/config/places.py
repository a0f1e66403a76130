"""Answers for where services find what they need: protocols that both runtimes fill.

Rendering settings from manifests is the same on one machine and in a cluster;
addresses, files and secrets are not, and stand here.
"""

from collections.abc import Callable
from typing import Protocol

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
)
from pithead.config.from_file import FROM_FILE
from pithead.manifests.endpoint import CoinEndpoint, CoinNode
from pithead.manifests.objects import Credentials
from pithead.manifests.pool import Listener


class RenderError(Exception):
    """Raised when settings can not be made; the text names what is missing or does not fit."""


class Places(Protocol):
    """What the services that all pools share find, and where."""

    def database(self, service: str) -> str:
        """SQLAlchemy URL of a service's own database."""
        ...

    def share_log(self) -> LogSettings:
        """The share log."""
        ...

    def columnar(self) -> ColumnarSettings | None:
        """The columnar database of charts; None when there is none."""
        ...

    def intake(self) -> IntakeSettings | None:
        """Where relays push to; None when no region has a log of its own."""
        ...

    def serve(self, service: str) -> ServeSettings:
        """Where a service listens."""
        ...

    def peer(self, service: str, client: str) -> PeerSettings:
        """Where `client` reaches a service."""
        ...

    def health(self) -> HealthSettings | None:
        """Where probes of a service are answered."""
        ...

    def nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """Nodes of a coin, main ones first, by users that need not spend."""
        ...

    def wallet_nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """Nodes of a coin by a user that may spend; the wallet is in the first main one."""
        ...


class EdgePlaces(Protocol):
    """What one edge finds, and where."""

    @property
    def partition(self) -> str:
        """The partition that it owns; empty when the log chooses one."""
        ...

    def share_log(self) -> LogSettings:
        """The share log."""
        ...

    def serve(self) -> ServeSettings:
        """Where it is asked for its state."""
        ...

    def health(self) -> HealthSettings | None:
        """Where its probes are answered."""
        ...

    def nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """Nodes of the coin, main ones first."""
        ...

    def host(self, listener: Listener) -> str:
        """Address that a listener's port is opened on."""
        ...

    def tls(self, listener: Listener) -> TlsFiles | None:
        """Certificate of a listener; None serves it without TLS."""
        ...

    def spool(self) -> SpoolSettings | None:
        """Where it keeps what it accepts while the log is away; None: it refuses then."""
        ...

    def drain(self) -> DrainSettings:
        """How it lets its miners go."""
        ...

    def report(self) -> ReportSettings | None:
        """Where it writes its state."""
        ...


def nodes_of(
    endpoint: CoinEndpoint, credentials: Callable[[CoinNode], Credentials]
) -> tuple[NodeSettings, ...]:
    """The nodes that an endpoint names, main ones first, as its wallet and edges prefer them."""
    return tuple(
        node_settings(node, credentials(node))
        for node in sorted(endpoint.spec.nodes, key=lambda node: node.role == "standby")
    )


def node_settings(node: CoinNode, credentials: Credentials) -> NodeSettings:
    """One node, dialled as a user."""
    return NodeSettings(
        name=node.name,
        url=node.url,
        user=credentials.username,
        password=credentials.password,
        standby=node.role == "standby",
    )


def plain(secret: str, what: str) -> str:
    """Return a secret to be written into settings; raises RenderError when it would be misread."""
    if secret.startswith(FROM_FILE):
        raise RenderError(
            f"{what} begins with {FROM_FILE!r}, which settings take for the name of a file: "
            "choose another"
        )
    return secret
