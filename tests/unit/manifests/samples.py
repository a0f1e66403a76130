"""Manifests as plain objects: valid ones, and ways to spoil or change them."""

import copy
from typing import Any

import yaml

from pithead.manifests import ManifestErrors, Manifests, parse_manifests

Object = dict[str, Any]

FILE = "pool.yaml"


def endpoint(**spec: Any) -> Object:
    """A devchain CoinEndpoint; arguments replace fields of its spec."""
    return {
        "apiVersion": "pithead.dev/v1alpha1",
        "kind": "CoinEndpoint",
        "metadata": {"name": "dev"},
        "spec": {"coin": "devchain", "network": "regtest"} | spec,
    }


def node(**fields: Any) -> Object:
    """A litecoind node with credentials from the Secret `rpc`."""
    return {
        "name": "main",
        "url": "http://127.0.0.1:19332",
        "credentialsSecretRef": {"name": "rpc"},
    } | fields


def secret(**values: Any) -> Object:
    """The Secret `rpc`."""
    values = values or {"username": "user", "password": "s3cret-word"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "rpc"},
        "stringData": values,
    }


def scheme(name: str = "pplns", **spec: Any) -> Object:
    """A PPLNS scheme of 1 %."""
    return {
        "apiVersion": "pithead.dev/v1alpha1",
        "kind": "RewardScheme",
        "metadata": {"name": name},
        "spec": {
            "method": "PPLNS",
            "feePercent": "1",
            "pplns": {"window": {"networkFactor": "2"}},
        }
        | spec,
    }


def listener(name: str = "main", port: int = 3333, **fields: Any) -> Object:
    """A listener of difficulty 0.001 to 1000."""
    return {
        "name": name,
        "port": port,
        "difficulty": {"start": "0.01", "min": "0.001", "max": 1000},
    } | fields


def pool(name: str = "alpha", **spec: Any) -> Object:
    """A pool on the endpoint `dev` with the scheme `pplns`."""
    return {
        "apiVersion": "pithead.dev/v1alpha1",
        "kind": "MiningPool",
        "metadata": {"name": name},
        "spec": {
            "coinEndpointRef": {"name": "dev"},
            "schemes": [{"name": "pplns"}],
            "listeners": [listener()],
            "regions": [{"id": "local"}],
            "payouts": {"threshold": "0.01"},
        }
        | spec,
    }


def kafka(**fields: Any) -> Object:
    """A Kafka cluster with TLS and a login."""
    return {
        "bootstrapServers": ["kafka.example.org:9092"],
        "tls": {"caSecretRef": {"name": "kafka-ca"}},
        "credentialsSecretRef": {"name": "kafka"},
    } | fields


def database(**fields: Any) -> Object:
    """A PostgreSQL server."""
    return {
        "host": "postgres.example.org",
        "name": "pithead",
        "adminSecretRef": {"name": "postgres"},
    } | fields


def region_stream(**fields: Any) -> Object:
    """A Kafka of a region's own, with a login for its relay."""
    return {
        "kafka": kafka(
            bootstrapServers=["kafka.region.example.org:9092"],
            credentialsSecretRef={"name": "region-kafka"},
            partitions=4,
        ),
        "relayCredentialsSecretRef": {"name": "region-relay"},
    } | fields


def analytics(**fields: Any) -> Object:
    """A ClickHouse server."""
    return {
        "host": "clickhouse.example.org",
        "database": "pithead",
        "credentialsSecretRef": {"name": "clickhouse"},
    } | fields


def text(*objects: Object) -> bytes:
    """The objects as one YAML file."""
    # Without copies, equal parts would be written as anchors and aliases.
    return yaml.safe_dump_all([copy.deepcopy(each) for each in objects], sort_keys=False).encode()


def load(*objects: Object) -> Manifests:
    """Read the objects as `pithead up` would."""
    return parse_manifests(text(*objects), FILE)


def problems(*objects: Object) -> list[str]:
    """What is wrong with the objects: `kind/name: path: message` of each, without its place."""
    try:
        load(*objects)
    except ManifestErrors as error:
        return [str(each).partition(": ")[2] for each in error.problems]
    return []


def put(value: Object, path: str, new: Any) -> Object:
    """A copy of an object with the field at `path` replaced; `...` removes it."""
    result = copy.deepcopy(value)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    at: Any = result
    for part in parents:
        at = at[part] if isinstance(part, int) else at.setdefault(part, {})
    if new is ...:
        del at[last]
    else:
        at[last] = new
    return result
