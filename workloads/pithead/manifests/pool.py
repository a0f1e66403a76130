"""Answers for the MiningPool kind: who mines what, where, and how it is paid."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from pithead.manifests.amounts import difficulty
from pithead.manifests.backing import Analytics, Database, Drain, Relay, Stream
from pithead.manifests.base import (
    API_VERSION,
    Metadata,
    Path,
    Reference,
    Rule,
    SecretReference,
    Shape,
)
from pithead.manifests.conditions import Conditions
from pithead.manifests.fields import (
    Change,
    CoinAmount,
    Count,
    CronSchedule,
    Difficulty,
    Generation,
    Host,
    ListenerName,
    Name,
    PoolId,
    Port,
    Runtime,
    ShortText,
    Switch,
)
from pithead.manifests.region import Region, RegionStatus

RESERVED_PORTS = (9400, 9500)
"""Health and gRPC of every pod of ours."""
RESERVED_LISTENERS = ("health", "metrics")
"""Names of ports that every edge has besides its listeners."""
EDGE_NAME_MAX = 54
"""Characters of `<pool>` and `<region>` in the Service `<pool>-<region>-stratum`, at most 63."""

DEMO_MINERS = "pithead.dev/demo-miners"
"""Annotation: hash rates of built-in demo miners, which only `pithead up` starts."""


class OfferedScheme(Shape):
    """A RewardScheme of the same namespace that miners of the pool may use."""

    LIST_KEY = "name"

    name: Annotated[Name, Change.IMMUTABLE]
    """Name of the RewardScheme."""


class DifficultyBounds(Shape):
    """Share difficulty of a listener, as miners see it."""

    start: Annotated[Difficulty, Change.ROLLING]
    """Difficulty of a new connection."""
    min: Annotated[Difficulty, Change.ROLLING]
    """The lowest difficulty that vardiff gives."""
    max: Annotated[Difficulty, Change.ROLLING]
    """The highest difficulty that vardiff gives."""

    @staticmethod
    def _out_of_order(bounds: "DifficultyBounds") -> Iterator[Path]:
        start = difficulty(bounds.start)
        if start < difficulty(bounds.min) or start > difficulty(bounds.max):
            yield ("start",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "double(self.min) <= double(self.start) && double(self.start) <= double(self.max)",
            "the start is outside of min and max; min <= start <= max holds",
            "start",
            _out_of_order,
        ),
    )


class ListenerTls(Shape):
    """The certificate of a listener."""

    secret_ref: SecretReference
    """Secret of type kubernetes.io/tls in the namespace of each region; it is not copied there."""


class Listener(Shape):
    """One stratum port."""

    LIST_KEY = "name"
    LATER = frozenset({"proxyProtocol"})

    name: Annotated[ListenerName, Change.IMMUTABLE]
    """Name of the listener in status and logs."""
    port: Annotated[Port, Change.ROLLING]
    """TCP port."""
    host: Annotated[Host, Change.ROLLING, Runtime.MACHINE] = "0.0.0.0"  # noqa: S104 - for all
    """Address that the port is opened on."""
    tls: Annotated[ListenerTls | None, Change.ROLLING, Runtime.CLUSTER] = None
    """TLS on this port; absent: none. `pithead up` serves the port without TLS."""
    scheme: Annotated[Name | None, Change.ROLLING] = None
    """Scheme of connections here, one of spec.schemes; when absent, the pool's default."""
    difficulty: DifficultyBounds
    """Share difficulty."""

    @staticmethod
    def _no_address(listener: "Listener") -> Iterator[Path]:
        try:
            ipaddress.ip_address(listener.host)
        except ValueError:
            yield ("host",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "isIP(self.host)",
            "this is no address; expected an IPv4 or IPv6 address of this machine, such as "
            "0.0.0.0 or 127.0.0.1",
            "host",
            _no_address,
        ),
    )


