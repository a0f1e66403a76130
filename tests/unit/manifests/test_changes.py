"""The cost of a change, for every field of the table."""

import copy
from typing import Any

import pytest

from pithead.manifests.base import Shape
from pithead.manifests.changes import changes, refused_changes, shape_of
from pithead.manifests.crds import KINDS, crd
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.fields import Change
from pithead.manifests.pool import MiningPool
from pithead.manifests.reference import Row, rows
from pithead.manifests.scheme import RewardScheme
from tests.unit.manifests.samples import (
    analytics,
    database,
    endpoint,
    kafka,
    listener,
    node,
    pool,
    put,
    region_stream,
    scheme,
)

pytestmark = pytest.mark.gate

FULL: dict[str, dict[str, Any]] = {
    "MiningPool": pool(
        poolId="one",
        schemes=[{"name": "pplns"}, {"name": "other"}],
        defaultScheme="pplns",
        listeners=[listener(scheme="pplns", tls={"secretRef": {"name": "cert"}})],
        regions=[{"id": "local", "stream": region_stream()}],
        stream={"kafka": kafka(bytesMax=2**30), "keepBytes": 2**20},
        database=database(),
        analytics=analytics(),
    ),
    "CoinEndpoint": endpoint(devchain={}, wallet={"credentialsSecretRef": {"name": "wallet"}}),
    "RewardScheme": scheme(),
}
"""A manifest of each kind in which every field can be changed alone."""

WITH_NODES = endpoint(nodes=[node()])

