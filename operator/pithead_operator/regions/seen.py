"""Answers for what is kept of an observed object: who it is, whose it is, whether it changed.

`mark` is equal as long as nothing that we apply was changed by somebody else.
For kinds whose specs the API server counts, it is the generation with a digest
of the metadata, so that a status that moves all the time is no change. For the
others it is the resource version. ConfigMaps that pods write into are marked by
their metadata alone.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pithead_operator.regions.kinds import Kind

Object = dict[str, Any]

COMPONENT_LABEL = "app.kubernetes.io/component"
OWNER_LABEL = "pithead.dev/owner"
HUB_LABEL = "pithead.dev/hub"
POOL_LABEL = "pithead.dev/pool"
REGION_LABEL = "pithead.dev/region"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
HASH_ANNOTATION = "pithead.dev/desired-hash"
REPLICAS_ANNOTATION = "pithead.dev/replicas"
"""The count that was last set under the second manager."""
STATUS_COMPONENT = "status"

FOREIGN_ANNOTATIONS = (
    "deployment.kubernetes.io/",
    "kubectl.kubernetes.io/",
    "batch.kubernetes.io/",
)
"""Written by controllers and tools into objects of ours; no drift."""


@dataclass(frozen=True)
class Pods:
    """What a Deployment says of its pods."""

    desired: int = 0
    ready: int = 0
    updated: int = 0
    current: bool = False
    """True when its controller has seen the present spec."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An observed object of ours."""

    kind: str
    name: str
    uid: str
    version: str
    mark: str
    owner: str = ""
    pool: str = ""
    region: str = ""
    component: str = ""
    replicas: str = ""
    deleting: bool = False
    pods: Pods | None = None
    addresses: tuple[str, ...] = ()
    """Of a load balancer."""
    finished: bool = False
    """Of a Job: it succeeded or failed for good."""
    failed: bool = False
    """Of a Job: it failed for good."""
    controlled: bool = False
    """True when a controller made it, such as a Job of a CronJob: it goes with its maker."""
    data: dict[str, str] = field(default_factory=dict)
    """Of the ConfigMap that edges report to."""

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return (self.kind, self.name)


def seen(kind: Kind, item: Object) -> Seen:
    """What is kept of an object; of metadata alone, when nothing else was asked for."""
    meta = item["metadata"]
    labels = meta.get("labels") or {}
    annotations = meta.get("annotations") or {}
    component = labels.get(COMPONENT_LABEL, "")
    status = item.get("status") or {}
    is_report = kind.name == "ConfigMap" and component == STATUS_COMPONENT
    return Seen(
        kind=kind.name,
        name=meta["name"],
        uid=meta["uid"],
        version=meta["resourceVersion"],
        mark=_mark(kind, meta, by_metadata=is_report),
        owner=labels.get(OWNER_LABEL, ""),
        pool=labels.get(POOL_LABEL, ""),
        region=labels.get(REGION_LABEL, ""),
        component=component,
        replicas=annotations.get(REPLICAS_ANNOTATION, ""),
        deleting="deletionTimestamp" in meta,
        pods=_pods(item, meta) if kind.name == "Deployment" and "spec" in item else None,
        addresses=_addresses(status) if kind.name == "Service" else (),
        finished=bool(_ends(status)) if kind.name == "Job" else False,
        failed="Failed" in _ends(status) if kind.name == "Job" else False,
        controlled=any(each.get("controller") for each in meta.get("ownerReferences") or []),
        data=dict(item.get("data") or {}) if is_report else {},
    )


def newer(version: str, other: str) -> bool:
    """Whether the first resource version is later than the second one."""
    if version.isdigit() and other.isdigit():
        return int(version) > int(other)
    return version != other


def _mark(kind: Kind, meta: Object, *, by_metadata: bool) -> str:
    if not kind.counts_specs and not by_metadata:
        return f"{meta['uid']}/{meta['resourceVersion']}"
    annotations = {
        key: value
        for key, value in (meta.get("annotations") or {}).items()
        if not key.startswith(FOREIGN_ANNOTATIONS) and key != REPLICAS_ANNOTATION
    }
    content = (meta.get("labels") or {}, annotations, meta.get("ownerReferences") or [])
    digest = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]
    return f"{meta['uid']}/{meta.get('generation', 0)}/{digest}"


def _pods(item: Object, meta: Object) -> Pods:
    status = item.get("status") or {}
    return Pods(
        desired=item["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        current=status.get("observedGeneration", 0) >= meta.get("generation", 0),
    )


def _addresses(status: Object) -> tuple[str, ...]:
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    found = [each.get("hostname") or each.get("ip") or "" for each in ingress]
    return tuple(sorted(address for address in found if address))


def _ends(status: Object) -> set[str]:
    """Complete or Failed, when a Job has ended."""
    return {
        each["type"]
        for each in status.get("conditions") or []
        if each.get("type") in ("Complete", "Failed") and each.get("status") == "True"
    }
