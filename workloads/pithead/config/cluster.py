"""Answers for where the pods of a hub and its regions find what they need; pure.

Settings stand in ConfigMaps, so every secret in them is a `fromFile:` value: a
Secret is mounted at `/run/pithead/<Secret>/<key>`. The hub's pods mount the
Secrets that manifests name and those that the operator mints: `pithead-roles`
(passwords and URLs of databases) and `pithead-tls` (certificates of services).
An edge has one Secret, with copies of what it may know. What the wiring Jobs
are told is rendered here too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from pithead.config import (
    ClickHouseSettings,
    ColumnarSettings,
    DrainSettings,
    HealthSettings,
    IntakeSettings,
    KafkaSettings,
    LogSettings,
    NodeSettings,
    PeerSettings,
    RelayedRegion,
    RelaySettings,
    ReportSettings,
    ServeSettings,
    ServiceRole,
    SpoolSettings,
    TlsFiles,
    TopicSettings,
    WireAnalyticsSettings,
    WireDatabasesSettings,
    WireSchemesSettings,
    WireTopicsSettings,
    WireWalletSettings,
    unix_address,
)
from pithead.config.from_file import FROM_FILE
from pithead.config.places import RenderError, node_settings, nodes_of
from pithead.config.render import coin_settings, registrations
from pithead.log.topics import blocks_topic, kafka_topic, shares_topic
from pithead.manifests.backing import Database, Kafka, RegionStream
from pithead.manifests.base import SecretReference
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.objects import Credentials, Manifests
from pithead.manifests.pool import Listener, MiningPool
from pithead.manifests.region import Region

SECRETS = Path("/run/pithead")
ROLES = SECRETS / "pithead-roles"
TLS = SECRETS / "pithead-tls"
REGIONS = SECRETS / "pithead-regions"
"""Certificates of relays and their authority, which the hub keeps."""
POD_NAME = SECRETS / "pod" / "name"
"""A pod's own name, from the downward API."""
SCRATCH = Path("/tmp")  # noqa: S108 - of the pod alone
SPOOL = Path("/var/spool/pithead")
"""Of the pod; it outlives its containers."""

RPC_PORT = 9500
INTAKE_PORT = 9501
"""Where the share processor takes in what relays bring."""
INTAKE = "intake"
"""Whose certificate it shows there."""
EDGE_STATUS = "pithead-edge-status"
"""ConfigMap that edges report to."""
WITH_DATABASE = ("ledger", "payouts", "rewards", "shares")
WIRING = "wiring"
"""Whose certificate the schemes Job shows."""

