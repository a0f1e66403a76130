"""Answers for the objects that all pools of a namespace share: the services that hold the money.

They are rendered in phases, because some facts exist only once earlier ones
run: `render_base` needs the manifests alone; `render_money` (ledger, rewards)
the wallets' scripts; `render_shares` the schemes' slots as well; `render_payouts`
a CronJob for each coin; `render_analytics`, which nothing waits for, the tables
that its Job makes. Each service has a ConfigMap of its own, so that a phase
that waits leaves the settings of the others alone.

One process of each: they own their database, and two at once would only wait
for each other. So a change stops the old one first.
"""

from typing import Literal

from pithead.config import Settings, to_json
from pithead.config.cluster import INTAKE_PORT, RPC_PORT, ClusterPlaces
from pithead.manifests.service_rules import annotations_of
from pithead_operator.desired import names
from pithead_operator.desired.inputs import SERVICES, HubInputs, HubService, Object
from pithead_operator.desired.names import HUB_ACCOUNT, HUB_ANCHOR, service_name
from pithead_operator.desired.objects import (
    anchor,
    config_map,
    network_policy,
    new_object,
    open_port,
    service_account,
)
from pithead_operator.desired.pods import (
    HEALTH_PORT,
    SETTINGS_FILE,
    SETTINGS_KEY,
    Pod,
    http_probes,
    inputs_digest,
    mounted_secrets,
    mounted_values,
    pod_template,
)
from pithead_operator.desired.settings import (
    analytics_settings,
    ledger_settings,
    payouts_settings,
    rewards_settings,
    shares_settings,
)

Served = HubService | Literal["analytics"]

SERVICE_REQUESTS = {"cpu": "50m", "memory": "128Mi"}
PAYOUTS_REQUESTS = {"cpu": "50m", "memory": "96Mi"}
GRACE_S = 30
PAYOUT_LIMIT_S = 900
"""A run that takes longer hangs; the next one goes on where it was stopped."""
LATE_START_S = 300
"""A run that could not start for this long is left to the next."""
RUNS_KEPT = 3


def render_base(inputs: HubInputs) -> tuple[Object, ...]:
    """Anchor, account, addresses and rules of traffic."""
    namespace = inputs.namespace
    return (
        anchor(namespace, HUB_ANCHOR, names.hub_labels(inputs, "anchor")),
        service_account(namespace, HUB_ACCOUNT, names.hub_labels(inputs, "anchor")),
        *_network_policies(inputs),
        *(_service(inputs, each) for each in SERVICES),
        *_intake(inputs),
    )


def render_money(inputs: HubInputs) -> tuple[Object, ...]:
    """The ledger and rewards."""
    return (
        *_workload(inputs, "ledger", ledger_settings(inputs)),
        *_workload(inputs, "rewards", rewards_settings(inputs)),
    )


def render_shares(inputs: HubInputs) -> tuple[Object, ...]:
    """The share processor."""
    return _workload(inputs, "shares", shares_settings(inputs))


def render_analytics(inputs: HubInputs) -> tuple[Object, ...]:
    """What makes charts of shares; nothing when the pools name no ClickHouse."""
    settings = analytics_settings(inputs)
    if settings is None:
        return ()
    return (
        _service(inputs, "analytics"),
        *_workload(inputs, "analytics", settings, ("shares", "analytics")),
    )


def render_payouts(inputs: HubInputs) -> tuple[Object, ...]:
    """A CronJob and its settings for each coin; each run sees the secrets of its coin alone."""
    found: list[Object] = []
    for endpoint in inputs.manifests.used_endpoints():
        found += _payouts(inputs, endpoint.metadata.name)
    return tuple(found)


def _selector(labels: dict[str, str]) -> dict[str, str]:
    """Labels that pick a service's pods; a Deployment's selector can never change."""
    return {key: labels[key] for key in (names.NAME_LABEL, names.COMPONENT_LABEL)}


def _service(inputs: HubInputs, service: Served) -> Object:
    labels = names.hub_labels(inputs, service)
    return new_object(
        "v1",
        "Service",
        inputs.namespace,
        service_name(service),
        labels,
        spec={
            "type": "ClusterIP",
            "selector": _selector(labels),
            "ports": [
                {"name": "grpc", "port": RPC_PORT, "targetPort": RPC_PORT, "protocol": "TCP"}
            ],
        },
    )


def _intake(inputs: HubInputs) -> tuple[Object, ...]:
    """The door for relays, when a region has a log of its own: the only one from outside."""
    if not has_relays(inputs):
        return ()
    labels = names.hub_labels(inputs, "shares")
    service = new_object(
        "v1",
        "Service",
        inputs.namespace,
        names.INTAKE_SERVICE,
        labels,
        annotations_of(inputs.manifests.pools[0].spec.relay),
        spec={
            "type": "LoadBalancer",
            "selector": _selector(labels),
            "ports": [
                {
                    "name": "intake",
                    "port": INTAKE_PORT,
                    "targetPort": INTAKE_PORT,
                    "protocol": "TCP",
                }
            ],
        },
    )
    # Whoever has no certificate of a region is refused in the handshake.
    policy = network_policy(
        inputs.namespace,
        names.INTAKE_SERVICE,
        labels,
        {"matchLabels": _selector(labels)},
        [{"ports": [open_port(INTAKE_PORT)]}],
    )
    return policy, service


