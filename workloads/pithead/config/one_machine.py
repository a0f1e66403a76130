"""Answers for what only a one-machine runtime renders: built-in node, local edges, demo miners."""

from dataclasses import dataclass
from decimal import Decimal

from pithead.coins.weight import target_to_bits
from pithead.config import (
    DevchainSettings,
    LedgerSettings,
    PayoutsSettings,
    PoolRegistration,
    StratumSettings,
)
from pithead.config.paths import BUILT_IN_HOST, BUILT_IN_USER, RuntimePaths
from pithead.config.render import (
    Scripts,
    Slots,
    params_of,
    registrations,
    render_edge,
    render_ledger,
    render_payouts,
)
from pithead.manifests.endpoint import BuiltInNode, CoinEndpoint
from pithead.manifests.objects import Manifests, demo_hashrates


@dataclass(frozen=True)
class Hub:
    """What the manifests alone decide."""

    devchain: DevchainSettings | None
    """The built-in node; None when every coin has nodes of its own."""
    ledger: LedgerSettings
    payouts: PayoutsSettings
    registrations: tuple[PoolRegistration, ...]


@dataclass(frozen=True)
class DemoMiners:
    """Built-in miners that a pool's annotation asks for."""

    pool: str
    """poolId."""
    endpoint: str
    """CoinEndpoint name."""
    algorithm: str
    """`sha256d` or `scrypt`."""
    url: str
    """Stratum address of the pool's first listener."""
    hashrates: tuple[Decimal, ...]
    """Hashes per second of each miner."""


def render_hub(manifests: Manifests, paths: RuntimePaths) -> Hub:
    """Settings of what starts first."""
    built_in = [each for each in manifests.used_endpoints() if not each.spec.nodes]
    return Hub(
        devchain=_devchain(built_in[0], paths) if built_in else None,
        ledger=render_ledger(paths),
        payouts=render_payouts(manifests, paths),
        registrations=registrations(manifests),
    )


def render_edges(
    manifests: Manifests, paths: RuntimePaths, scripts: Scripts, slots: Slots
) -> tuple[StratumSettings, ...]:
    """Settings of each edge: one for every region of every pool that runs here."""
    return tuple(
        render_edge(
            manifests,
            pool,
            region.id,
            paths.edge(pool.pool_id, region.id),
            scripts,
            slots,
        )
        for pool in manifests.pools
        for region in pool.local_regions
    )


def demo_miners(manifests: Manifests) -> tuple[DemoMiners, ...]:
    """The demo miners that pools with an edge here ask for."""
    found = []
    for pool in manifests.pools:
        rates = demo_hashrates(pool)
        if not rates or not pool.local_regions:
            continue
        endpoint = manifests.endpoint(pool)
        listener = pool.spec.listeners[0]
        found.append(
            DemoMiners(
                pool=pool.pool_id,
                endpoint=endpoint.metadata.name,
                algorithm=params_of(endpoint).pow,
                url=f"stratum+tcp://{_reachable(listener.host)}:{listener.port}",
                hashrates=rates,
            )
        )
    return tuple(found)


def _reachable(host: str) -> str:
    """Address by which this machine reaches a port that was opened on `host`."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    host = loopback.get(host, host)
    return f"[{host}]" if ":" in host else host


def _devchain(endpoint: CoinEndpoint, paths: RuntimePaths) -> DevchainSettings:
    parameters = endpoint.spec.devchain or BuiltInNode()
    return DevchainSettings(
        data_dir=paths.node / endpoint.metadata.name,
        host=BUILT_IN_HOST,
        port=parameters.rpc_port,
        user=BUILT_IN_USER,
        password=paths.built_in_password,
        bits=target_to_bits(2**256 // parameters.hashes_per_block - 1),
        # Rewards and payouts count maturity by the coin's parameters: the node must agree.
        coinbase_maturity=params_of(endpoint).coinbase_maturity,
        socket=None,
    )