PUBLIC_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""In the image: what certificates are checked against when no authority is named."""

BLOCKS_PARTITIONS = 1
"""Blocks are rare, and one partition keeps their order."""


def from_file(path: Path) -> str:
    """A text that stands for the content of a file."""
    return f"{FROM_FILE}{path}"


@dataclass(frozen=True)
class ClusterPlaces:
    """What the hub's pods find, and where; implements `Places`."""

    manifests: Manifests

    def database(self, service: str) -> str:
        """The URL that the operator minted."""
        return from_file(ROLES / f"{service}-url")

    def share_log(self) -> LogSettings:
        """Kafka, by the Secrets that the pools name."""
        return LogSettings(kafka=self.kafka())

    def kafka(self) -> KafkaSettings:
        """The Kafka of the hub's pools, which agree on it; raises RenderError without one."""
        kafka = _kafka(self.manifests.pools[0])
        authority = kafka.tls.ca_secret_ref if kafka.tls is not None else None
        login = kafka.credentials_secret_ref
        return _kafka_settings(
            kafka,
            ca=_mounted(authority, "ca.crt") if authority is not None else None,
            credentials=_credentials(login) if login is not None else None,
        )

    def columnar(self) -> ColumnarSettings | None:
        """The ClickHouse of the hub's pools, which agree on it; None without one."""
        analytics = self.manifests.pools[0].spec.analytics
        if analytics is None:
            return None
        login = _credentials(analytics.credentials_secret_ref)
        checked = analytics.ssl_mode == "verify-full"
        return ColumnarSettings(
            clickhouse=ClickHouseSettings(
                host=analytics.host,
                port=analytics.port,
                database=analytics.database,
                user=login.username,
                password=login.password,
                tls=analytics.ssl_mode != "disable",
                ca=PUBLIC_AUTHORITIES if checked else None,
            )
        )

    def intake(self) -> IntakeSettings | None:
        """Where relays push to, and which, by region; None when no region has its own log."""
        pools: dict[str, list[str]] = {}
        for pool in self.manifests.pools:
            for region in pool.spec.regions:
                if region.stream is not None:
                    pools.setdefault(region.id, []).append(pool.pool_id)
        if not pools:
            return None
        shown = _certificate(INTAKE)
        return IntakeSettings(
            serve=ServeSettings(
                address=f"0.0.0.0:{INTAKE_PORT}",
                # Relays have an authority of their own, so that none passes for a service.
                tls=TlsFiles(certificate=shown.certificate, key=shown.key, ca=REGIONS / "ca.crt"),
            ),
            regions=tuple(
                RelayedRegion(region=region, pools=tuple(pools[region])) for region in sorted(pools)
            ),
        )

    def serve(self, service: str) -> ServeSettings:
        """gRPC for the hub's pods; payouts are Jobs that nobody dials."""
        if service == "payouts":
            return ServeSettings(address=unix_address(SCRATCH / "payouts.sock"))
        return ServeSettings(address=f"0.0.0.0:{RPC_PORT}", tls=_certificate(service))

    def peer(self, service: str, client: str) -> PeerSettings:
        """The Service of another one."""
        return PeerSettings(
            address=f"pithead-{service}.{self.manifests.namespace}.svc:{RPC_PORT}",
            tls=_certificate(client),
        )

    def health(self) -> HealthSettings | None:
        """The port that probes ask."""
        return HealthSettings()

    def nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """The nodes by the users that edges have too."""
        _check_nodes(endpoint)
        return nodes_of(endpoint, lambda node: _credentials(node.credentials_secret_ref))

    def wallet_nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """The first main node by the wallet's user; raises RenderError without one."""
        _check_nodes(endpoint)
        reference = endpoint.spec.wallet.credentials_secret_ref
        if reference is None:
            raise RenderError(
                f"CoinEndpoint {endpoint.metadata.name}: spec.wallet.credentialsSecretRef is "
                "missing; in a cluster the wallet has an RPC user of its own"
            )
        main = next(node for node in endpoint.spec.nodes if node.role == "main")
        return (node_settings(main, _credentials(reference)),)


@dataclass(frozen=True)
class ClusterEdge:
    """What the edges of one pool in one region find, and where; implements `EdgePlaces`."""

    manifests: Manifests
    pool: MiningPool
    region: Region
    secret: str
    """Name of the Secret in the region's cluster with copies of nodes' and Kafka's."""

    @property
    def partition(self) -> str:
        """Kafka chooses one by the producer."""
        return ""

    def share_log(self) -> LogSettings:
        """The region's Kafka, or else the hub's, by the edge's own Secret."""
        kafka = edge_kafka(self.pool, self.region)
        return LogSettings(
            kafka=_copied_kafka(kafka, self.secret, login=kafka.credentials_secret_ref is not None),
            bytes_max=kafka.bytes_max,
        )

    def spool(self) -> SpoolSettings | None:
        """A volume of the pod, when the pool wants one."""
        stream = self.pool.spec.stream
        if stream.on_log_outage != "spool":
            return None
        return SpoolSettings(directory=SPOOL, bytes_max=stream.spool.bytes_max)

    def serve(self) -> ServeSettings:
        """A socket for those who are in the pod."""
        return ServeSettings(address=unix_address(SCRATCH / "edge.sock"))

    def health(self) -> HealthSettings | None:
        """The port that probes ask."""
        return HealthSettings()

    def nodes(self, endpoint: CoinEndpoint) -> tuple[NodeSettings, ...]:
        """The nodes by users that must not spend."""
        _check_nodes(endpoint)
        return nodes_of(endpoint, lambda node: self._login(f"node-{node.name}"))

    def host(self, listener: Listener) -> str:
        """Every address of the pod, whatever the manifest says of a machine's."""
        return "0.0.0.0"  # noqa: S104 - miners connect from anywhere

    def tls(self, listener: Listener) -> TlsFiles | None:
        """The region's own certificate of the listener."""
        if listener.tls is None:
            return None
        folder = SECRETS / listener.tls.secret_ref.name
        return TlsFiles(certificate=folder / "tls.crt", key=folder / "tls.key")

    def drain(self) -> DrainSettings:
        """As the pool says."""
        drain = self.pool.spec.drain
        return DrainSettings(
            linger_ms=drain.linger_seconds * 1000, reconnect_ms=drain.reconnect_seconds * 1000
        )

    def report(self) -> ReportSettings | None:
        """The ConfigMap of all edges of the namespace, under the pod's own name."""
        return ReportSettings(
            namespace=self.manifests.namespace, config_map=EDGE_STATUS, key=from_file(POD_NAME)
        )

    def _login(self, what: str) -> Credentials:
        return _copied_login(self.secret, what)


