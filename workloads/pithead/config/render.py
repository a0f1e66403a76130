"""Answers for the way from manifests to process settings: pure functions, nothing is read or made.

Both runtimes render the same settings; what differs between them stands behind
`Places`. Settings come in phases, because some facts exist only once the first
services run. The ledger and payouts need the manifests alone; with the script
that each wallet gave out, `render_rewards` follows; with the slots that rewards
assigned, `render_shares` and `render_edge`.

Amounts become base units and difficulties weights here, exactly, once.
"""

from collections.abc import Mapping

from pithead.coins.params import ChainParams
from pithead.coins.registry import chain_params
from pithead.coins.weight import weight_of_difficulty
from pithead.config import (
    AnalyticsSettings,
    CoinSettings,
    KeepSettings,
    LedgerSettings,
    LimitSettings,
    ListenerSettings,
    NodeSettings,
    PayoutPolicy,
    PayoutsSettings,
    PoolRegistration,
    PoolSettings,
    RewardsSettings,
    SchemeRegistration,
    SharesSettings,
    SlotSettings,
    StratumSettings,
    VardiffSettings,
    WalletSettings,
)
from pithead.config.places import EdgePlaces, Places, RenderError
from pithead.manifests.amounts import base_units, difficulty
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.objects import Manifests
from pithead.manifests.pool import Listener, MiningPool
from pithead.manifests.scheme import canonical_parameters

RETENTION_DAYS = 14
"""Of raw shares where no manifest says it."""
NICE = 10
"""Of analytics beside edges: nobody waits for a chart as miners wait for an answer."""

Scripts = Mapping[str, bytes]
"""Script that coinbases pay, by CoinEndpoint name."""
Slots = Mapping[str, tuple[SlotSettings, ...]]
"""Scheme slots and their revisions, by poolId."""

HOUR_MS = 3_600_000


def render_ledger(places: Places) -> LedgerSettings:
    """Settings of the ledger."""
    return LedgerSettings(
        database=places.database("ledger"), serve=places.serve("ledger"), health=places.health()
    )


def render_payouts(
    manifests: Manifests, places: Places, endpoint: str | None = None
) -> PayoutsSettings:
    """Settings of payouts, of all coins or of one CoinEndpoint alone."""
    paid = [
        each
        for each in manifests.used_endpoints()
        if endpoint is None or each.metadata.name == endpoint
    ]
    if endpoint is not None and not paid:
        raise RenderError(f"no pool uses CoinEndpoint {endpoint}")
    names = {each.metadata.name for each in paid}
    return PayoutsSettings(
        database=places.database("payouts"),
        serve=places.serve("payouts"),
        coins=tuple(coin_settings(each, places.wallet_nodes(each)) for each in paid),
        policies=tuple(each for each in _policies(manifests) if each.coin in names),
        shares=places.peer("shares", client="payouts"),
        ledger=places.peer("ledger", client="payouts"),
    )


def registrations(manifests: Manifests) -> tuple[PoolRegistration, ...]:
    """What rewards must be told about schemes before edges start, in the order of the pools."""
    return tuple(
        PoolRegistration(
            pool=pool.pool_id,
            coin=params_of(manifests.endpoint(pool)).key,
            schemes=tuple(
                SchemeRegistration(
                    name=scheme.metadata.name,
                    method=scheme.spec.method,
                    parameters=canonical_parameters(scheme),
                )
                for scheme in manifests.offered(pool)
            ),
        )
        for pool in manifests.pools
    )


def render_rewards(manifests: Manifests, places: Places, scripts: Scripts) -> RewardsSettings:
    """Settings of rewards; its pools carry no slots, because rewards itself assigns them."""
    return RewardsSettings(
        database=places.database("rewards"),
        serve=places.serve("rewards"),
        log=places.share_log(),
        pools=tuple(_pool(pool, scripts, ()) for pool in manifests.pools),
        coins=_coins(manifests, places),
        shares=places.peer("shares", client="rewards"),
        ledger=places.peer("ledger", client="rewards"),
        health=places.health(),
    )


def render_shares(
    manifests: Manifests, places: Places, scripts: Scripts, slots: Slots
) -> SharesSettings:
    """Settings of the share processor."""
    return SharesSettings(
        database=places.database("shares"),
        serve=places.serve("shares"),
        log=places.share_log(),
        pools=tuple(_pool(pool, scripts, _slots(pool, slots)) for pool in manifests.pools),
        coins=_coins(manifests, places),
        health=places.health(),
        intake=places.intake(),
    )


