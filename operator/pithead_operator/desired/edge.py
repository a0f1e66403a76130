"""Answers for the objects of one pool in one region: the edges, their address and their rights.

All of them lie in the region's cluster, in the namespace of the pool. The
anchor comes first, as it will own the others. The number of pods is not part of
the Deployment: `replicas_of` tells it apart, because an autoscaler may take it
over. A region that is Off has no edges; one that drains keeps their objects and
has no pods. The anchor of a region with a stream of its own stays: it owns the
relay too (see `relay`).

What a process reads once is digested into its pod template, so that exactly
such a change rolls the edges.
"""

import base64

import msgspec

from pithead.config import StratumSettings, to_json
from pithead.config.cluster import EDGE_STATUS
from pithead.manifests.service_rules import annotations_of
from pithead_operator.desired import names
from pithead_operator.desired.inputs import EdgeInputs, HubInputs, Object, Replicas
from pithead_operator.desired.names import EDGE_ROLE, edge_name
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
from pithead_operator.desired.secrets import edge_secret
from pithead_operator.desired.settings import edge_settings

GRACE_MARGIN_S = 30
"""Beside the drain itself: for the last shares to become durable and the process to end."""
PRIVILEGED_PORTS = 1024
REQUESTS = {"cpu": "100m", "memory": "128Mi"}
"""What an edge takes when it is idle; more as miners come."""


def render_edge(inputs: EdgeInputs) -> tuple[Object, ...]:
    """Objects in the order in which they are applied; raises MissingInput, RenderError."""
    if inputs.region.state == "Off":
        return () if inputs.region.stream is None else (render_anchor(inputs),)
    settings = edge_settings(inputs)
    namespace, labels = inputs.hub.namespace, _labels(inputs)
    name = edge_name(inputs.pool.metadata.name, inputs.region.id)
    text = to_json(settings).decode()
    return (
        render_anchor(inputs),
        service_account(namespace, name, labels),
        _role_binding(inputs, name, labels),
        config_map(namespace, name, labels, {SETTINGS_KEY: text}),
        _secret(inputs, name, labels),
        _network_policy(inputs, name, labels),
        _disruption_budget(inputs, name, labels),
        _service(inputs, name, labels),
        _deployment(inputs, name, labels, settings),
    )


def render_anchor(inputs: EdgeInputs) -> Object:
    """The ConfigMap that owns all of the region."""
    name = edge_name(inputs.pool.metadata.name, inputs.region.id, "anchor")
    labels = _labels(inputs) | {names.COMPONENT_LABEL: "anchor"}
    return anchor(inputs.hub.namespace, name, labels)


def replicas_of(inputs: EdgeInputs) -> Replicas:
    """How many pods the Deployment has: those of the region, none while it drains."""
    drain = inputs.region.state == "Drain"
    return Replicas(
        deployment=edge_name(inputs.pool.metadata.name, inputs.region.id),
        count=0 if drain else inputs.region.replicas,
        drain=drain,
    )


def tls_secrets_of(inputs: EdgeInputs) -> tuple[str, ...]:
    """Secrets with certificates that must exist in the region: they are not copied there."""
    return tuple(
        sorted(
            {
                each.tls.secret_ref.name
                for each in inputs.pool.spec.listeners
                if each.tls is not None
            }
        )
    )


def edge_status_object(inputs: HubInputs) -> Object:
    """The ConfigMap that the edges of a namespace report to, once in each cluster.

    It names no data, so applying it leaves alone what the edges wrote.
    """
    labels = names.hub_labels(inputs, "status")
    return new_object("v1", "ConfigMap", inputs.namespace, EDGE_STATUS, labels)


def _labels(inputs: EdgeInputs) -> dict[str, str]:
    return names.edge_labels(inputs.hub, inputs.pool.metadata.name, inputs.region.id, "stratum")


def _selector(labels: dict[str, str]) -> dict[str, str]:
    """Labels that pick the edges; a Deployment's selector can never change."""
    picked = (names.NAME_LABEL, names.COMPONENT_LABEL, names.POOL_LABEL, names.REGION_LABEL)
    return {key: labels[key] for key in picked}