def wire_databases(manifests: Manifests, usernames: Mapping[str, str]) -> WireDatabasesSettings:
    """What the databases Job is told; `usernames` are the services' roles."""
    database = manifests.pools[0].spec.database
    if database is None:
        raise RenderError(_missing(manifests.pools[0], "spec.database"))
    admin = _credentials(database.admin_secret_ref)
    return WireDatabasesSettings(
        admin_url=_database_address(database),
        username=admin.username,
        password=admin.password,
        services=tuple(
            ServiceRole(
                service=service,
                username=usernames[service],
                password=from_file(ROLES / f"{service}-password"),
            )
            for service in WITH_DATABASE
        ),
    )


def edge_kafka(pool: MiningPool, region: Region) -> Kafka:
    """The Kafka that edges of a region write to: its own, or the hub's; raises RenderError."""
    return region.stream.kafka if region.stream is not None else _kafka(pool)


def relay_settings(pool: MiningPool, region: Region, secret: str, hub: str) -> RelaySettings:
    """The relay of a pool's region that has a log of its own.

    `secret` names its Secret, with copies of Kafka's login, the relay's certificate and the hub's
    authority; `hub` is the host by which the region reaches the intake. Raises RenderError.
    """
    own = _own_stream(region)
    folder = SECRETS / secret
    host = f"[{hub}]" if ":" in hub else hub
    return RelaySettings(
        region=region.id,
        pools=(pool.pool_id,),
        log=LogSettings(kafka=_copied_kafka(own.kafka, secret, login=_relay_login(own))),
        hub=PeerSettings(
            address=f"{host}:{INTAKE_PORT}",
            tls=TlsFiles(
                certificate=folder / "relay.crt", key=folder / "relay.key", ca=folder / "hub-ca.crt"
            ),
        ),
        bound_bytes=own.kafka.bytes_max or 0,
        health=HealthSettings(),
    )


def wire_region_topics(pool: MiningPool, region: Region, secret: str) -> WireTopicsSettings:
    """What the topics Job of a region with a log of its own is told; `secret` is the relay's."""
    own = _own_stream(region)
    return WireTopicsSettings(
        kafka=_copied_kafka(own.kafka, secret, login=_relay_login(own)),
        topics=_topics(pool, own.kafka),
    )


def _own_stream(region: Region) -> RegionStream:
    if region.stream is None:
        raise RenderError(f"region {region.id} has no stream of its own")
    return region.stream


def _relay_login(own: RegionStream) -> bool:
    given = (own.relay_credentials_secret_ref, own.kafka.credentials_secret_ref)
    return any(each is not None for each in given)


def wire_topics(manifests: Manifests) -> WireTopicsSettings:
    """What the topics Job is told: two topics a pool, in the order of the pools."""
    topics = [each for pool in manifests.pools for each in _topics(pool, _kafka(pool))]
    return WireTopicsSettings(kafka=ClusterPlaces(manifests).kafka(), topics=tuple(topics))


