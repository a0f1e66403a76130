"""Answers for regions of a MiningPool: where edges run, and what was last seen of them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from pithead.manifests.backing import RegionStream
from pithead.manifests.base import Rule, Shape
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
from pithead.manifests.service_rules import service_rules


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

    stream: Annotated[RegionStream | None, Change.IMMUTABLE, Runtime.CLUSTER] = None
    """A Kafka of the region's own, which a relay empties into the hub's; absent: edges write to
    the hub's. It stays what it was: to change it, add a region with another id, let this one be
    Off until its relay has brought everything, and remove it."""

    RULES: ClassVar[tuple[Rule, ...]] = service_rules()


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
    """Reachable, Degraded and, with a stream of its own, Relayed; each with its reason."""
