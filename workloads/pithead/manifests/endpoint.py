"""Answers for the CoinEndpoint kind: one coin network, its nodes and its wallet.

Which coins and networks exist is not part of the schema: coins come from
outside by entry point, so the loader asks the registry.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from pithead.manifests.base import API_VERSION, Metadata, Path, Rule, Shape
from pithead.manifests.conditions import Conditions
from pithead.manifests.fields import (
    Change,
    CoinName,
    Generation,
    Name,
    NetworkName,
    NodeUrl,
    Port,
    SecretName,
    WalletName,
)

BUILT_IN_COIN = "devchain"
"""The coin whose node `pithead up` brings along."""


class SecretReference(Shape):
    """A Secret of the same namespace with the keys username and password."""

    name: SecretName
    """Name of the Secret."""


class CoinNode(Shape):
    """One coin node, reached by JSON-RPC."""

    LIST_KEY = "name"
    LATER = frozenset({"tls", "zmq", "websocket"})

    name: Annotated[Name, Change.IMMUTABLE]
    """Name of the node in status and logs."""
    url: Annotated[NodeUrl, Change.ROLLING]
    """JSON-RPC address, http://host:port."""
    credentials_secret_ref: Annotated[SecretReference, Change.ROLLING]
    """Secret with the RPC user and password, keys username and password."""
    role: Annotated[Literal["main", "standby"], Change.ROLLING] = "main"
    """main: used while it is healthy, in the order given. standby: used when no main node is."""


class Wallet(Shape):
    """The wallet that coinbases pay and payouts spend."""

    LATER = frozenset({"secretRef"})

    kind: Annotated[Literal["node"], Change.IMMUTABLE] = "node"
    """node: a wallet inside the coin node, made there when it is missing."""
    name: Annotated[WalletName, Change.IMMUTABLE] = "pool"
    """Name of the wallet in the node."""


class BuiltInNode(Shape):
    """Parameters of the built-in devchain node."""

    hashes_per_block: Annotated[int, Strict(), Field(ge=2, le=2**40), Change.IMMUTABLE] = 65536
    """Expected hashes of one block: at this hash rate per second, one block a second."""
    rpc_port: Annotated[Port, Change.ROLLING] = 19443
    """Port of the node's JSON-RPC on 127.0.0.1."""


class CoinEndpointSpec(Shape):
    """What is wanted of a coin: chain, nodes, wallet."""

    LATER = frozenset({"failover", "limits"})

    coin: Annotated[CoinName, Change.IMMUTABLE]
    """Coin: bitcoin, devchain, litecoin, or one that an installed package adds."""
    network: Annotated[NetworkName, Change.IMMUTABLE]
    """Network of the coin, such as mainnet, testnet or regtest."""
    nodes: Annotated[tuple[CoinNode, ...], Field(max_length=8), Change.ROLLING] = ()
    """Nodes of the coin. Empty for devchain only: then the built-in node runs."""
    wallet: Wallet = Field(default_factory=Wallet)
    """The wallet that coinbases pay and payouts spend."""
    confirmations: Annotated[int, Strict(), Field(ge=1, le=1000), Change.LIVE] = 6
    """Depth in blocks at which a payout is buried and at which an orphan is believed."""
    poll_interval_milliseconds: Annotated[
        int, Strict(), Field(ge=100, le=60_000), Change.ROLLING
    ] = 500
    """How often a node's tip is polled beneath the long poll."""
    devchain: BuiltInNode | None = None
    """Parameters of the built-in node; only for coin devchain without nodes."""

    @staticmethod
    def _nodes_missing(spec: "CoinEndpointSpec") -> Iterator[Path]:
        if not spec.nodes and spec.coin != BUILT_IN_COIN:
            yield ("nodes",)

    @staticmethod
    def _main_missing(spec: "CoinEndpointSpec") -> Iterator[Path]:
        if spec.nodes and all(node.role != "main" for node in spec.nodes):
            yield ("nodes",)

    @staticmethod
    def _foreign_devchain(spec: "CoinEndpointSpec") -> Iterator[Path]:
        if spec.devchain is not None and (spec.coin != BUILT_IN_COIN or spec.nodes):
            yield ("devchain",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.coin == 'devchain' || size(self.nodes) > 0",
            "no node is given; only coin devchain has a built-in one",
            "nodes",
            _nodes_missing,
        ),
        Rule(
            "size(self.nodes) == 0 || self.nodes.exists(n, n.role == 'main')",
            "every node is a standby; at least one has role main",
            "nodes",
            _main_missing,
        ),
        Rule(
            "!has(self.devchain) || (self.coin == 'devchain' && size(self.nodes) == 0)",
            "parameters of the built-in node are given, which runs only for coin devchain "
            "without nodes; remove them",
            "devchain",
            _foreign_devchain,
        ),
    )


class CoinEndpointStatus(Shape):
    """What was last observed."""

    observed_generation: Generation = 0
    """Generation of the spec that was observed."""
    conditions: Conditions = ()
    """Ready, Reconciling, Stalled."""


class CoinEndpoint(Shape):
    """A coin network as pools use it: its nodes, its wallet, how deep a payment is buried."""

    api_version: Literal["pithead.dev/v1alpha1"] = API_VERSION
    """pithead.dev/v1alpha1."""
    kind: Literal["CoinEndpoint"] = "CoinEndpoint"
    """CoinEndpoint."""
    metadata: Metadata
    """Name and namespace."""
    spec: CoinEndpointSpec
    """What is wanted."""
    status: CoinEndpointStatus | None = None
    """What was last observed; written by Pithead."""