class Vardiff(Shape):
    """How fast a connection should send shares."""

    share_interval_seconds: Annotated[int, Strict(), Field(ge=1, le=600), Change.ROLLING] = 5
    """Wanted time between two shares of a connection."""
    retarget_interval_seconds: Annotated[int, Strict(), Field(ge=1, le=3600), Change.ROLLING] = 60
    """Time between two looks at a connection's rate."""
    variance_percent: Annotated[int, Strict(), Field(ge=1, le=90), Change.ROLLING] = 40
    """Difference from the wanted rate that is left alone."""


class Limits(Shape):
    """Bounds of one edge process that keep one miner from harming others."""

    connections_max: Annotated[int, Strict(), Field(ge=1, le=1_000_000), Change.ROLLING] = 20_000
    """Connections of one edge; further ones are closed at once."""
    line_bytes_max: Annotated[int, Strict(), Field(ge=512, le=65_536), Change.ROLLING] = 8192
    """Length of one message from a miner."""
    subscribe_timeout_seconds: Annotated[int, Strict(), Field(ge=1, le=600), Change.ROLLING] = 15
    """Time in which a connection must have subscribed and authorised."""
    idle_timeout_seconds: Annotated[int, Strict(), Field(ge=10, le=86_400), Change.ROLLING] = 900
    """Silence after which a connection is closed."""


class Bans(Shape):
    """When an address is shut out, and for how long."""

    garbage_lines_max: Annotated[int, Strict(), Field(ge=1, le=1000), Change.ROLLING] = 3
    """Unparseable lines after which a connection is closed."""
    invalid_percent: Annotated[int, Strict(), Field(ge=1, le=100), Change.ROLLING] = 50
    """Part of invalid submits, of the last submitsWindow, that bans an address."""
    submits_window: Annotated[int, Strict(), Field(ge=10, le=100_000), Change.ROLLING] = 200
    """Submits over which invalidPercent is taken."""
    duration_seconds: Annotated[int, Strict(), Field(ge=1, le=604_800), Change.ROLLING] = 600
    """Length of a ban."""


