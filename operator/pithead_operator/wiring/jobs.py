"""Answers for the Jobs that wire a hub: databases, topics, wallets, schemes, charts.

A region with a Kafka of its own has a topics Job too, in its own cluster.

A Job is named by the hash of all that it is and acts upon: its template with the
image, its settings, and the Secrets that it mounts. Whatever changes one of
these makes another Job; what is there under its name need not be made again.
Each has a ConfigMap of the same name with its settings. Certificates are no
part of the hash: renewing one asks nothing new.

Superseded Jobs are pruned by the owner label, so a Job is not removed by
Kubernetes before its result was read.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Literal

from pithead.config import Settings, to_json
from pithead_operator.desired import names
from pithead_operator.desired.inputs import EdgeInputs, HubInputs, Object, Release, Secrets
from pithead_operator.desired.names import HUB_ACCOUNT, TLS
from pithead_operator.desired.objects import config_map, new_object
from pithead_operator.desired.pods import (
    CONTAINER,
    SETTINGS_FILE,
    SETTINGS_KEY,
    Pod,
    inputs_digest,
    mounted_secrets,
    mounted_values,
    pod_template,
)
from pithead_operator.desired.relay import relay_name
from pithead_operator.desired.secrets import relay_secret
from pithead_operator.desired.settings import (
    databases_settings,
    region_topics_settings,
    schemes_settings,
    topics_settings,
    wallet_settings,
    wire_analytics_settings,
)

Kind = Literal["databases", "topics", "wallet", "schemes", "analytics"]

REQUESTS = {"cpu": "50m", "memory": "96Mi"}
GRACE_S = 10
RETRIES = 6
"""After 10, 20, 40 ... seconds, about ten minutes in all: a server that only starts late is met."""
LIMIT_S = 900
EXIT_UNUSABLE = 2
"""Exit code of a process that only another configuration helps."""
HASH_DIGITS = 10


@dataclass(frozen=True)
class WireJob:
    """A Job and what it needs."""

    kind: Kind
    name: str
    hash: str
    endpoint: str
    """CoinEndpoint of a wallet's Job; empty for the others."""
    objects: tuple[Object, ...]
    """Its ConfigMap and the Job, in the order in which they are applied."""


def databases_job(inputs: HubInputs) -> WireJob:
    """Roles, schemas and migrations of all services; raises MissingInput."""
    return _job(inputs, "databases", databases_settings(inputs))


def topics_job(inputs: HubInputs) -> WireJob:
    """Topics of all pools; raises MissingInput."""
    return _job(inputs, "topics", topics_settings(inputs))


def wallet_jobs(inputs: HubInputs) -> tuple[WireJob, ...]:
    """One Job for each coin that a pool mines, by name; raises MissingInput."""
    return tuple(
        _job(inputs, "wallet", wallet_settings(inputs, each.metadata.name), each.metadata.name)
        for each in inputs.manifests.used_endpoints()
    )


def schemes_job(inputs: HubInputs) -> WireJob:
    """The schemes of all pools, told to rewards; raises MissingInput."""
    return _job(inputs, "schemes", schemes_settings(inputs))


def analytics_job(inputs: HubInputs) -> WireJob | None:
    """Tables of charts; None when the pools name no ClickHouse. Raises MissingInput."""
    settings = wire_analytics_settings(inputs)
    return _job(inputs, "analytics", settings) if settings is not None else None


def region_topics_job(edge: EdgeInputs) -> WireJob:
    """Topics of one pool in the Kafka of a region, made from there; raises MissingInput.

    It shares the account and the Secret of the region's relay.
    """
    pool, region, name = edge.pool.metadata.name, edge.region.id, relay_name(edge)
    place = _Place(
        words=(pool, region, "topics"),
        labels=names.edge_labels(edge.hub, pool, region, "wiring"),
        account=name,
        secrets={name: relay_secret(edge)},
    )
    return _made(edge.hub, "topics", region_topics_settings(edge), place)


@dataclass(frozen=True)
class _Place:
    """What depends on where a Job runs."""

    words: tuple[str, ...]
    """Of its name."""
    labels: dict[str, str]
    account: str
    secrets: Secrets
    endpoint: str = ""


def _job(inputs: HubInputs, kind: Kind, settings: Settings, endpoint: str = "") -> WireJob:
    place = _Place(
        words=(f"pithead-wire-{kind}", *([endpoint] if endpoint else [])),
        labels=names.hub_labels(inputs, "wiring"),
        account=HUB_ACCOUNT,
        secrets=inputs.secrets,
        endpoint=endpoint,
    )
    return _made(inputs, kind, settings, place)


def _made(inputs: HubInputs, kind: Kind, settings: Settings, place: _Place) -> WireJob:
    text = to_json(settings)
    secrets = mounted_secrets(text)
    lasting = [each for each in secrets if each.name != TLS]
    pod = Pod(
        args=("wire", kind, "--config", SETTINGS_FILE),
        labels=place.labels,
        account=place.account,
        requests=REQUESTS,
        settings="",
        digest=inputs_digest(inputs.digest_key, text, mounted_values(place.secrets, lasting)),
        secrets=secrets,
        grace_s=GRACE_S,
        restart="Never",
    )
    # All of it, as a Job can not be changed once it is made.
    content = json.dumps(_spec(pod, inputs.release), sort_keys=True)
    mark = hashlib.sha256(content.encode()).hexdigest()[:HASH_DIGITS]
    name = names.joined(*place.words, suffix=mark)
    settings_map = config_map(inputs.namespace, name, place.labels, {SETTINGS_KEY: text.decode()})
    spec = _spec(replace(pod, settings=name), inputs.release)
    job = new_object("batch/v1", "Job", inputs.namespace, name, place.labels, spec=spec)
    return WireJob(kind, name, mark, place.endpoint, (settings_map, job))


def _spec(pod: Pod, release: Release) -> Object:
    unusable = {"containerName": CONTAINER, "operator": "In", "values": [EXIT_UNUSABLE]}
    return {
        "backoffLimit": RETRIES,
        "activeDeadlineSeconds": LIMIT_S,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": unusable},
                # A machine that is drained is nobody's failure.
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        },
        "template": pod_template(pod, release),
    }
