"""Answers for regions of a MiningPool: where edges run, and what was last seen of them."""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from pithead.manifests.base import GROUP, Path, Rule, Shape
from pithead.manifests.conditions import Conditions
from pithead.manifests.fields import (
    AnnotationValue,
    Change,
    ClusterName,
    Count,
    Hostname,
    RegionId,
    Runtime,
    ShortText,
    Switch,
)

DNS_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"
"""The annotation that hostnames become on the region's Service."""
ANNOTATION_KEY = "^([a-z0-9][a-z0-9.-]{0,252}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
"""As the API server of the region wants it on a Service."""


class Region(Shape):
    """A place with edges."""

    LIST_KEY = "id"
    LATER = frozenset({"nodeOverrides", "nodes"})

    id: Annotated[RegionId, Change.IMMUTABLE]
    """Id of the region; the share log carries it for ever."""
    cluster: Annotated[ClusterName | None, Change.IMMUTABLE, Runtime.CLUSTER] = None
    """Cluster of the region: the label pithead.dev/cluster of its kubeconfig Secret; absent: the
    hub's own cluster. `pithead up` runs only regions without it."""
    state: Annotated[Literal["Active", "Drain", "Off"], Change.ROLLING] = "Active"
    """Active: edges run. Drain: edges send their miners away calmly and stop. Off (in quotes: YAML
    reads a bare Off as false): none run. On one machine Drain is Off."""
    replicas: Annotated[int, Strict(), Field(ge=1, le=1000), Change.LIVE, Runtime.CLUSTER] = 1
    """Edges of the region; for none, give state Off."""
    hostnames: Annotated[
        tuple[Hostname, ...], Field(max_length=8), Change.LIVE, Runtime.CLUSTER
    ] = ()
    """DNS names of the region, published by external-dns from an annotation of the Service."""
    service_annotations: Annotated[
        dict[str, AnnotationValue], Field(max_length=32), Change.LIVE, Runtime.CLUSTER
    ] = {}  # noqa: RUF012 - pydantic copies it
    """Annotations of the region's Service, for load balancers and DNS."""

    @staticmethod
    def _bad_key(region: "Region") -> Iterator[Path]:
        for key in region.service_annotations:
            if not re.fullmatch(ANNOTATION_KEY, key):
                yield ("serviceAnnotations", key)

    @staticmethod
    def _own_key(region: "Region") -> Iterator[Path]:
        for key in region.service_annotations:
            if key.startswith(f"{GROUP}/"):
                yield ("serviceAnnotations", key)

    @staticmethod
    def _hostnames_twice(region: "Region") -> Iterator[Path]:
        if region.hostnames and DNS_ANNOTATION in region.service_annotations:
            yield ("hostnames",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.serviceAnnotations.all(k, k.matches('{ANNOTATION_KEY}'))",
            "this is no key of an annotation; expected one such as example.org/name",
            "serviceAnnotations",
            _bad_key,
        ),
        Rule(
            f"self.serviceAnnotations.all(k, !k.startsWith('{GROUP}/'))",
            f"annotations under {GROUP}/ are set by the operator; remove it",
            "serviceAnnotations",
            _own_key,
        ),
        Rule(
            f"size(self.hostnames) == 0 || !('{DNS_ANNOTATION}' in self.serviceAnnotations)",
            f"hostnames and the annotation {DNS_ANNOTATION} say the same; give one of them",
            "hostnames",
            _hostnames_twice,
        ),
    )


class RegionStatus(Shape):
    """What was last seen of a region."""

    LIST_KEY = "id"

    id: RegionId
    """Id of the region."""
    cluster: ClusterName | None = None
    """Cluster of the region; absent for the hub's own."""
    ready: Count = 0
    """Edges that are ready."""
    desired: Count = 0
    """Edges that are wanted."""
    connections: Count = 0
    """Connections of all its edges."""
    hashrate: ShortText = ""
    """Hash rate of its miners, such as 1.23 GH/s."""
    addresses: Annotated[tuple[ShortText, ...], Field(max_length=16)] = ()
    """Addresses of its Service."""
    hostname: Hostname | None = None
    """The first of its hostnames."""
    reachable: Switch = False
    """Whether its API server answered the last time."""
    conditions: Conditions = ()
    """Reachable, with the reason when it is not."""