class Payouts(Shape):
    """When and what is paid. Pools on one CoinEndpoint share its wallet, so theirs are equal."""

    LATER = frozenset({"feePolicy", "approvalLimit"})

    interval_seconds: Annotated[
        int, Strict(), Field(ge=1, le=2_592_000), Change.LIVE, Runtime.MACHINE
    ] = 3600
    """Time between two payout runs on one machine."""
    schedule: Annotated[CronSchedule, Change.LIVE, Runtime.CLUSTER] = "0 * * * *"
    """When payouts run in a cluster, UTC: minute, hour, day, month, day of the week (0: Sunday)."""
    threshold: Annotated[CoinAmount, Change.LIVE]
    """Coins below which a balance waits; at least the coin's dust limit."""
    paused: Annotated[Switch, Change.LIVE] = False
    """true: no new payout is made; one that was signed is still carried to its end."""
    payments_max: Annotated[int, Strict(), Field(ge=1, le=2000), Change.LIVE] = 500
    """Payees in one transaction."""
    fee_rate_per_vbyte: Annotated[int, Strict(), Field(ge=1, le=100_000), Change.LIVE] = 10
    """Network fee of a payout, base units per virtual byte; the pool bears it."""

    @staticmethod
    def _backwards(payouts: "Payouts") -> Iterator[Path]:
        items = payouts.schedule.replace(" ", ",").split(",")
        ranges = [item.partition("/")[0].split("-") for item in items if "-" in item]
        if any(int(first) > int(last) for first, last in ranges):
            yield ("schedule",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.schedule.split(' ').all(f, f.split(',').all(i, !i.contains('-') || "
            "int(i.split('-')[0]) <= int(i.split('-')[1].split('/')[0])))",
            "a range of the schedule ends before it begins; write it as two",
            "schedule",
            _backwards,
        ),
    )


class MiningPoolSpec(Shape):
    """What is wanted of a pool."""

    LATER = frozenset({"auxEndpointRefs", "autoscaling"})

    pool_id: Annotated[PoolId | None, Change.IMMUTABLE] = None
    """Id that log, cells and ledger carry; when absent, namespace.name."""
    coin_endpoint_ref: Annotated[Reference, Change.IMMUTABLE]
    """The CoinEndpoint that the pool mines on."""
    schemes: Annotated[
        tuple[OfferedScheme, ...], Field(min_length=1, max_length=16), Change.ROLLING
    ]
    """RewardSchemes that the pool offers."""
    default_scheme: Annotated[Name | None, Change.ROLLING] = None
    """Scheme of listeners that name none; may be absent when only one is offered."""
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1, max_length=16), Change.ROLLING]
    """Stratum ports, the same in every region."""
    vardiff: Vardiff = Field(default_factory=Vardiff)
    """How fast a connection should send shares."""
    limits: Limits = Field(default_factory=Limits)
    """Bounds of one edge process."""
    bans: Bans = Field(default_factory=Bans)
    """When an address is shut out."""
    regions: Annotated[tuple[Region, ...], Field(min_length=1, max_length=32), Change.ROLLING]
    """Places with edges."""
    payouts: Payouts
    """When and what is paid."""
    stream: Annotated[Stream, Runtime.CLUSTER] = Field(default_factory=Stream)
    """Where edges write shares and blocks."""
    database: Annotated[Database | None, Change.LIVE, Runtime.CLUSTER] = None
    """The PostgreSQL of the hub; required in a cluster."""
    analytics: Annotated[Analytics | None, Change.LIVE, Runtime.CLUSTER] = None
    """The ClickHouse of the hub; absent: no charts in a cluster. `pithead up` has its own."""
    relay: Annotated[Relay, Runtime.CLUSTER] = Field(default_factory=Relay)
    """How relays reach the hub. Pools of one namespace share it, so theirs are equal."""
    drain: Annotated[Drain, Runtime.CLUSTER] = Field(default_factory=Drain)
    """How an edge that is to stop lets go of its miners."""

    @property
    def default_scheme_name(self) -> str:
        """The default scheme, given or the only one."""
        return self.default_scheme or self.schemes[0].name

    @staticmethod
    def _default_missing(spec: "MiningPoolSpec") -> Iterator[Path]:
        if spec.default_scheme is None and len(spec.schemes) != 1:
            yield ("defaultScheme",)

    @staticmethod
    def _default_unknown(spec: "MiningPoolSpec") -> Iterator[Path]:
        offered = {scheme.name for scheme in spec.schemes}
        if spec.default_scheme is not None and spec.default_scheme not in offered:
            yield ("defaultScheme",)

    @staticmethod
    def _listener_scheme_unknown(spec: "MiningPoolSpec") -> Iterator[Path]:
        offered = {scheme.name for scheme in spec.schemes}
        for index, listener in enumerate(spec.listeners):
            if listener.scheme is not None and listener.scheme not in offered:
                yield ("listeners", index, "scheme")

    @staticmethod
    def _port_repeated(spec: "MiningPoolSpec") -> Iterator[Path]:
        ports = [listener.port for listener in spec.listeners]
        for index, port in enumerate(ports):
            if port in ports[:index]:
                yield ("listeners", index, "port")

    @staticmethod
    def _port_reserved(spec: "MiningPoolSpec") -> Iterator[Path]:
        for index, listener in enumerate(spec.listeners):
            if listener.port in RESERVED_PORTS:
                yield ("listeners", index, "port")

    @staticmethod
    def _listener_reserved(spec: "MiningPoolSpec") -> Iterator[Path]:
        for index, listener in enumerate(spec.listeners):
            if listener.name in RESERVED_LISTENERS:
                yield ("listeners", index, "name")

    @staticmethod
    def _partitions_beyond(spec: "MiningPoolSpec") -> Iterator[Path]:
        kafka = spec.stream.kafka
        for index, region in enumerate(spec.regions):
            own = region.stream
            if own is not None and kafka is not None and own.kafka.partitions > kafka.partitions:
                yield ("regions", index, "stream", "kafka", "partitions")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.defaultScheme) || size(self.schemes) == 1",
            "is missing; with several schemes, one of spec.schemes is the default",
            "defaultScheme",
            _default_missing,
        ),
        Rule(
            "!has(self.defaultScheme) || self.schemes.exists(s, s.name == self.defaultScheme)",
            "the scheme is not offered; it is one of spec.schemes",
            "defaultScheme",
            _default_unknown,
        ),
        Rule(
            "self.listeners.all(l, !has(l.scheme) || self.schemes.exists(s, s.name == l.scheme))",
            "the scheme of a listener is not offered; it is one of spec.schemes",
            "listeners",
            _listener_scheme_unknown,
        ),
        Rule(
            "self.listeners.all(l, self.listeners.exists_one(m, m.port == l.port))",
            "two listeners have this port; each has one of its own",
            "listeners",
            _port_repeated,
        ),
        Rule(
            "self.listeners.all(l, !(l.port in [9400, 9500]))",
            "the ports 9400 and 9500 are those of health and gRPC; give the listener another",
            "listeners",
            _port_reserved,
        ),
        Rule(
            "self.listeners.all(l, !(l.name in ['health', 'metrics']))",
            "the names health and metrics are those of other ports; give the listener another",
            "listeners",
            _listener_reserved,
        ),
        Rule(
            "!has(self.stream.kafka) || self.regions.all(r, !has(r.stream) || "
            "r.stream.kafka.partitions <= self.stream.kafka.partitions)",
            "the region has more partitions than spec.stream.kafka, and a record keeps its "
            "partition; raise the latter first",
            "regions",
            _partitions_beyond,
        ),
    )