def render_analytics(manifests: Manifests, places: Places) -> AnalyticsSettings | None:
    """Settings of analytics, by the manifests alone; None where there is no columnar database."""
    store = places.columnar()
    if store is None:
        return None
    said = manifests.pools[0].spec.analytics if store.clickhouse is not None else None
    return AnalyticsSettings(
        database=places.database("shares"),
        serve=places.serve("analytics"),
        log=places.share_log(),
        pools=tuple(
            PoolSettings(
                pool=pool.pool_id,
                name=pool.metadata.name,
                coin=pool.spec.coin_endpoint_ref.name,
                regions=tuple(region.id for region in pool.spec.regions),
            )
            for pool in manifests.pools
        ),
        coins=tuple(coin_settings(each, ()) for each in manifests.used_endpoints()),
        store=store,
        shares=places.peer("shares", client="analytics"),
        rewards=places.peer("rewards", client="analytics"),
        health=places.health(),
        retention_days=said.raw_retention_days if said is not None else RETENTION_DAYS,
        # A directory of chdb lies on the machine that the edges run on.
        nice=NICE if store.directory is not None else 0,
    )


def render_edge(
    manifests: Manifests,
    pool: MiningPool,
    region: str,
    places: EdgePlaces,
    scripts: Scripts,
    slots: Slots,
) -> StratumSettings:
    """Settings of the edges of one pool in one region."""
    spec = pool.spec
    endpoint = manifests.endpoint(pool)
    params = params_of(endpoint)
    table = _slots(pool, slots)
    slot_of = {revision.scheme: revision.slot for revision in table}
    return StratumSettings(
        pool=pool.pool_id,
        region=region,
        coin=coin_settings(endpoint, places.nodes(endpoint)),
        payout_script=_script(pool, scripts),
        listeners=tuple(_listener(pool, each, slot_of, params, places) for each in spec.listeners),
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
        log=places.share_log(),
        partition=places.partition,
        spool=places.spool(),
        serve=places.serve(),
        drain=places.drain(),
        report=places.report(),
        health=places.health(),
    )


def params_of(endpoint: CoinEndpoint) -> ChainParams:
    """Parameters of the chain that an endpoint is on."""
    return chain_params(endpoint.spec.coin, endpoint.spec.network)


def coin_settings(endpoint: CoinEndpoint, nodes: tuple[NodeSettings, ...]) -> CoinSettings:
    """One coin as services see it, with the nodes that they may dial."""
    spec = endpoint.spec
    return CoinSettings(
        name=endpoint.metadata.name,
        coin=spec.coin,
        network=spec.network,
        nodes=nodes,
        wallet=WalletSettings(kind=spec.wallet.kind, name=spec.wallet.name),
        confirmations=spec.confirmations,
        poll_interval_ms=spec.poll_interval_milliseconds,
    )


def _coins(manifests: Manifests, places: Places) -> tuple[CoinSettings, ...]:
    return tuple(coin_settings(each, places.nodes(each)) for each in manifests.used_endpoints())


def _policies(manifests: Manifests) -> tuple[PayoutPolicy, ...]:
    """One policy a CoinEndpoint: its pools agree, and the first by name bears the network fee."""
    first: dict[str, MiningPool] = {}
    for pool in manifests.pools:
        first.setdefault(pool.spec.coin_endpoint_ref.name, pool)
    policies = []
    for name in sorted(first):
        pool = first[name]
        payouts = pool.spec.payouts
        decimals = params_of(manifests.endpoints[name]).decimals
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
        keep=_keep(pool),
    )


def _keep(pool: MiningPool) -> KeepSettings:
    stream = pool.spec.stream
    hours = stream.keep_hours
    return KeepSettings(bytes=stream.keep_bytes, ms=None if hours is None else hours * HOUR_MS)


def _script(pool: MiningPool, scripts: Scripts) -> str:
    endpoint = pool.spec.coin_endpoint_ref.name
    if endpoint not in scripts:
        raise RenderError(f"no payout script is known for CoinEndpoint {endpoint}")
    return scripts[endpoint].hex()


def _slots(pool: MiningPool, slots: Slots) -> tuple[SlotSettings, ...]:
    if pool.pool_id not in slots:
        raise RenderError(f"no scheme slots are known for pool {pool.pool_id}")
    return slots[pool.pool_id]


def _listener(
    pool: MiningPool,
    listener: Listener,
    slot_of: Mapping[str, int],
    params: ChainParams,
    places: EdgePlaces,
) -> ListenerSettings:
    scheme = listener.scheme or pool.spec.default_scheme_name
    if scheme not in slot_of:
        raise RenderError(f"no slot is known for scheme {scheme} of pool {pool.pool_id}")
    bounds = listener.difficulty
    return ListenerSettings(
        name=listener.name,
        host=places.host(listener),
        port=listener.port,
        slot=slot_of[scheme],
        start_weight=weight_of_difficulty(difficulty(bounds.start), params),
        min_weight=weight_of_difficulty(difficulty(bounds.min), params),
        max_weight=weight_of_difficulty(difficulty(bounds.max), params),
        tls=places.tls(listener),
    )