def has_relays(inputs: HubInputs) -> bool:
    """Whether some region has a log of its own."""
    return ClusterPlaces(inputs.manifests).intake() is not None


def _workload(
    inputs: HubInputs, service: Served, settings: Settings, command: tuple[str, ...] = ()
) -> tuple[Object, Object]:
    labels = names.hub_labels(inputs, service)
    name = service_name(service)
    text = to_json(settings)
    secrets = mounted_secrets(text)
    contents = mounted_values(inputs.secrets, secrets)
    ports = {"grpc": RPC_PORT, "health": HEALTH_PORT}
    if service == "shares" and has_relays(inputs):
        ports["intake"] = INTAKE_PORT
    pod = Pod(
        args=(*(command or (service,)), "--config", SETTINGS_FILE),
        labels=labels,
        account=HUB_ACCOUNT,
        requests=SERVICE_REQUESTS,
        settings=name,
        digest=inputs_digest(inputs.digest_key, text, contents),
        secrets=secrets,
        ports=ports,
        probes=http_probes(),
        grace_s=GRACE_S,
    )
    deployment = new_object(
        "apps/v1",
        "Deployment",
        inputs.namespace,
        name,
        labels,
        spec={
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": _selector(labels)},
            "strategy": {"type": "Recreate"},
            "template": pod_template(pod, inputs.release),
        },
    )
    return config_map(inputs.namespace, name, labels, {SETTINGS_KEY: text.decode()}), deployment


def _payouts(inputs: HubInputs, endpoint: str) -> tuple[Object, Object]:
    labels = names.hub_labels(inputs, "payouts")
    name = names.payouts_name(endpoint)
    text = to_json(payouts_settings(inputs, endpoint))
    secrets = mounted_secrets(text)
    pod = Pod(
        args=("payouts", "run", "--config", SETTINGS_FILE, "--coin", endpoint),
        labels=labels,
        account=HUB_ACCOUNT,
        requests=PAYOUTS_REQUESTS,
        settings=name,
        digest=inputs_digest(inputs.digest_key, text, mounted_values(inputs.secrets, secrets)),
        secrets=secrets,
        grace_s=GRACE_S,
        restart="Never",
    )
    job: Object = {
        # The next run on the schedule is the retry: a run reconciles before it pays.
        "backoffLimit": 0,
        "activeDeadlineSeconds": PAYOUT_LIMIT_S,
        "template": pod_template(pod, inputs.release),
    }
    cron = new_object(
        "batch/v1",
        "CronJob",
        inputs.namespace,
        name,
        labels,
        spec={
            "schedule": _schedule(inputs, endpoint),
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": LATE_START_S,
            # Also while payouts are paused: what was signed is carried to its end.
            "suspend": False,
            "successfulJobsHistoryLimit": RUNS_KEPT,
            "failedJobsHistoryLimit": RUNS_KEPT,
            "jobTemplate": {"metadata": {"labels": labels}, "spec": job},
        },
    )
    return config_map(inputs.namespace, name, labels, {SETTINGS_KEY: text.decode()}), cron


def _schedule(inputs: HubInputs, endpoint: str) -> str:
    """The schedule of the pools on an endpoint: they agree."""
    return next(
        pool.spec.payouts.schedule
        for pool in inputs.manifests.pools
        if pool.spec.coin_endpoint_ref.name == endpoint
    )


def _network_policies(inputs: HubInputs) -> tuple[Object, Object]:
    """Only the hub's own pods reach its services; nothing reaches its Jobs."""
    owner = names.hub_owner(inputs.namespace)
    labels = names.hub_labels(inputs, "anchor")

    def pods_of(*components: str) -> Object:
        return {
            "matchLabels": {names.OWNER_LABEL: owner},
            "matchExpressions": [
                {"key": names.COMPONENT_LABEL, "operator": "In", "values": sorted(components)}
            ],
        }

    own: Object = {"podSelector": {"matchLabels": {names.OWNER_LABEL: owner}}}
    return (
        network_policy(
            inputs.namespace,
            "pithead-services",
            labels,
            pods_of(*SERVICES, "analytics"),
            [
                {"from": [own], "ports": [open_port(RPC_PORT)]},
                {"ports": [open_port(HEALTH_PORT)]},
            ],
        ),
        network_policy(inputs.namespace, "pithead-jobs", labels, pods_of("payouts", "wiring"), []),
    )
