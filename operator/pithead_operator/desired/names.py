"""Answers for names and labels of everything that the operator makes.

A name is its words joined by hyphens, as a person would write it. When that is
too long, it is cut and a hash of all words follows, before a fixed ending such
as `stratum`; words that already end like a hash get one too, so that a plain name
and a cut one never meet. Words that run together to one text (pool `a-b` in
region `c`, pool `a` in region `b-c`) would meet: manifests refuse such a pair.
"""

import hashlib
import re
from typing import Literal

from pithead.config import cluster
from pithead_operator.desired.inputs import HubInputs, HubService

LABEL_MAX = 63
"""Characters of a DNS label, and of a label's value."""
CRON_JOB_MAX = 52
"""Kubernetes appends eleven characters to a CronJob's name to name its Jobs."""
ROLE_MAX = 57
"""Of 63 bytes of a role's name in PostgreSQL; its owner's ends in six more."""
HASH_DIGITS = 8
_HASHED = re.compile(r"(^|[-._])[0-9][0-9a-f]{7}$")

MANAGER = "pithead-operator"
"""Field manager of all objects."""
REPLICAS_MANAGER = "pithead-replicas"
"""Field manager of spec.replicas of edges."""

NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
OWNER_LABEL = "pithead.dev/owner"
HUB_LABEL = "pithead.dev/hub"
POOL_LABEL = "pithead.dev/pool"
REGION_LABEL = "pithead.dev/region"
DIGEST_ANNOTATION = "pithead.dev/inputs-digest"
"""Of a pod template: what its processes read once, so that a change of it rolls them."""

HUB_ANCHOR = "pithead-hub-anchor"
HUB_ACCOUNT = "pithead-services"
"""ServiceAccount of the hub's pods: it has no token and no rights."""
EDGE_ROLE = "pithead-edge"
"""ClusterRole that the region chart brings; edges are bound to it in their namespace."""
CA = "pithead-ca"
TLS = cluster.TLS.name
ROLES = cluster.ROLES.name
REGIONS = cluster.REGIONS.name
INTAKE_SERVICE = "pithead-intake"
"""Service by which relays reach the share processor from outside of the hub."""
FACTS = "pithead-facts"

Component = Literal[
    "stratum",
    "relay",
    "shares",
    "rewards",
    "ledger",
    "analytics",
    "payouts",
    "wiring",
    "anchor",
    "status",
]


def joined(*words: str, suffix: str = "", limit: int = LABEL_MAX) -> str:
    """Words and a suffix as one DNS label of at most `limit` characters (see the module).

    Words that differ when joined give different names (but for a collision of the hash).
    """
    head = "-".join(words)
    tail = f"-{suffix}" if suffix else ""
    if len(head) + len(tail) <= limit and not _HASHED.search(head):
        return head + tail
    mark = _hash(head)
    room = limit - len(tail) - len(mark) - 1
    return f"{head[:room].rstrip('-')}-{mark}{tail}"


def cut(text: str, limit: int = LABEL_MAX) -> str:
    """A text as it is when it fits, else its beginning and a hash: for values of labels."""
    if len(text) <= limit and not _HASHED.search(text):
        return text
    mark = _hash(text)
    return f"{text[: limit - len(mark) - 1].rstrip('-._')}-{mark}"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{int(digest[:2], 16) % 10}{digest[2 : 1 + HASH_DIGITS]}"


def edge_name(
    pool: str, region: str, part: Literal["stratum", "anchor", "relay"] = "stratum"
) -> str:
    """Name of what one pool has in one region."""
    return joined(pool, region, suffix=part)


def service_name(service: HubService | Literal["analytics"]) -> str:
    """Name of a hub service's Deployment, Service and ConfigMap."""
    return f"pithead-{service}"


def payouts_name(endpoint: str) -> str:
    """Name of the CronJob that pays a coin."""
    return joined("pithead-payouts", endpoint, limit=CRON_JOB_MAX)


def hub_owner(namespace: str) -> str:
    """Value of the owner label of what all pools of a namespace share."""
    return cut(f"{namespace}.hub")


def pool_owner(namespace: str, pool: str) -> str:
    """Value of the owner label of what one pool has, in whatever region.

    No pool has a dot in its name, so a pool named `hub` is not taken for the hub.
    """
    return cut(f"{namespace}.{pool}" if pool != "hub" else f"{namespace}.pool.hub")


def hub_labels(inputs: HubInputs, component: Component) -> dict[str, str]:
    """Labels of an object that all pools of the namespace share."""
    return _labels(component, hub_owner(inputs.namespace), inputs.hub_uid)


def minted_labels(namespace: str, hub_uid: str) -> dict[str, str]:
    """Labels of a Secret that the operator makes for the hub."""
    return _labels("wiring", hub_owner(namespace), hub_uid)


def edge_labels(inputs: HubInputs, pool: str, region: str, component: Component) -> dict[str, str]:
    """Labels of an object that one pool has in one region."""
    labels = _labels(component, pool_owner(inputs.namespace, pool), inputs.hub_uid)
    return labels | {POOL_LABEL: pool, REGION_LABEL: region}


def _labels(component: Component, owner: str, hub_uid: str) -> dict[str, str]:
    return {
        NAME_LABEL: "pithead",
        COMPONENT_LABEL: component,
        MANAGED_BY_LABEL: MANAGER,
        OWNER_LABEL: owner,
        HUB_LABEL: hub_uid,
    }


def role_name(database: str, service: str) -> str:
    """Role of a service in PostgreSQL: it carries the database, as a server has roles for all."""
    return cut(f"pithead_{database}_{service}", ROLE_MAX).replace("-", "_")
