"""Answers for what a pool stands on in a cluster: its Kafka and its PostgreSQL.

`pithead up` has a log and databases of its own and ignores all of it.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from pithead.manifests.base import Path, Rule, SecretReference, Shape
from pithead.manifests.fields import (
    ONLY_GROWS,
    Change,
    DatabaseName,
    HostPort,
    Port,
    Runtime,
    ServerName,
)


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
    bytes_max: Annotated[int | None, Strict(), Field(ge=2**20, le=2**60), Change.LIVE] = None
    """Bytes beyond which edges refuse new shares. Comes with a later release; until then a topic
    keeps all that accounting has not read, however much it is."""

    @staticmethod
    def _bounded(kafka: "Kafka") -> Iterator[Path]:
        if kafka.bytes_max is not None:
            yield ("bytesMax",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.bytesMax)",
            "a bound in bytes comes with a later release; remove it",
            "bytesMax",
            _bounded,
        ),
    )


class Stream(Shape):
    """Where edges write shares and blocks. Pools of one namespace share it, so theirs are equal."""

    kafka: Annotated[Kafka | None, Change.ROLLING] = None
    """The Kafka cluster; required in a cluster."""
    on_log_outage: Annotated[Literal["reject", "spool"], Change.ROLLING] = "reject"
    """reject: while Kafka is away, shares are refused and miners are sent elsewhere. spool comes
    with a later release."""

    @staticmethod
    def _spool(stream: "Stream") -> Iterator[Path]:
        if stream.on_log_outage == "spool":
            yield ("onLogOutage",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # The API server judges the default of the whole structure, {}, before it fills it.
            "!has(self.onLogOutage) || self.onLogOutage == 'reject'",
            "spool comes with a later release; expected reject",
            "onLogOutage",
            _spool,
        ),
    )


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
