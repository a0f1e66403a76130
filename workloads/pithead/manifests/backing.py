"""Answers for what a pool stands on in a cluster: Kafka, PostgreSQL and ClickHouse.

`pithead up` has a log and databases of its own and ignores all of it.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from pithead.manifests.base import Path, Rule, SecretReference, Shape
from pithead.manifests.fields import (
    ONLY_GROWS,
    AnnotationValue,
    Change,
    DatabaseName,
    Hostname,
    HostPort,
    Port,
    Runtime,
    ServerName,
)
from pithead.manifests.service_rules import service_rules


class KafkaTls(Shape):
    """How the certificates of brokers are checked."""

    ca_secret_ref: Annotated[SecretReference | None, Change.ROLLING] = None
    """Secret with the authority's certificate, key ca.crt; absent: the public authorities."""


class Kafka(Shape):
    """A Kafka cluster, version 3.7 or newer."""

    bootstrap_servers: Annotated[
        tuple[HostPort, ...], Field(min_length=1, max_length=16), Change.ROLLING
    ]
    """Brokers to begin with; edges and hub reach them by these names."""
    tls: Annotated[KafkaTls | None, Change.ROLLING] = None
    """TLS to the brokers; absent: none."""
    credentials_secret_ref: Annotated[SecretReference | None, Change.ROLLING] = None
    """Secret with the SCRAM-SHA-512 user, keys username and password; absent: no login."""
    partitions: Annotated[int, Strict(), Field(ge=1, le=1000), Change.ROLLING, ONLY_GROWS] = 8
    """Partitions of the shares topic; at least one an edge spreads the work best."""
    replicas: Annotated[int, Strict(), Field(ge=1, le=9), Change.LIVE] = 3
    """Copies of each topic that is made from now on; below 3, a lost broker can cost shares."""
    bytes_max: Annotated[int | None, Strict(), Field(ge=2**20, le=2**60), Change.ROLLING] = None
    """Bytes of a pool's shares topic (copies not counted) at which edges refuse new shares, as when
    Kafka is away; absent: no bound. What accounting has read is deleted as `keepBytes` and
    `keepHours` of the stream say, and only that makes room."""


class Spool(Shape):
    """Where an edge keeps shares while Kafka is away: chunk files on a volume of its pod."""

    bytes_max: Annotated[int, Strict(), Field(ge=2**20, le=2**50), Change.ROLLING] = 2**30
    """Bytes at which an edge refuses new shares. The volume is an emptyDir: it survives a restart
    of the container, and is lost with the pod or its machine."""


class Stream(Shape):
    """Where edges write shares and blocks. Pools of one namespace share it, so theirs are equal."""

    kafka: Annotated[Kafka | None, Change.ROLLING] = None
    """The Kafka cluster; required in a cluster."""
    on_log_outage: Annotated[Literal["reject", "spool"], Change.ROLLING] = "reject"
    """reject: while Kafka is away, shares are refused and miners are sent elsewhere. spool: edges
    keep them on a volume and go on, and the region is Degraded and not rolled or scaled in until
    all is in Kafka; a pod that is deleted or loses its machine meanwhile takes its spool along."""
    spool: Spool = Field(default_factory=Spool)
    """The volume of onLogOutage spool."""
    keep_bytes: Annotated[int | None, Strict(), Field(ge=0, le=2**60), Change.LIVE] = None
    """Bytes of a pool's shares topic in the hub's Kafka that stay when accounting has read them,
    for replays; what is older is deleted. Absent: as long as keepHours says."""
    keep_hours: Annotated[int | None, Strict(), Field(ge=0, le=87_600), Change.LIVE] = None
    """Hours that records stay in the hub's Kafka when accounting has read them. With keepBytes, the
    one that keeps less. Absent: as much as keepBytes says; both absent: for ever."""

    @staticmethod
    def _never_freed(stream: "Stream") -> Iterator[Path]:
        bound = stream.kafka.bytes_max if stream.kafka is not None else None
        if bound is None:
            return
        if stream.keep_bytes is None or stream.keep_bytes >= bound:
            yield ("kafka", "bytesMax")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.kafka) || !has(self.kafka.bytesMax) || "
            "(has(self.keepBytes) && self.keepBytes < self.kafka.bytesMax)",
            "the bound would be reached by what was read already; give stream.keepBytes, below it",
            "kafka.bytesMax",
            _never_freed,
        ),
    )


