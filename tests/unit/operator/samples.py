"""A hub with two pools in three regions, as the operator is given it."""

import base64
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from pithead.config import SlotSettings
from pithead.config.cluster import ClusterPlaces
from pithead.manifests import Manifests, manifests_from_objects, revision_of
from pithead.manifests.backing import Database
from pithead_operator.desired.hub import (
    render_analytics,
    render_base,
    render_money,
    render_payouts,
    render_shares,
)
from pithead_operator.desired.inputs import (
    EdgeInputs,
    Facts,
    HubInputs,
    Object,
    Release,
    Secrets,
)
from pithead_operator.wiring.minting import (
    Randomness,
    mint_ca,
    mint_regions,
    mint_roles,
    mint_tls,
)

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = "mining"
HUB_UID = "5d1a4c0e-1111-4222-8333-944455556666"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RELEASE = Release(image="registry.example/pithead:1.0")
INTAKE = ("hub.pool.example", "203.0.113.7")
"""Where relays may dial the hub."""
SCRIPT = bytes.fromhex("0014" + "ab" * 20)


def kind(name: str, of: str, spec: Object) -> Object:
    """One of our three kinds."""
    return {
        "apiVersion": "pithead.dev/v1alpha1",
        "kind": of,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def endpoint(name: str = "litecoin", coin: str = "litecoin") -> Object:
    """A coin with a main and a standby node, and a wallet user of its own."""
    return kind(
        name,
        "CoinEndpoint",
        {
            "coin": coin,
            "network": "regtest",
            "nodes": [
                {
                    "name": "b",
                    "url": f"http://{coin}-b.example:19332",
                    "credentialsSecretRef": {"name": f"{coin}.rpc"},
                    "role": "standby",
                },
                {
                    "name": "a",
                    "url": f"http://{coin}-a.example:19332",
                    "credentialsSecretRef": {"name": f"{coin}.rpc"},
                },
            ],
            "wallet": {"credentialsSecretRef": {"name": f"{coin}-wallet"}},
        },
    )


def scheme() -> Object:
    """PPLNS of one percent."""
    pplns = {"window": {"networkFactor": "2"}}
    return kind("pplns", "RewardScheme", {"method": "PPLNS", "feePercent": "1", "pplns": pplns})


def pool(name: str = "ltc", coin: str = "litecoin", **spec: Any) -> Object:
    """A pool in eu (the hub's cluster), us and asia, which drains; a plain and a TLS listener."""
    difficulty = {"start": "1", "min": "0.5", "max": "1000"}
    return kind(
        name,
        "MiningPool",
        {
            "coinEndpointRef": {"name": coin},
            "schemes": [{"name": "pplns"}],
            "listeners": [
                {"name": "plain", "port": 3333, "difficulty": difficulty},
                {
                    "name": "tls",
                    "port": 443,
                    "difficulty": difficulty,
                    "tls": {"secretRef": {"name": "stratum.tls"}},
                },
            ],
            "regions": [
                {"id": "eu", "replicas": 2, "hostnames": ["eu.pool.example", "pool.example"]},
                {
                    "id": "us",
                    "cluster": "us-east",
                    "replicas": 3,
                    "serviceAnnotations": {"lb.example/type": "nlb"},
                },
                {"id": "asia", "cluster": "asia", "state": "Drain"},
            ],
            "payouts": {"threshold": "0.5", "schedule": "*/5 * * * *"},
            "stream": {
                "kafka": {
                    "bootstrapServers": ["kafka.example:9093"],
                    "tls": {"caSecretRef": {"name": "kafka-ca"}},
                    "credentialsSecretRef": {"name": "kafka-user"},
                }
            },
            "database": {
                "host": "postgres.example",
                "name": "pithead",
                "adminSecretRef": {"name": "postgres-admin"},
            },
            "drain": {"lingerSeconds": 10, "reconnectSeconds": 40},
        }
        | spec,
    )


def relayed_pool(**spec: Any) -> Object:
    """The pool, with a Kafka of its own in us."""
    found = pool(**spec)
    found["spec"]["regions"][1]["stream"] = {
        "kafka": {
            "bootstrapServers": ["kafka.us.example:9093"],
            "tls": {"caSecretRef": {"name": "us-ca"}},
            "credentialsSecretRef": {"name": "us-kafka"},
            "partitions": 4,
            "bytesMax": 2**40,
        },
        "relayCredentialsSecretRef": {"name": "us-relay"},
    }
    return found


def all_objects() -> list[Object]:
    """Two coins, a scheme, two pools."""
    return [
        endpoint(),
        endpoint("bitcoin", "bitcoin"),
        scheme(),
        pool(),
        pool("btc", "bitcoin"),
    ]


SECRET_TEXTS = {
    "litecoin.rpc": {"username": "ltc-edge", "password": "ltc-edge-word"},
    "litecoin-wallet": {"username": "ltc-wallet", "password": "ltc-wallet-word"},
    "bitcoin.rpc": {"username": "btc-edge", "password": "btc-edge-word"},
    "bitcoin-wallet": {"username": "btc-wallet", "password": "btc-wallet-word"},
    "kafka-user": {"username": "kafka-me", "password": "kafka-word"},
    "kafka-ca": {"ca.crt": "-----BEGIN CERTIFICATE-----\nkafka-authority\n"},
    "postgres-admin": {"username": "postgres", "password": "postgres-word"},
    "clickhouse": {"username": "charts", "password": "charts-word"},
    "us-kafka": {"username": "us-edges", "password": "us-edges-word"},
    "us-relay": {"username": "us-relay", "password": "us-relay-word"},
    "us-ca": {"ca.crt": "-----BEGIN CERTIFICATE-----\nus-authority\n"},
}


Texts = Mapping[str, Mapping[str, str]]


def manifests(objects: list[Object], texts: Texts) -> Manifests:
    """The sound objects; there must be no problem."""
    secrets = [
        {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {key: base64.b64encode(text.encode()).decode() for key, text in each.items()},
        }
        for name, each in texts.items()
    ]
    served = manifests_from_objects(NAMESPACE, objects, secrets)
    assert not served.problems, served.problems
    return served.manifests


def fixed_randomness() -> Randomness:
    """Keys, tokens and serial numbers that are the same in every run."""
    numbers = itertools.count(1)
    return Randomness(
        key=lambda: ec.derive_private_key(next(numbers) + 10**30, ec.SECP256R1()),
        token=lambda size: bytes([next(numbers) % 256]) * size,
        serial=lambda: next(numbers),
    )


@cache
def minted(database: Database, relayed: tuple[str, ...] = ()) -> Secrets:
    """The Secrets that the operator makes itself."""
    random = fixed_randomness()
    authority = mint_ca({}, NOW, random)
    found = {
        "pithead-ca": authority,
        "pithead-tls": mint_tls(authority, {}, NAMESPACE, NOW, random, INTAKE if relayed else ()),
        "pithead-roles": mint_roles(database, {}, random),
    }
    if relayed:
        found["pithead-regions"] = mint_regions({}, relayed, NOW, random)
    return found


def slots(given: Manifests) -> dict[str, tuple[SlotSettings, ...]]:
    """One slot for each scheme that a pool offers."""
    return {
        each.pool_id: tuple(
            SlotSettings(
                slot=number,
                scheme=offered.metadata.name,
                revision=revision_of(offered.metadata.name),
                effective_height=0,
            )
            for number, offered in enumerate(given.offered(each), start=1)
        )
        for each in given.pools
    }


def hub_inputs(objects: list[Object] | None = None, texts: Texts = SECRET_TEXTS) -> HubInputs:
    """Inputs with every fact known."""
    given = manifests(objects or all_objects(), texts)
    database = given.pools[0].spec.database
    assert database is not None
    door = ClusterPlaces(given).intake()
    own = minted(database, tuple(each.region for each in door.regions) if door else ())
    named = {
        name: {key: text.encode() for key, text in each.items()} for name, each in texts.items()
    }
    return HubInputs(
        namespace=NAMESPACE,
        hub_uid=HUB_UID,
        manifests=given,
        release=RELEASE,
        secrets={**named, **own},
        digest_key=own["pithead-ca"]["digest.key"],
        intake=INTAKE if door else (),
        facts=Facts(scripts=dict.fromkeys(given.endpoints, SCRIPT), slots=slots(given)),
    )


CLICKHOUSE = {
    "host": "clickhouse.example",
    "database": "charts",
    "credentialsSecretRef": {"name": "clickhouse"},
    "sslMode": "verify-full",
    "rawRetentionDays": 30,
}


def charted_inputs() -> HubInputs:
    """The hub of the two pools, with a ClickHouse."""
    objects = all_objects()
    for each in objects:
        if each["kind"] == "MiningPool":
            each["spec"]["analytics"] = CLICKHOUSE
    return hub_inputs(objects)


def relayed_inputs(**spec: Any) -> HubInputs:
    """The hub of the two pools with a ClickHouse, and a region of one with a log of its own."""
    objects = [
        relayed_pool(**spec) if each["metadata"]["name"] == "ltc" else each
        for each in all_objects()
    ]
    for each in objects:
        if each["kind"] == "MiningPool":
            each["spec"]["analytics"] = CLICKHOUSE
    return hub_inputs(objects)


def example_inputs() -> HubInputs:
    """The example of three regions, with the Secrets of its template."""
    objects, texts = [], {}
    for file in sorted((ROOT / "examples" / "three-regions").iterdir()):
        for each in yaml.safe_load_all(file.read_text()):
            if each["kind"] == "Secret":
                texts[each["metadata"]["name"]] = each["stringData"]
            else:
                each["metadata"]["namespace"] = NAMESPACE
                objects.append(each)
    return hub_inputs(objects, texts)


def whole_hub(hub: HubInputs) -> tuple[Object, ...]:
    """Every phase of the hub, in order."""
    phases = (render_base, render_money, render_shares, render_analytics, render_payouts)
    return tuple(each for phase in phases for each in phase(hub))


def edge_inputs(hub: HubInputs | None = None, pool: str = "ltc", region: str = "eu") -> EdgeInputs:
    """One pool in one region."""
    hub = hub or hub_inputs()
    found = next(each for each in hub.manifests.pools if each.metadata.name == pool)
    where = next(each for each in found.spec.regions if each.id == region)
    return EdgeInputs(hub, found, where)


def all_edges(hub: HubInputs) -> Iterator[EdgeInputs]:
    """Every pool in every region."""
    for each in hub.manifests.pools:
        for region in each.spec.regions:
            yield EdgeInputs(hub, each, region)


def changed(change: Callable[[dict[str, Object]], None]) -> HubInputs:
    """Inputs after a change of the manifests, which are given by kind/name."""
    objects = copy.deepcopy(all_objects())
    change({f"{each['kind']}/{each['metadata']['name']}": each for each in objects})
    return hub_inputs(objects)


def with_secret(hub: HubInputs, name: str, key: str, value: bytes) -> HubInputs:
    """The same with another value in a Secret."""
    values = dict(hub.secrets[name]) | {key: value}
    return replace(hub, secrets={**hub.secrets, name: values})
