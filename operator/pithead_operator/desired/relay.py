"""Answers for the objects of a region that has a Kafka of its own, beside those of its edges.

A relay a pool and region, in the region's cluster, brings shares and blocks to
the hub. It dials out only and keeps nothing, so it needs no volume and no
budget; a second one that runs beside it in a rollout takes over. It stays when
the region drains or is Off: what it did not bring yet is worth money.

`render_relay_base` needs the Secrets alone, and the Job that makes the topics
stands on it; `render_relay` needs an address of the hub's intake as well.
"""

import base64

from pithead.config import to_json
from pithead_operator.desired import names
from pithead_operator.desired.inputs import EdgeInputs, Object
from pithead_operator.desired.names import edge_name
from pithead_operator.desired.objects import (
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
from pithead_operator.desired.secrets import relay_secret
from pithead_operator.desired.settings import region_relay_settings

REQUESTS = {"cpu": "50m", "memory": "128Mi"}
GRACE_S = 30
RENEWED = ("relay.crt", "relay.key", "hub-ca.crt")
"""Keys that the relay reads anew, so that their change starts nothing again."""


def relay_name(inputs: EdgeInputs) -> str:
    """Name of the relay's objects."""
    return edge_name(inputs.pool.metadata.name, inputs.region.id, "relay")


def render_relay_base(inputs: EdgeInputs) -> tuple[Object, ...]:
    """Account, Secret and rules of traffic, as they are applied; raises MissingInput."""
    namespace, name, labels = inputs.hub.namespace, relay_name(inputs), _labels(inputs)
    values = relay_secret(inputs)
    data = {key: base64.b64encode(values[key]).decode() for key in sorted(values)}
    return (
        service_account(namespace, name, labels),
        new_object("v1", "Secret", namespace, name, labels, type="Opaque", data=data),
        network_policy(
            namespace,
            name,
            labels,
            {"matchLabels": _selector(labels)},
            [{"ports": [open_port(HEALTH_PORT)]}],
        ),
    )


def render_relay(inputs: EdgeInputs) -> tuple[Object, ...]:
    """The relay itself; raises MissingInput, RenderError."""
    namespace, name, labels = inputs.hub.namespace, relay_name(inputs), _labels(inputs)
    text = to_json(region_relay_settings(inputs))
    secrets = mounted_secrets(text)
    contents = mounted_values({name: relay_secret(inputs)}, secrets)
    read_once = [each for each in contents if not each[0].endswith(RENEWED)]
    pod = Pod(
        args=("relay", "--config", SETTINGS_FILE),
        labels=labels,
        account=name,
        requests=REQUESTS,
        settings=name,
        digest=inputs_digest(inputs.hub.digest_key, text, read_once),
        secrets=secrets,
        ports={"health": HEALTH_PORT},
        probes=http_probes(),
        grace_s=GRACE_S,
    )
    deployment = new_object(
        "apps/v1",
        "Deployment",
        namespace,
        name,
        labels,
        spec={
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": _selector(labels)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": pod_template(pod, inputs.hub.release),
        },
    )
    return config_map(namespace, name, labels, {SETTINGS_KEY: text.decode()}), deployment


def _labels(inputs: EdgeInputs) -> dict[str, str]:
    return names.edge_labels(inputs.hub, inputs.pool.metadata.name, inputs.region.id, "relay")


def _selector(labels: dict[str, str]) -> dict[str, str]:
    """Labels that pick the relay; a Deployment's selector can never change."""
    picked = (names.NAME_LABEL, names.COMPONENT_LABEL, names.POOL_LABEL, names.REGION_LABEL)
    return {key: labels[key] for key in picked}