def _topics(pool: MiningPool, kafka: Kafka) -> tuple[TopicSettings, ...]:
    return (
        TopicSettings(
            name=kafka_topic(shares_topic(pool.pool_id)),
            partitions=kafka.partitions,
            replicas=kafka.replicas,
        ),
        TopicSettings(
            name=kafka_topic(blocks_topic(pool.pool_id)),
            partitions=BLOCKS_PARTITIONS,
            replicas=kafka.replicas,
        ),
    )


def wire_analytics(manifests: Manifests) -> WireAnalyticsSettings | None:
    """What the analytics Job is told; None without a columnar database."""
    store = ClusterPlaces(manifests).columnar()
    return WireAnalyticsSettings(store=store) if store is not None else None


def wire_wallet(manifests: Manifests, endpoint: str) -> WireWalletSettings:
    """What the wallet Job of a CoinEndpoint is told."""
    places = ClusterPlaces(manifests)
    found = manifests.endpoints[endpoint]
    return WireWalletSettings(
        database=places.database("payouts"),
        coin=coin_settings(found, places.wallet_nodes(found)),
    )


def wire_schemes(manifests: Manifests) -> WireSchemesSettings:
    """What the schemes Job is told."""
    return WireSchemesSettings(
        rewards=ClusterPlaces(manifests).peer("rewards", client=WIRING),
        pools=registrations(manifests),
    )


def database_url(database: Database, username: str, password: str) -> str:
    """SQLAlchemy URL by which a role reaches a database."""
    return _database_address(database, f"{quote(username, safe='')}:{quote(password, safe='')}@")


def _database_address(database: Database, login: str = "") -> str:
    host = f"[{database.host}]" if ":" in database.host else database.host
    query: dict[str, str] = {"sslmode": database.ssl_mode}
    if database.ssl_mode == "verify-full":
        query["sslrootcert"] = str(PUBLIC_AUTHORITIES)
    return (
        f"postgresql+asyncpg://{login}{host}:{database.port}/{quote(database.name, safe='')}"
        f"?{urlencode(query, safe='/')}"
    )


def _kafka(pool: MiningPool) -> Kafka:
    kafka = pool.spec.stream.kafka
    if kafka is None:
        raise RenderError(_missing(pool, "spec.stream.kafka"))
    return kafka


def _kafka_settings(
    kafka: Kafka, *, ca: Path | None, credentials: Credentials | None
) -> KafkaSettings:
    if kafka.tls is not None and ca is None:
        ca = PUBLIC_AUTHORITIES
    return KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        ca=ca,
        username=credentials.username if credentials is not None else "",
        password=credentials.password if credentials is not None else "",
    )


def _copied_kafka(kafka: Kafka, secret: str, *, login: bool) -> KafkaSettings:
    """Kafka as it is reached with a Secret that holds copies."""
    authority = kafka.tls is not None and kafka.tls.ca_secret_ref is not None
    return _kafka_settings(
        kafka,
        ca=SECRETS / secret / "kafka-ca.crt" if authority else None,
        credentials=_copied_login(secret, "kafka") if login else None,
    )


def _copied_login(secret: str, what: str) -> Credentials:
    folder = SECRETS / secret
    return Credentials(
        from_file(folder / f"{what}-username"), from_file(folder / f"{what}-password")
    )


def _check_nodes(endpoint: CoinEndpoint) -> None:
    if not endpoint.spec.nodes:
        raise RenderError(
            f"CoinEndpoint {endpoint.metadata.name}: spec.nodes is empty; the built-in node runs "
            "on one machine only"
        )


def _missing(pool: MiningPool, field: str) -> str:
    return f"MiningPool {pool.metadata.name}: {field} is missing; a cluster needs it"


def _certificate(who: str) -> TlsFiles:
    return TlsFiles(certificate=TLS / f"{who}.crt", key=TLS / f"{who}.key", ca=TLS / "ca.crt")


def _credentials(reference: SecretReference) -> Credentials:
    return Credentials(
        from_file(_mounted(reference, "username")), from_file(_mounted(reference, "password"))
    )


def _mounted(reference: SecretReference, key: str) -> Path:
    return SECRETS / reference.name / key
