"""Answers for the CoinEndpoint kind: one coin network, its nodes and its wallet.

Which coins and networks exist is not part of the schema: coins come from
outside by entry point, so the loader asks the registry.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from pithead.manifests.base import API_VERSION, Metadata, Path, Rule, SecretReference, Shape
from pithead.manifests.conditions import Conditions
from pithead.manifests.fields import (
    Change,
    CoinName,
    Count,
    Generation,
    Height,
    Name,
    NetworkName,
    NodeUrl,
    Port,
    Runtime,
    ShortText,
    Switch,
    WalletName,
)

BUILT_IN_COIN = "devchain"
"""The coin whose node `pithead up` brings along."""
NAME_MAX = 32
"""Characters of `<name>` in the Job `pithead-wire-wallet-<name>-<hash>`, at most 63."""


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
    credentials_secret_ref: Annotated[SecretReference | None, Change.LIVE, Runtime.CLUSTER] = None
    """Secret with the RPC user that may spend, keys username and password; required in a cluster,
    where the users of nodes go to every region and must not spend. It never leaves the hub."""


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
    devchain: Annotated[BuiltInNode | None, Runtime.MACHINE] = None
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

    @staticmethod
    def _wallet_shared(spec: "CoinEndpointSpec") -> Iterator[Path]:
        secret = spec.wallet.credentials_secret_ref
        if secret in [node.credentials_secret_ref for node in spec.nodes]:
            yield ("wallet", "credentialsSecretRef", "name")

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
        Rule(
            "!has(self.wallet.credentialsSecretRef) || self.nodes.all(n, "
            "n.credentialsSecretRef.name != self.wallet.credentialsSecretRef.name)",
            "a node uses this Secret too, and what nodes use goes to every region; give the "
            "wallet a user and a Secret of its own",
            "wallet.credentialsSecretRef.name",
            _wallet_shared,
        ),
    )


class NodeStatus(Shape):
    """What edges last saw of a node."""

    LIST_KEY = "name"

    name: Name
    """Name of the node."""
    height: Height = 0
    """Height of its tip."""
    headers: Height | None = None
    """Height of the best header that it knows; above height while it catches up."""
    active: Switch = False
    """Whether some edge takes its templates."""
    reachable: Switch = False
    """Whether it answered an edge the last time."""
    latency_milliseconds: Count | None = None
    """Time of its last answer; the slowest of all edges."""
    error: ShortText = ""
    """What was wrong the last time."""


class CoinEndpointStatus(Shape):
    """What was last observed."""

    observed_generation: Generation = 0
    """Generation of the spec that was observed."""
    height: Height | None = None
    """Height of the chain, the highest of all nodes."""
    nodes_reachable: ShortText = ""
    """Nodes that answer, of all nodes, such as 1/2."""
    nodes: Annotated[tuple[NodeStatus, ...], Field(max_length=8)] = ()
    """What was last seen of each node."""
    conditions: Conditions = ()
    """Ready, Reconciling, Stalled, Synced, NodesHealthy, WalletReady."""


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

    @staticmethod
    def _name_too_long(endpoint: "CoinEndpoint") -> Iterator[Path]:
        if len(endpoint.metadata.name) > NAME_MAX:
            yield ("metadata", "name")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"size(self.metadata.name) <= {NAME_MAX}",
            f"the name holds more than {NAME_MAX} characters; Jobs named after it would not fit",
            "metadata.name",
            _name_too_long,
        ),
    )
