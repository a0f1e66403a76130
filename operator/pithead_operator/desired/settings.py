"""Answers for the settings files of a cluster's processes: one call for each, from our inputs.

How manifests become settings is `pithead.config`'s business, the same in both
runtimes; what it names below /run/pithead is mounted by `pods`.
"""

from pithead.config import (
    AnalyticsSettings,
    LedgerSettings,
    PayoutsSettings,
    RelaySettings,
    RewardsSettings,
    SharesSettings,
    StratumSettings,
    WireAnalyticsSettings,
    WireDatabasesSettings,
    WireSchemesSettings,
    WireTopicsSettings,
    WireWalletSettings,
)
from pithead.config.cluster import (
    WITH_DATABASE,
    ClusterEdge,
    ClusterPlaces,
    relay_settings,
    wire_analytics,
    wire_databases,
    wire_region_topics,
    wire_schemes,
    wire_topics,
    wire_wallet,
)
from pithead.config.render import (
    render_analytics,
    render_edge,
    render_ledger,
    render_payouts,
    render_rewards,
    render_shares,
)
from pithead_operator.desired.inputs import EdgeInputs, HubInputs, MissingInput
from pithead_operator.desired.names import INTAKE_SERVICE, edge_name, role_name


def ledger_settings(inputs: HubInputs) -> LedgerSettings:
    """Settings of the ledger."""
    return render_ledger(ClusterPlaces(inputs.manifests))


def rewards_settings(inputs: HubInputs) -> RewardsSettings:
    """Settings of rewards; raises RenderError until every wallet has told its script."""
    return render_rewards(inputs.manifests, ClusterPlaces(inputs.manifests), inputs.facts.scripts)


def shares_settings(inputs: HubInputs) -> SharesSettings:
    """Settings of the share processor; raises RenderError until scripts and slots are known."""
    places = ClusterPlaces(inputs.manifests)
    return render_shares(inputs.manifests, places, inputs.facts.scripts, inputs.facts.slots)


def analytics_settings(inputs: HubInputs) -> AnalyticsSettings | None:
    """Settings of analytics; None when the pools name no ClickHouse."""
    return render_analytics(inputs.manifests, ClusterPlaces(inputs.manifests))


def payouts_settings(inputs: HubInputs, endpoint: str) -> PayoutsSettings:
    """Settings of the payouts of one coin."""
    return render_payouts(inputs.manifests, ClusterPlaces(inputs.manifests), endpoint)


def edge_settings(inputs: EdgeInputs) -> StratumSettings:
    """Settings of a pool's edges in a region; raises RenderError until the facts are known."""
    manifests, facts = inputs.hub.manifests, inputs.hub.facts
    secret = edge_name(inputs.pool.metadata.name, inputs.region.id)
    places = ClusterEdge(manifests, inputs.pool, inputs.region, secret=secret)
    return render_edge(manifests, inputs.pool, inputs.region.id, places, facts.scripts, facts.slots)


def region_relay_settings(inputs: EdgeInputs) -> RelaySettings:
    """Settings of a region's relay; raises MissingInput until the hub's intake has an address."""
    if not inputs.hub.intake:
        raise MissingInput(f"an address of Service {INTAKE_SERVICE} of the hub")
    secret = edge_name(inputs.pool.metadata.name, inputs.region.id, "relay")
    return relay_settings(inputs.pool, inputs.region, secret, inputs.hub.intake[0])


def region_topics_settings(inputs: EdgeInputs) -> WireTopicsSettings:
    """What the topics' Job of a region with a log of its own makes."""
    secret = edge_name(inputs.pool.metadata.name, inputs.region.id, "relay")
    return wire_region_topics(inputs.pool, inputs.region, secret)


def databases_settings(inputs: HubInputs) -> WireDatabasesSettings:
    """What the databases' Job makes; raises MissingInput when no pool names a database."""
    for pool in inputs.manifests.pools:
        if pool.spec.database is not None:
            database = pool.spec.database.name
            break
    else:
        raise MissingInput("spec.database of the pools")
    usernames = {service: role_name(database, service) for service in WITH_DATABASE}
    return wire_databases(inputs.manifests, usernames)


def topics_settings(inputs: HubInputs) -> WireTopicsSettings:
    """What the topics' Job makes."""
    return wire_topics(inputs.manifests)


def wire_analytics_settings(inputs: HubInputs) -> WireAnalyticsSettings | None:
    """What the analytics' Job makes; None when the pools name no ClickHouse."""
    return wire_analytics(inputs.manifests)


def wallet_settings(inputs: HubInputs, endpoint: str) -> WireWalletSettings:
    """What the Job of a coin's wallet asks."""
    return wire_wallet(inputs.manifests, endpoint)


def schemes_settings(inputs: HubInputs) -> WireSchemesSettings:
    """What the schemes' Job tells rewards."""
    return wire_schemes(inputs.manifests)