class RegionStream(Shape):
    """A Kafka cluster of a region's own, from which a relay brings everything to the hub's."""

    kafka: Annotated[Kafka, Change.ROLLING]
    """The Kafka cluster. Edges of the region get its credentials and none of the hub's Kafka. Not
    more partitions than the hub's, as a record keeps its partition."""
    relay_credentials_secret_ref: Annotated[SecretReference | None, Change.LIVE] = None
    """Secret with the user of the relay and of the Job that makes the topics, keys username and
    password; absent: that of kafka. With it, edges need no more than to write."""


class Relay(Shape):
    """How relays of regions with a stream of their own reach the hub."""

    hostnames: Annotated[tuple[Hostname, ...], Field(max_length=8), Change.LIVE] = ()
    """DNS names of the hub's Service for relays, published by external-dns; relays dial the first.
    Absent: they dial the Service's address."""
    service_annotations: Annotated[
        dict[str, AnnotationValue], Field(max_length=32), Change.LIVE
    ] = {}  # noqa: RUF012 - pydantic copies it
    """Annotations of that Service, for load balancers and DNS."""

    RULES: ClassVar[tuple[Rule, ...]] = service_rules()


class Analytics(Shape):
    """A ClickHouse server with charts' raw shares and sums. Pools of one namespace share it."""

    host: Annotated[ServerName, Change.LIVE]
    """Name or address of the server. Only the hub connects to it."""
    port: Annotated[Port, Change.LIVE] = 9440
    """Port of its native protocol: 9440 with TLS and 9000 without, unless it was changed."""
    database: Annotated[DatabaseName, Change.LIVE]
    """Database, made when it is not there and the user may. What is in it can be made again from
    the share log, as far as that is kept."""
    credentials_secret_ref: Annotated[SecretReference, Change.LIVE]
    """Secret with a user that may create tables in it, keys username and password."""
    ssl_mode: Annotated[Literal["disable", "require", "verify-full"], Change.LIVE] = "require"
    """disable: no TLS. require: TLS, the certificate is not checked. verify-full: it is checked
    against the public authorities, name included."""
    raw_retention_days: Annotated[int, Strict(), Field(ge=7, le=30), Change.LIVE] = 14
    """Days that single shares are kept; sums by minute, hour and day stay."""


class Database(Shape):
    """A PostgreSQL server. Pools of one namespace share it, so theirs are equal."""

    host: Annotated[ServerName, Change.LIVE]
    """Name or address of the server. Only the hub connects to it."""
    port: Annotated[Port, Change.LIVE] = 5432
    """Port of the server."""
    name: Annotated[DatabaseName, Change.IMMUTABLE]
    """Database; each service gets a schema and a role of its own in it."""
    admin_secret_ref: Annotated[SecretReference, Change.LIVE]
    """Secret with a user that may create schemas and roles, keys username and password."""
    ssl_mode: Annotated[Literal["disable", "require", "verify-full"], Change.LIVE] = "require"
    """disable: no TLS. require: TLS, the certificate is not checked. verify-full: it is checked
    against the public authorities, name included."""


class Drain(Shape):
    """How an edge that is to stop lets go of its miners."""

    linger_seconds: Annotated[
        int, Strict(), Field(ge=0, le=600), Change.ROLLING, Runtime.CLUSTER
    ] = 15
    """Time in which it still accepts connections, so that load balancers see that it leaves."""
    reconnect_seconds: Annotated[
        int, Strict(), Field(ge=0, le=3600), Change.ROLLING, Runtime.CLUSTER
    ] = 60
    """Time over which miners are then sent away, a part after the other."""