def _role_binding(inputs: EdgeInputs, name: str, labels: dict[str, str]) -> Object:
    namespace = inputs.hub.namespace
    return new_object(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        namespace,
        name,
        labels,
        roleRef={
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": EDGE_ROLE,
        },
        subjects=[{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    )


def _secret(inputs: EdgeInputs, name: str, labels: dict[str, str]) -> Object:
    values = edge_secret(inputs)
    data = {key: base64.b64encode(values[key]).decode() for key in sorted(values)}
    return new_object("v1", "Secret", inputs.hub.namespace, name, labels, type="Opaque", data=data)


def _network_policy(inputs: EdgeInputs, name: str, labels: dict[str, str]) -> Object:
    ports = sorted({each.port for each in inputs.pool.spec.listeners})
    open_ports = [open_port(port) for port in (*ports, HEALTH_PORT)]
    selector = {"matchLabels": _selector(labels)}
    return network_policy(inputs.hub.namespace, name, labels, selector, [{"ports": open_ports}])


def _disruption_budget(inputs: EdgeInputs, name: str, labels: dict[str, str]) -> Object:
    return new_object(
        "policy/v1",
        "PodDisruptionBudget",
        inputs.hub.namespace,
        name,
        labels,
        spec={
            "maxUnavailable": 1,
            "selector": {"matchLabels": _selector(labels)},
            # An edge that is not ready serves nobody: it never stands in a machine's way.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def _service(inputs: EdgeInputs, name: str, labels: dict[str, str]) -> Object:
    return new_object(
        "v1",
        "Service",
        inputs.hub.namespace,
        name,
        labels,
        annotations_of(inputs.region),
        spec={
            "type": "LoadBalancer",
            # Bans and limits need the miner's own address.
            "externalTrafficPolicy": "Local",
            "selector": _selector(labels),
            "ports": [
                {
                    "name": each.name,
                    "port": each.port,
                    "targetPort": each.port,
                    "protocol": "TCP",
                }
                for each in inputs.pool.spec.listeners
            ],
        },
    )


def _deployment(
    inputs: EdgeInputs, name: str, labels: dict[str, str], settings: StratumSettings
) -> Object:
    return new_object(
        "apps/v1",
        "Deployment",
        inputs.hub.namespace,
        name,
        labels,
        spec={
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": _selector(labels)},
            # A new edge serves before an old one drains.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": pod_template(_pod(inputs, name, labels, settings), inputs.hub.release),
        },
    )


def _pod(inputs: EdgeInputs, name: str, labels: dict[str, str], settings: StratumSettings) -> Pod:
    listeners = inputs.pool.spec.listeners
    drain = inputs.pool.spec.drain
    secrets = mounted_secrets(to_json(settings))
    # A listener's certificate lies in the region, and is read anew when it is renewed.
    copied = [each for each in secrets if each.name == name]
    contents = mounted_values({name: edge_secret(inputs)}, copied)
    ports = {each.name: each.port for each in listeners} | {"health": HEALTH_PORT}
    spool = settings.spool
    spool_wait_s = -(-spool.wait_ms // 1000) if spool is not None else 0
    return Pod(
        args=("stratum", "--config", SETTINGS_FILE),
        labels=labels,
        account=name,
        requests=REQUESTS,
        settings=name,
        digest=inputs_digest(inputs.hub.digest_key, to_json(_read_once(settings)), contents),
        secrets=secrets,
        ports=ports,
        probes=http_probes(),
        grace_s=drain.linger_seconds + drain.reconnect_seconds + GRACE_MARGIN_S + spool_wait_s,
        spool_bytes=spool.bytes_max if spool is not None else 0,
        token=True,
        pod_name_file=True,
        spread=_selector(labels),
        low_ports=any(each.port < PRIVILEGED_PORTS for each in listeners),
    )


def _read_once(settings: StratumSettings) -> StratumSettings:
    """The settings without what edges do not act upon, so that its change rolls nothing.

    A new revision of a scheme, and the depth at which payouts are buried, are the hub's.
    """
    coin = msgspec.structs.replace(settings.coin, confirmations=1)
    return msgspec.structs.replace(settings, coin=coin, slots=())