class MiningPoolStatus(Shape):
    """What was last observed."""

    observed_generation: Generation = 0
    """Generation of the spec that was observed."""
    pool_id: PoolId | None = None
    """Id that log, cells and ledger carry."""
    regions_ready: ShortText = ""
    """Active regions with all their edges ready, of all active ones, such as 2/3."""
    connections: Count = 0
    """Connections of all regions."""
    hashrate: ShortText = ""
    """Hash rate of all regions, such as 1.23 GH/s."""
    regions: Annotated[tuple[RegionStatus, ...], Field(max_length=32)] = ()
    """What was last seen of each region."""
    conditions: Conditions = ()
    """Ready, Reconciling, Stalled, StreamReady, PayoutsReady, and AnalyticsReady with analytics."""


class MiningPool(Shape):
    """A mining pool: a coin, the schemes it offers, its ports, regions and payouts."""

    api_version: Literal["pithead.dev/v1alpha1"] = API_VERSION
    """pithead.dev/v1alpha1."""
    kind: Literal["MiningPool"] = "MiningPool"
    """MiningPool."""
    metadata: Metadata
    """Name and namespace."""
    spec: MiningPoolSpec
    """What is wanted."""
    status: MiningPoolStatus | None = None
    """What was last observed; written by Pithead."""

    @property
    def pool_id(self) -> str:
        """Id that log, cells and ledger carry."""
        return self.spec.pool_id or f"{self.metadata.namespace}.{self.metadata.name}"

    @property
    def local_regions(self) -> tuple[Region, ...]:
        """The regions that one machine runs: active, and bound to no other cluster."""
        return tuple(
            region
            for region in self.spec.regions
            if region.state == "Active" and region.cluster is None
        )

    @staticmethod
    def _names_too_long(pool: "MiningPool") -> Iterator[Path]:
        for index, region in enumerate(pool.spec.regions):
            if len(pool.metadata.name) + len(region.id) > EDGE_NAME_MAX:
                yield ("spec", "regions", index, "id")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.spec.regions.all(r, size(self.metadata.name) + size(r.id) <= {EDGE_NAME_MAX})",
            f"the names of pool and region hold more than {EDGE_NAME_MAX} characters together; "
            "objects named after both would not fit",
            "spec.regions",
            _names_too_long,
        ),
    )
