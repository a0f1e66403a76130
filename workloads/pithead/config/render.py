"""Answers for the way from manifests to process settings: pure functions, nothing is read or made.

Settings come in two phases, because some facts exist only once the first
services run. `render_hub` needs the manifests alone: the built-in node, the
ledger, the payouts, and what rewards must be told about schemes. With the
script that each wallet gave out, `render_rewards` follows; with the slots that
rewards assigned, `render_shares` and `render_edges`.

Amounts become base units and difficulties weights here, exactly, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pithead.coins.params import ChainParams
from pithead.coins.registry import chain_params
from pithead.coins.weight import target_to_bits, weight_of_difficulty
from pithead.config import (
    CoinSettings,
    DevchainSettings,
    LedgerSettings,
    LimitSettings,
    ListenerSettings,
    NodeSettings,
    PayoutPolicy,
    PayoutsSettings,
    PoolSettings,
    RewardsSettings,
    SharesSettings,
    SlotSettings,
    StratumSettings,
    VardiffSettings,
    WalletSettings,
)
from pithead.config.paths import RuntimePaths
from pithead.manifests.amounts import base_units, difficulty
from pithead.manifests.endpoint import BuiltInNode, CoinEndpoint
from pithead.manifests.objects import Manifests, demo_hashrates
from pithead.manifests.pool import Listener, MiningPool
from pithead.manifests.scheme import canonical_parameters

BUILT_IN_HOST = "127.0.0.1"
BUILT_IN_USER = "pithead"

Scripts = Mapping[str, bytes]
"""Script that coinbases pay, by CoinEndpoint name."""
Slots = Mapping[str, tuple[SlotSettings, ...]]
"""Scheme slots and their revisions, by poolId."""


class RenderError(Exception):
    """Raised when a fact from the running services is missing; the text names it."""


@dataclass(frozen=True)
class SchemeRegistration:
    """One scheme that rewards must be told about before edges start."""

    name: str
    method: str
    parameters: str
    """Canonical JSON of all that changes money."""


@dataclass(frozen=True)
class PoolRegistration:
    """The schemes of one pool."""

    pool: str
    """poolId."""
    coin: str
    """`<coin>/<network>`."""
    schemes: tuple[SchemeRegistration, ...]


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


def render_hub(manifests: Manifests, paths: RuntimePaths, *, devchain_password: str) -> Hub:
    """Settings of what starts first. The password protects the built-in node's RPC."""
    built_in = [each for each in manifests.used_endpoints() if not each.spec.nodes]
    return Hub(
        devchain=_devchain(built_in[0], paths, devchain_password) if built_in else None,
        ledger=LedgerSettings(database=paths.database("ledger"), socket=paths.socket("ledger")),
        payouts=PayoutsSettings(
            database=paths.database("payouts"),
            socket=paths.socket("payouts"),
            coins=_coins(manifests, devchain_password),
            policies=_policies(manifests),
            shares_socket=paths.socket("shares"),
            ledger_socket=paths.socket("ledger"),
        ),
        registrations=tuple(
            PoolRegistration(
                pool=pool.pool_id,
                coin=_params(manifests.endpoint(pool)).key,
                schemes=tuple(
                    SchemeRegistration(
                        scheme.metadata.name, scheme.spec.method, canonical_parameters(scheme)
                    )
                    for scheme in manifests.offered(pool)
                ),
            )
            for pool in manifests.pools
        ),
    )


def render_rewards(
    manifests: Manifests, paths: RuntimePaths, scripts: Scripts, *, devchain_password: str
) -> RewardsSettings:
    """Settings of rewards; its pools carry no slots, because rewards itself assigns them."""
    return RewardsSettings(
        database=paths.database("rewards"),
        socket=paths.socket("rewards"),
        log_dir=paths.log,
        pools=tuple(_pool(pool, scripts, ()) for pool in manifests.pools),
        coins=_coins(manifests, devchain_password),
        shares_socket=paths.socket("shares"),
        ledger_socket=paths.socket("ledger"),
    )


