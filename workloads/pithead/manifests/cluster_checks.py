"""Answers for what the objects of one namespace must keep together in a cluster.

Beside `check_common`: every pool has a Kafka and a PostgreSQL, pools of one
namespace share theirs, each Secret is there with its keys, no login that spends
or owns the database goes out to regions, addresses mean something outside of one
pod, and no two objects of ours get one name. Pools are judged in the order given, oldest first:
of two that disagree, the younger one is wrong, so that a new pool never stops
an old one. TLS Secrets of listeners live in the regions and are not looked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from urllib.parse import urlsplit

from pithead.manifests.backing import Kafka
from pithead.manifests.base import Path, SecretReference, Shape
from pithead.manifests.checks import CONFLICT, check_common
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.errors import Problem
from pithead.manifests.objects import Located, Objects
from pithead.manifests.pool import MiningPool, MiningPoolSpec

SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, not a secret
"""Reason of a problem: a Secret, or a key of it, is not there."""

OWNER_LENGTH_MAX = 63
"""Of the label `<namespace>.<pool>` that everything made for a pool carries."""

VALUE_LENGTH_MAX = 1024
FILE_MARK = "fromFile:"
"""What process settings begin with when they name a file instead of a value."""

USER = ("username", "password")


Texts = Mapping[str, Mapping[str, str]]
"""The texts of Secrets, by name and key."""


@dataclass(frozen=True)
class SecretUse:
    """A Secret that an object refers to, and the keys that it needs in it."""

    owner: Located[CoinEndpoint] | Located[MiningPool]
    path: Path
    name: str
    keys: tuple[str, ...]


def check_cluster(objects: Objects) -> list[Problem]:
    """Every problem between the objects of one namespace of the hub."""
    secrets = {each.name: each.value.values for each in objects.secrets}
    return [
        *check_common(objects),
        *chain.from_iterable(_endpoint(each) for each in objects.endpoints),
        *chain.from_iterable(_pool(each) for each in objects.pools),
        *_shared(objects),
        *_names(objects),
        *chain.from_iterable(_secret(each, secrets) for each in secret_uses(objects)),
        *chain.from_iterable(_wallet_user(each, secrets) for each in objects.endpoints),
        *_other_wallets(objects.endpoints, secrets),
        *_sent_out(objects, secrets),
    ]


def secret_uses(objects: Objects) -> Iterator[SecretUse]:
    """Every Secret of the hub that an object refers to."""
    for endpoint in objects.endpoints:
        coin = endpoint.value.spec
        for index, node in enumerate(coin.nodes):
            yield _use(endpoint, ("nodes", index), node.credentials_secret_ref, USER)
        if coin.wallet.credentials_secret_ref is not None:
            yield _use(endpoint, ("wallet",), coin.wallet.credentials_secret_ref, USER)
    for pool in objects.pools:
        spec = pool.value.spec
        if spec.stream.kafka is not None:
            yield from _kafka_uses(pool, spec.stream.kafka, ("stream", "kafka"))
        for index, region in enumerate(spec.regions):
            if region.stream is None:
                continue
            at: Path = ("regions", index, "stream")
            yield from _kafka_uses(pool, region.stream.kafka, (*at, "kafka"))
            if (relay := region.stream.relay_credentials_secret_ref) is not None:
                yield _use(pool, at, relay, USER, "relayCredentialsSecretRef")
        if spec.database is not None:
            admin = spec.database.admin_secret_ref
            yield _use(pool, ("database",), admin, USER, "adminSecretRef")
        if spec.analytics is not None:
            yield _use(pool, ("analytics",), spec.analytics.credentials_secret_ref, USER)


def _kafka_uses(pool: Located[MiningPool], kafka: Kafka, at: Path) -> Iterator[SecretUse]:
    if kafka.credentials_secret_ref is not None:
        yield _use(pool, at, kafka.credentials_secret_ref, USER)
    if kafka.tls is not None and kafka.tls.ca_secret_ref is not None:
        yield _use(pool, (*at, "tls"), kafka.tls.ca_secret_ref, ("ca.crt",), "caSecretRef")


def _use(
    owner: Located[CoinEndpoint] | Located[MiningPool],
    at: Path,
    reference: SecretReference,
    keys: tuple[str, ...],
    field: str = "credentialsSecretRef",
) -> SecretUse:
    return SecretUse(owner, ("spec", *at, field, "name"), reference.name, keys)


def _endpoint(each: Located[CoinEndpoint]) -> Iterator[Problem]:
    spec = each.value.spec
    if not spec.nodes:
        yield each.problem(
            ("spec", "nodes"), "no node is given; the built-in one runs on one machine only"
        )
    for index, node in enumerate(spec.nodes):
        if _is_loopback(urlsplit(node.url).hostname):
            yield each.problem(("spec", "nodes", index, "url"), _loopback(node.url))
    if spec.nodes and spec.wallet.credentials_secret_ref is None:
        yield each.problem(
            ("spec", "wallet", "credentialsSecretRef"),
            "is missing; the users of nodes go to every region and must not spend: give the "
            "wallet one of its own",
        )


def _pool(each: Located[MiningPool]) -> Iterator[Problem]:
    spec = each.value.spec
    kafka = spec.stream.kafka
    if kafka is None:
        where: Path = ("spec", "stream", "kafka")
        yield each.problem(where, "is missing; in a cluster shares go through Kafka")
    else:
        yield from _brokers(each, kafka, ("spec", "stream", "kafka"))
    for index, region in enumerate(spec.regions):
        if region.stream is not None:
            where = ("spec", "regions", index, "stream", "kafka")
            yield from _brokers(each, region.stream.kafka, where)
    if spec.analytics is not None and _is_loopback(spec.analytics.host):
        yield each.problem(("spec", "analytics", "host"), _loopback(spec.analytics.host))
    if spec.database is None:
        where = ("spec", "database")
        yield each.problem(where, "is missing; in a cluster the hub keeps its books in PostgreSQL")
    elif _is_loopback(spec.database.host):
        yield each.problem(("spec", "database", "host"), _loopback(spec.database.host))
    owner = f"{each.namespace}.{each.name}"
    if len(owner) > OWNER_LENGTH_MAX:
        yield each.problem(
            ("metadata", "name"),
            f"namespace and name hold {len(owner)} characters with the dot between; a label of "
            f"at most {OWNER_LENGTH_MAX} is made of them: give a shorter name",
        )


def _brokers(each: Located[MiningPool], kafka: Kafka, at: Path) -> Iterator[Problem]:
    for index, server in enumerate(kafka.bootstrap_servers):
        if _is_loopback(urlsplit(f"//{server}").hostname):
            yield each.problem((*at, "bootstrapServers", index), _loopback(server))


def _is_loopback(host: str | None) -> bool:
    return host is not None and (host in ("localhost", "::1") or host.startswith("127."))


def _loopback(shown: str) -> str:
    return f"{shown} is the pod itself; expected an address that pods of the cluster reach"


def _shared(objects: Objects) -> Iterator[Problem]:
    """Pools of one namespace have one hub, so one Kafka, database, ClickHouse and door for relays.

    A pool without either has a problem of its own and is nobody's measure.
    """
    complete = [each for each in objects.pools if _has_both(each.value)]
    for each in complete[1:]:
        first = complete[0]
        for name in ("stream", "database", "analytics", "relay"):
            ours: Shape | None = getattr(each.value.spec, name)
            theirs: Shape | None = getattr(first.value.spec, name)
            for path in _differences(ours, theirs, (name,)):
                yield each.problem(
                    ("spec", *path),
                    f"differs from that of {first.named}; the pools of a namespace share one "
                    f"{name}: give the same, or use another namespace",
                    CONFLICT,
                )


def _has_both(pool: MiningPool) -> bool:
    return pool.spec.stream.kafka is not None and pool.spec.database is not None


def _differences(ours: object, theirs: object, path: Path) -> Iterator[Path]:
    """The innermost fields that differ."""
    if ours == theirs:
        return
    if isinstance(ours, Shape) and isinstance(theirs, Shape):
        for name, field in type(ours).model_fields.items():
            here = (*path, field.alias or name)
            yield from _differences(getattr(ours, name), getattr(theirs, name), here)
    else:
        yield path


def _names(objects: Objects) -> Iterator[Problem]:
    """Find pools and regions whose names run together to one: a-b of c, and a of b-c."""
    hub = "pithead-hub"
    seen: dict[str, Located[MiningPool]] = {}
    for each in objects.pools:
        for index, region in enumerate(each.value.spec.regions):
            name = f"{each.name}-{region.id}"
            first = seen.setdefault(name, each)
            if first.label != each.label or name == hub:
                whose = "the hub" if name == hub else first.named
                yield each.problem(
                    ("spec", "regions", index, "id"),
                    f"the objects of {whose} begin with {name} too; give the pool or the region "
                    "another name",
                    CONFLICT,
                )


def _secret(use: SecretUse, secrets: Texts) -> Iterator[Problem]:
    expected = " and ".join(use.keys)
    if use.name not in secrets:
        yield use.owner.problem(
            use.path,
            f"there is no Secret {use.name} in namespace {use.owner.namespace}; create it with "
            f"{expected}",
            SECRET_MISSING,
        )
        return
    for key in use.keys:
        value = secrets[use.name].get(key)
        if value is None:
            what = f"Secret {use.name} has no text under {key}; expected {expected}"
            yield use.owner.problem(use.path, what, SECRET_MISSING)
        elif fault := _fault(key, value, use):
            yield use.owner.problem(use.path, f"{key} of Secret {use.name} {fault}")


def _fault(key: str, value: str, use: SecretUse) -> str:
    """What is wrong with a value, which is never shown; empty when nothing is."""
    if key == "ca.crt":
        good = "-----BEGIN CERTIFICATE-----" in value
        return "" if good else "is no certificate; expected one or more in PEM"
    if not value or len(value) > VALUE_LENGTH_MAX or not value.isprintable():
        return f"is not allowed; expected 1 to {VALUE_LENGTH_MAX} printable characters in one line"
    if value.startswith(FILE_MARK):
        return f"begins with {FILE_MARK}, which settings would take for a file; give another"
    if key == "username" and ":" in value and isinstance(use.owner.value, CoinEndpoint):
        return "holds a colon, which HTTP basic authentication does not allow; give another"
    return ""


def _wallet_user(each: Located[CoinEndpoint], secrets: Texts) -> Iterator[Problem]:
    wallet = each.value.spec.wallet.credentials_secret_ref
    user = secrets.get(wallet.name, {}).get("username") if wallet is not None else None
    if wallet is None or user is None:
        return
    for node in each.value.spec.nodes:
        if secrets.get(node.credentials_secret_ref.name, {}).get("username") == user:
            yield each.problem(
                ("spec", "wallet", "credentialsSecretRef", "name"),
                f"Secret {wallet.name} names the user of node {node.name}, which goes to every "
                "region and must not spend; give the wallet a user of its own",
                CONFLICT,
            )


def _other_wallets(endpoints: list[Located[CoinEndpoint]], secrets: Texts) -> Iterator[Problem]:
    """Find nodes that are dialled with the wallet login of another endpoint; the younger is wrong.

    Both may be one daemon's, and what nodes use goes to every region.
    """
    for index, each in enumerate(endpoints):
        for other in endpoints[:index]:
            wallet = other.value.spec.wallet.credentials_secret_ref
            for place, node in enumerate(each.value.spec.nodes):
                if _same_login(node.credentials_secret_ref, wallet, secrets):
                    yield each.problem(
                        ("spec", "nodes", place, "credentialsSecretRef", "name"),
                        f"Secret {node.credentials_secret_ref.name} holds the login of the wallet "
                        f"of {other.named}, and what nodes use goes to every region; give the "
                        "node a user of its own",
                        CONFLICT,
                    )
            ours = each.value.spec.wallet.credentials_secret_ref
            for node in other.value.spec.nodes:
                if _same_login(node.credentials_secret_ref, ours, secrets):
                    yield each.problem(
                        ("spec", "wallet", "credentialsSecretRef", "name"),
                        f"it is the login of node {node.name} of {other.named}, which goes to "
                        "every region and must not spend; give the wallet a user of its own",
                        CONFLICT,
                    )


def _sent_out(objects: Objects, secrets: Texts) -> Iterator[Problem]:
    """Find pools whose regions would be given a login that spends or holds what the hub knows."""
    endpoints = {each.name: each.value.spec for each in objects.endpoints}
    for pool in objects.pools:
        spec = pool.value.spec
        endpoint = endpoints.get(spec.coin_endpoint_ref.name)
        kept = [
            (endpoint.wallet.credentials_secret_ref if endpoint is not None else None, "the wallet")
        ]
        if spec.database is not None:
            kept.append((spec.database.admin_secret_ref, "the database's administrator"))
        if spec.analytics is not None:
            kept.append((spec.analytics.credentials_secret_ref, "the hub's ClickHouse"))
        for login, at, what in _dialled_by_regions(spec):
            for other, whose in kept:
                if _same_login(login, other, secrets):
                    yield pool.problem(
                        ("spec", *at, "name"),
                        f"it is the login of {whose} too, and what {what} is dialled with goes to "
                        f"every region; give {what} a user of its own",
                        CONFLICT,
                    )
        admin = spec.database.admin_secret_ref if spec.database is not None else None
        for node in endpoint.nodes if endpoint is not None else ():
            if _same_login(node.credentials_secret_ref, admin, secrets):
                yield pool.problem(
                    ("spec", "database", "adminSecretRef", "name"),
                    f"it is the login of node {node.name} too, which goes to every region; give "
                    "the database's administrator a login of its own",
                    CONFLICT,
                )


def _dialled_by_regions(
    spec: MiningPoolSpec,
) -> Iterator[tuple[SecretReference | None, Path, str]]:
    """Logins of Kafka that go out to regions, where they are named, and for what."""
    field = "credentialsSecretRef"
    if spec.stream.kafka is not None:
        yield spec.stream.kafka.credentials_secret_ref, ("stream", "kafka", field), "Kafka"
    for index, region in enumerate(spec.regions):
        if (own := region.stream) is not None:
            at: Path = ("regions", index, "stream")
            yield own.kafka.credentials_secret_ref, (*at, "kafka", field), "Kafka"
            yield own.relay_credentials_secret_ref, (*at, "relayCredentialsSecretRef"), "Kafka"


def _same_login(one: SecretReference | None, other: SecretReference | None, secrets: Texts) -> bool:
    """Whether two Secrets hold the same user with the same password, or are one."""
    if one is None or other is None:
        return False
    texts = [tuple(secrets.get(each.name, {}).get(key) for key in USER) for each in (one, other)]
    return one.name == other.name or (texts[0] == texts[1] and None not in texts[0])