CHANGED: dict[str, Any] = {
    "MiningPool spec.poolId": "two",
    "MiningPool spec.coinEndpointRef.name": "second",
    "MiningPool spec.schemes[]": [{"name": "pplns"}],
    "MiningPool spec.defaultScheme": "other",
    "MiningPool spec.listeners[]": [
        listener(scheme="pplns", tls={"secretRef": {"name": "cert"}}),
        listener("b", 1),
    ],
    "MiningPool spec.listeners[].tls.secretRef.name": "second",
    "MiningPool spec.listeners[].port": 4444,
    "MiningPool spec.listeners[].host": "127.0.0.1",
    "MiningPool spec.listeners[].scheme": "other",
    "MiningPool spec.listeners[].difficulty.start": "0.02",
    "MiningPool spec.listeners[].difficulty.min": "0.002",
    "MiningPool spec.listeners[].difficulty.max": "2000",
    "MiningPool spec.vardiff.shareIntervalSeconds": 7,
    "MiningPool spec.vardiff.retargetIntervalSeconds": 7,
    "MiningPool spec.vardiff.variancePercent": 7,
    "MiningPool spec.limits.connectionsMax": 700,
    "MiningPool spec.limits.lineBytesMax": 700,
    "MiningPool spec.limits.subscribeTimeoutSeconds": 70,
    "MiningPool spec.limits.idleTimeoutSeconds": 70,
    "MiningPool spec.bans.garbageLinesMax": 7,
    "MiningPool spec.bans.invalidPercent": 7,
    "MiningPool spec.bans.submitsWindow": 70,
    "MiningPool spec.bans.durationSeconds": 7,
    "MiningPool spec.regions[]": [
        {"id": "local", "stream": region_stream()},
        {"id": "us", "state": "Off"},
    ],
    "MiningPool spec.regions[].state": "Off",
    "MiningPool spec.regions[].cluster": "second",
    "MiningPool spec.regions[].replicas": 7,
    "MiningPool spec.regions[].hostnames": ["eu.example.org"],
    "MiningPool spec.regions[].serviceAnnotations": {"example.org/a": "b"},
    "MiningPool spec.payouts.intervalSeconds": 7,
    "MiningPool spec.payouts.threshold": "7",
    "MiningPool spec.payouts.paused": True,
    "MiningPool spec.payouts.paymentsMax": 7,
    "MiningPool spec.payouts.feeRatePerVbyte": 7,
    "MiningPool spec.payouts.schedule": "7 * * * *",
    "MiningPool spec.stream.kafka.bootstrapServers": ["kafka.example.org:9093"],
    "MiningPool spec.stream.kafka.tls.caSecretRef.name": "second",
    "MiningPool spec.stream.kafka.credentialsSecretRef.name": "second",
    "MiningPool spec.stream.kafka.partitions": 9,
    "MiningPool spec.stream.kafka.replicas": 7,
    "MiningPool spec.stream.kafka.bytesMax": 2**31,
    "MiningPool spec.stream.onLogOutage": "spool",
    "MiningPool spec.stream.spool.bytesMax": 2**31,
    "MiningPool spec.stream.keepBytes": 2**21,
    "MiningPool spec.stream.keepHours": 7,
    "MiningPool spec.regions[].stream.kafka.bootstrapServers": ["kafka.example.org:9093"],
    "MiningPool spec.regions[].stream.kafka.tls.caSecretRef.name": "second",
    "MiningPool spec.regions[].stream.kafka.credentialsSecretRef.name": "second",
    "MiningPool spec.regions[].stream.kafka.partitions": 6,
    "MiningPool spec.regions[].stream.kafka.replicas": 7,
    "MiningPool spec.regions[].stream.kafka.bytesMax": 2**31,
    "MiningPool spec.regions[].stream.relayCredentialsSecretRef.name": "second",
    "MiningPool spec.relay.hostnames": ["hub.example.org"],
    "MiningPool spec.relay.serviceAnnotations": {"example.org/a": "b"},
    "MiningPool spec.analytics.host": "second",
    "MiningPool spec.analytics.port": 7,
    "MiningPool spec.analytics.database": "second",
    "MiningPool spec.analytics.credentialsSecretRef.name": "second",
    "MiningPool spec.analytics.sslMode": "disable",
    "MiningPool spec.analytics.rawRetentionDays": 7,
    "MiningPool spec.database.host": "second",
    "MiningPool spec.database.port": 7,
    "MiningPool spec.database.name": "second",
    "MiningPool spec.database.adminSecretRef.name": "second",
    "MiningPool spec.database.sslMode": "disable",
    "MiningPool spec.drain.lingerSeconds": 7,
    "MiningPool spec.drain.reconnectSeconds": 7,
    "CoinEndpoint spec.coin": "litecoin",
    "CoinEndpoint spec.network": "testnet",
    "CoinEndpoint spec.nodes[]": [node(), node(name="second")],
    "CoinEndpoint spec.nodes[].url": "http://127.0.0.1:1",
    "CoinEndpoint spec.nodes[].credentialsSecretRef.name": "second",
    "CoinEndpoint spec.wallet.name": "second",
    "CoinEndpoint spec.wallet.credentialsSecretRef.name": "second",
    "CoinEndpoint spec.confirmations": 7,
    "CoinEndpoint spec.pollIntervalMilliseconds": 700,
    "CoinEndpoint spec.devchain.hashesPerBlock": 700,
    "CoinEndpoint spec.devchain.rpcPort": 700,
    "RewardScheme spec.feePercent": "7",
    "RewardScheme spec.pplns.window.networkFactor": "7",
}
"""Another allowed value for each field that can differ between two valid manifests."""

ALONE = {
    "CoinEndpoint spec.nodes[].role": "one node of another role breaks the rule on main nodes",
    "CoinEndpoint spec.wallet.kind": "one value is allowed",
    "RewardScheme spec.method": "one value is allowed",
    "RewardScheme spec.pplns.window.weight": "it excludes networkFactor",
}
"""Fields that no valid manifest can change alone, and why."""


def marked() -> list[Row]:
    """Fields with a mark of their own or of the structure that holds them."""
    found = [row for kind in KINDS for row in rows(kind) if row.change is not None]
    keys = {"spec.schemes[].name", "spec.listeners[].name", "spec.regions[].id"}
    keys |= {"spec.nodes[].name"}
    return [row for row in found if row.allowed != "a mapping" and row.path not in keys]


def spec(manifest: dict[str, Any]) -> Shape:
    """The validated spec of a manifest."""
    kinds: dict[str, type[MiningPool] | type[CoinEndpoint] | type[RewardScheme]] = {
        kind.__name__: kind for kind in (MiningPool, CoinEndpoint, RewardScheme)
    }
    kind = kinds[manifest["kind"]]
    return kind.model_validate(manifest, by_alias=True, by_name=False).spec