def render_shares(
    manifests: Manifests,
    paths: RuntimePaths,
    scripts: Scripts,
    slots: Slots,
    *,
    devchain_password: str,
) -> SharesSettings:
    """Settings of the share processor."""
    return SharesSettings(
        database=paths.database("shares"),
        socket=paths.socket("shares"),
        log_dir=paths.log,
        pools=tuple(_pool(pool, scripts, _slots(pool, slots)) for pool in manifests.pools),
        coins=_coins(manifests, devchain_password),
    )


def render_edges(
    manifests: Manifests,
    paths: RuntimePaths,
    scripts: Scripts,
    slots: Slots,
    *,
    devchain_password: str,
) -> tuple[StratumSettings, ...]:
    """Settings of each edge: one for every active region of every pool."""
    coins = {coin.name: coin for coin in _coins(manifests, devchain_password)}
    return tuple(
        _edge(
            pool,
            region.id,
            coins[pool.spec.coin_endpoint_ref.name],
            paths,
            script=_script(pool, scripts),
            table=_slots(pool, slots),
        )
        for pool in manifests.pools
        for region in pool.spec.regions
        if region.state == "Active"
    )


def demo_miners(manifests: Manifests) -> tuple[DemoMiners, ...]:
    """The demo miners that pools with an active region ask for."""
    found = []
    for pool in manifests.pools:
        rates = demo_hashrates(pool)
        if not rates or all(region.state != "Active" for region in pool.spec.regions):
            continue
        endpoint = manifests.endpoint(pool)
        listener = pool.spec.listeners[0]
        found.append(
            DemoMiners(
                pool=pool.pool_id,
                endpoint=endpoint.metadata.name,
                algorithm=_params(endpoint).pow,
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


def _params(endpoint: CoinEndpoint) -> ChainParams:
    return chain_params(endpoint.spec.coin, endpoint.spec.network)


def _devchain(endpoint: CoinEndpoint, paths: RuntimePaths, password: str) -> DevchainSettings:
    parameters = endpoint.spec.devchain or BuiltInNode()
    return DevchainSettings(
        data_dir=paths.node / endpoint.metadata.name,
        host=BUILT_IN_HOST,
        port=parameters.rpc_port,
        user=BUILT_IN_USER,
        password=password,
        bits=target_to_bits(2**256 // parameters.hashes_per_block - 1),
        # Rewards and payouts count maturity by the coin's parameters: the node must agree.
        coinbase_maturity=_params(endpoint).coinbase_maturity,
        socket=None,
    )


def _coins(manifests: Manifests, devchain_password: str) -> tuple[CoinSettings, ...]:
    return tuple(
        _coin(endpoint, manifests, devchain_password) for endpoint in manifests.used_endpoints()
    )


def _coin(endpoint: CoinEndpoint, manifests: Manifests, devchain_password: str) -> CoinSettings:
    spec = endpoint.spec
    nodes: tuple[NodeSettings, ...]
    if spec.nodes:
        # Main nodes first: the wallet and the first choice of an edge are the first node.
        ordered = sorted(spec.nodes, key=lambda node: node.role == "standby")
        nodes = tuple(
            NodeSettings(
                name=node.name,
                url=node.url,
                user=manifests.credentials[node.credentials_secret_ref.name].username,
                password=manifests.credentials[node.credentials_secret_ref.name].password,
                standby=node.role == "standby",
            )
            for node in ordered
        )
    else:
        port = (spec.devchain or BuiltInNode()).rpc_port
        url = f"http://{BUILT_IN_HOST}:{port}"
        nodes = (
            NodeSettings(name="devchain", url=url, user=BUILT_IN_USER, password=devchain_password),
        )
    return CoinSettings(
        name=endpoint.metadata.name,
        coin=spec.coin,
        network=spec.network,
        nodes=nodes,
        wallet=WalletSettings(kind=spec.wallet.kind, name=spec.wallet.name),
        confirmations=spec.confirmations,
        poll_interval_ms=spec.poll_interval_milliseconds,
    )


def _policies(manifests: Manifests) -> tuple[PayoutPolicy, ...]:
    """One policy a CoinEndpoint: its pools agree, and the first by name bears the network fee."""
    first: dict[str, MiningPool] = {}
    for pool in manifests.pools:
        first.setdefault(pool.spec.coin_endpoint_ref.name, pool)
    policies = []
    for name in sorted(first):
        pool = first[name]
        payouts = pool.spec.payouts
        decimals = _params(manifests.endpoints[name]).decimals
        policies.append(
            PayoutPolicy(
                coin=name,
                interval_s=payouts.interval_seconds,
                threshold=base_units(payouts.threshold, decimals),
                paused=payouts.paused,
                payments_max=payouts.payments_max,
                fee_rate=payouts.fee_rate_per_vbyte,
                fee_book=pool.pool_id,
            )
        )
    return tuple(policies)


def _pool(pool: MiningPool, scripts: Scripts, slots: tuple[SlotSettings, ...]) -> PoolSettings:
    return PoolSettings(
        pool=pool.pool_id,
        name=pool.metadata.name,
        coin=pool.spec.coin_endpoint_ref.name,
        regions=tuple(region.id for region in pool.spec.regions),
        payout_script=_script(pool, scripts),
        slots=slots,
    )


def _script(pool: MiningPool, scripts: Scripts) -> str:
    endpoint = pool.spec.coin_endpoint_ref.name
    if endpoint not in scripts:
        raise RenderError(f"no payout script is known for CoinEndpoint {endpoint}")
    return scripts[endpoint].hex()


def _slots(pool: MiningPool, slots: Slots) -> tuple[SlotSettings, ...]:
    if pool.pool_id not in slots:
        raise RenderError(f"no scheme slots are known for pool {pool.pool_id}")
    return slots[pool.pool_id]


def _edge(
    pool: MiningPool,
    region: str,
    coin: CoinSettings,
    paths: RuntimePaths,
    *,
    script: str,
    table: tuple[SlotSettings, ...],
) -> StratumSettings:
    spec = pool.spec
    params = chain_params(coin.coin, coin.network)
    slot_of = {revision.scheme: revision.slot for revision in table}
    return StratumSettings(
        pool=pool.pool_id,
        region=region,
        coin=coin,
        payout_script=script,
        listeners=tuple(_listener(pool, each, slot_of, params) for each in spec.listeners),
        slots=table,
        vardiff=VardiffSettings(
            share_interval_ms=spec.vardiff.share_interval_seconds * 1000,
            retarget_interval_ms=spec.vardiff.retarget_interval_seconds * 1000,
            variance_percent=spec.vardiff.variance_percent,
        ),
        limits=LimitSettings(
            connections_max=spec.limits.connections_max,
            line_bytes_max=spec.limits.line_bytes_max,
            subscribe_timeout_ms=spec.limits.subscribe_timeout_seconds * 1000,
            idle_timeout_ms=spec.limits.idle_timeout_seconds * 1000,
            garbage_lines_max=spec.bans.garbage_lines_max,
            invalid_percent=spec.bans.invalid_percent,
            invalid_window=spec.bans.submits_window,
            ban_ms=spec.bans.duration_seconds * 1000,
        ),
        log_dir=paths.log,
        partition=f"{region}-0",
        socket=paths.edge_socket(pool.pool_id, region),
    )


def _listener(
    pool: MiningPool, listener: Listener, slot_of: Mapping[str, int], params: ChainParams
) -> ListenerSettings:
    scheme = listener.scheme or pool.spec.default_scheme_name
    if scheme not in slot_of:
        raise RenderError(f"no slot is known for scheme {scheme} of pool {pool.pool_id}")
    bounds = listener.difficulty
    return ListenerSettings(
        name=listener.name,
        host=listener.host,
        port=listener.port,
        slot=slot_of[scheme],
        start_weight=weight_of_difficulty(difficulty(bounds.start), params),
        min_weight=weight_of_difficulty(difficulty(bounds.min), params),
        max_weight=weight_of_difficulty(difficulty(bounds.max), params),
    )