def with_value(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a manifest with the field of a table row set."""
    result = copy.deepcopy(manifest)
    *parents, last = path.removesuffix("[]").split(".")
    at: Any = result
    for part in parents:
        at = at[part[:-2]][0] if part.endswith("[]") else at.setdefault(part, {})
    at[last] = value
    return result


def test_every_field_of_the_table_is_tried() -> None:
    assert {f"{row.kind} {row.path}" for row in marked()} == set(CHANGED) | set(ALONE)


@pytest.mark.parametrize(
    "row",
    [row for row in marked() if f"{row.kind} {row.path}" in CHANGED],
    ids=lambda row: row.path,
)
def test_change_costs_what_the_table_says(row: Row) -> None:
    old = WITH_NODES if row.path.startswith("spec.nodes") else FULL[row.kind]
    new = with_value(old, row.path, CHANGED[f"{row.kind} {row.path}"])
    if row.path == "spec.coin":
        old, new = WITH_NODES, with_value(WITH_NODES, row.path, "litecoin")
    found = changes(spec(old), spec(new))
    assert [each.change for each in found] == [row.change]
    refused = refused_changes(spec(old), spec(new))
    assert bool(refused) == (row.change is Change.IMMUTABLE)


def test_every_field_is_marked_or_a_structure_that_is() -> None:
    for kind in KINDS:
        leaves = [row for row in rows(kind) if row.allowed != "a mapping"]
        assert [row.path for row in leaves if row.change is None] == []


def test_immutable_fields_are_refused_by_the_api_server_too() -> None:
    for kind in KINDS:
        definition = str(crd(kind))
        for row in rows(kind):
            key = row.path.endswith(("[].name", "[].id"))
            whole = row.path == "spec.coinEndpointRef.name"
            if row.change is Change.IMMUTABLE and not key and not whole:
                assert f"{row.path.rpartition('.')[2]} is immutable" in definition


def test_keyed_lists_are_compared_by_key() -> None:
    old = pool(listeners=[listener("a", 1), listener("b", 2)])
    new = pool(listeners=[listener("b", 2), listener("a", 3)])
    found = changes(spec(old), spec(new))
    assert [(each.path, each.change) for each in found] == [
        (("spec", "listeners")[1:], Change.ROLLING),
        (("listeners", "a", "port"), Change.ROLLING),
    ]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("spec.analytics", Change.LIVE),
        ("spec.database", Change.LIVE),
        ("spec.regions.0.stream", Change.IMMUTABLE),
        ("spec.stream.kafka", Change.ROLLING),
        ("spec.stream.kafka.tls", Change.ROLLING),
        ("spec.listeners.0.tls", Change.ROLLING),
    ],
)
def test_structure_that_comes_or_goes_is_one_change(path: str, change: Change) -> None:
    there = put(FULL["MiningPool"], "spec.stream.kafka.bytesMax", ...)
    gone = put(there, path, ...)
    for old, new in ((there, gone), (gone, there)):
        (found,) = changes(spec(old), spec(new))
        assert found.change is change


def test_partitions_can_be_raised_and_not_lowered() -> None:
    less, more = (spec(pool(stream={"kafka": kafka(partitions=number)})) for number in (8, 9))
    assert refused_changes(less, more) == ()
    (refused,) = refused_changes(more, less)
    assert refused.path == ("stream", "kafka", "partitions")


def test_absent_structure_equals_its_defaults() -> None:
    assert changes(spec(endpoint()), spec(endpoint(devchain={}))) == ()
    changed = refused_changes(spec(endpoint()), spec(endpoint(devchain={"hashesPerBlock": 3})))
    assert [each.path for each in changed] == [("devchain", "hashesPerBlock")]


def test_structure_that_may_be_absent_has_defaults_or_a_mark() -> None:
    for kind in KINDS:
        for row in rows(kind):
            if row.allowed == "a mapping" and row.default == "none" and row.change is None:
                assert row.path == "spec.devchain", row.path
                field = shape_of(CoinEndpoint.model_fields["spec"])
                assert field is not None
                inner = shape_of(field.model_fields["devchain"])
                assert inner is not None
                inner()
