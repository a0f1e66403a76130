"""The three kinds on a real API server: what it refuses, fills in, keeps and shows.

The tables are those of the unit tests, so that Python and the API server are
held to the same answers: every rule over several fields, and a change of every
field.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pithead.manifests import conditions_of
from pithead.manifests.base import Rule, Shape
from pithead.manifests.conditions import Condition
from pithead.manifests.crds import KINDS
from pithead.manifests.endpoint import CoinEndpointStatus, NodeStatus
from pithead.manifests.fields import Change
from pithead.manifests.pool import MiningPool, MiningPoolStatus
from pithead.manifests.reference import Row
from pithead.manifests.region import RegionStatus
from pithead.manifests.scheme import (
    RevisionStatus,
    RevisionUse,
    RewardSchemeStatus,
)
from tests.e2e.bed.api import Refused
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.quick import QuickBed
from tests.unit.manifests.samples import (
    Object,
    analytics,
    database,
    endpoint,
    kafka,
    listener,
    node,
    pool,
    put,
    scheme,
)
from tests.unit.manifests.test_base import BROKEN, KEPT, shapes
from tests.unit.manifests.test_changes import CHANGED, FULL, WITH_NODES, marked, with_value

pytestmark = [pytest.mark.full, pytest.mark.needs("cluster"), pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]

MODELS: dict[str, type[Shape]] = {kind.__name__: kind for kind in KINDS}
PLURALS = {kind.__name__: facts["plural"] for kind, facts in KINDS.items()}
RULES: dict[str, Rule] = {rule.cel: rule for shape in shapes() for rule in shape.RULES}


class Kinds:
    """The three kinds in one namespace of a real API server."""

    def __init__(self, hub: Cluster, namespace: str) -> None:
        self.hub = hub
        self.namespace = namespace

    def path(self, kind: str, name: str = "", part: str = "") -> str:
        start = f"/apis/pithead.dev/v1alpha1/namespaces/{self.namespace}/{PLURALS[kind]}"
        return "/".join(each for each in (start, name, part) if each)

    def create(self, value: Object, *, kept: bool = False) -> Any:
        """Create an object, or only ask whether it could be; raises Refused."""
        query = "fieldValidation=Strict" + ("" if kept else "&dryRun=All")
        return self.hub.api.call(f"{self.path(value['kind'])}?{query}", value, method="POST")

    def replace(self, value: Object) -> Any:
        """Ask whether the stored object could become this one; raises Refused."""
        path = self.path(value["kind"], value["metadata"]["name"])
        version = self.hub.api.call(path)["metadata"]["resourceVersion"]
        new = put(value, "metadata.resourceVersion", version)
        return self.hub.api.call(f"{path}?dryRun=All", new, method="PUT")

    def refusal(self, value: Object) -> str:
        """What the API server says against an object; empty when it takes it."""
        try:
            self.create(value)
        except Refused as refused:
            # The answer is JSON and may be cut, so its escapes are all that can be undone.
            return str(refused).encode().decode("unicode_escape")
        return ""


@pytest.fixture(scope="module")
def installed(control_planes: QuickBed) -> Cluster:
    """The hub's control plane with the project's definitions."""
    hub = control_planes.hub
    hub.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    hub.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    return hub


@pytest.fixture
def kinds(installed: Cluster, own_namespace: str) -> Iterator[Kinds]:
    """A namespace of the test's own, gone afterwards."""
    installed.kubectl("create", "namespace", own_namespace)
    found = Kinds(installed, own_namespace)
    deadline = time.monotonic() + 10
    # Established means known, and served a moment later.
    while any(installed.api.found(found.path(kind)) is None for kind in MODELS):
        assert time.monotonic() < deadline, "the kinds are not served"
        time.sleep(0.1)
    yield found
    installed.kubectl("delete", "namespace", own_namespace, "--wait=false")


def python_takes(value: Object) -> bool:
    """Whether the models take an object."""
    try:
        MODELS[value["kind"]].model_validate(value, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def test_each_rule_over_several_fields_is_kept_by_the_api_server(kinds: Kinds) -> None:
    wrong = []
    for cel, (manifest, _) in BROKEN.items():
        answer = kinds.refusal(manifest)
        if RULES[cel].message not in answer or RULES[cel].field not in answer:
            wrong.append((cel, answer))
    assert wrong == []


def test_objects_that_keep_the_rules_are_taken(kinds: Kinds) -> None:
    good = [*KEPT, *FULL.values(), WITH_NODES, pool(), endpoint(), scheme()]
    assert [answer for answer in map(kinds.refusal, good) if answer] == []


TWICE = [{"id": "eu"}, {"id": "us"}, {"id": "eu"}]
LITECOIN = endpoint(coin="litecoin", nodes=[node()])
WITH_STREAM = pool(stream={"kafka": kafka()}, database=database())
WITH_TLS = pool(listeners=[listener(tls={"secretRef": {"name": "cert"}})])

BAD: list[tuple[Object, str, Any, str]] = [
    (pool(), "metadata.name", "a" * 41, "metadata.name"),
    (pool(), "spec.zzz", 1, 'unknown field "spec.zzz"'),
    (pool(), "spec.poolId", "a/b", "spec.poolId"),
    (pool(), "spec.coinEndpointRef", ..., "spec.coinEndpointRef"),
    (pool(), "spec.schemes", [], "spec.schemes"),
    (pool(), "spec.schemes", [{"name": "a"}, {"name": "a"}], "spec.schemes[1]"),
    (pool(), "spec.listeners.0.port", 65536, "spec.listeners[0].port"),
    (pool(), "spec.listeners.0.port", "3333", "spec.listeners[0].port"),
    (pool(), "spec.listeners.0.name", "a--b", "spec.listeners[0].name"),
    (pool(), "spec.listeners", [listener(), listener(port=4444)], "spec.listeners[1]"),
    (pool(), "spec.listeners.0.difficulty.min", "0", "spec.listeners[0].difficulty.min"),
    (pool(), "spec.listeners.0.difficulty.min", "1e3", "spec.listeners[0].difficulty.min"),
    (WITH_TLS, "spec.listeners.0.tls.secretRef", ..., "spec.listeners[0].tls.secretRef"),
    (WITH_TLS, "spec.listeners.0.tls.secretRef.name", "A", "listeners[0].tls.secretRef.name"),
    (pool(), "spec.regions", TWICE, "spec.regions[2]"),
    (pool(), "spec.regions.0.id", "EU", "spec.regions[0].id"),
    (pool(), "spec.regions.0.cluster", "US", "spec.regions[0].cluster"),
    (pool(), "spec.regions.0.state", "Gone", "spec.regions[0].state"),
    (pool(), "spec.regions.0.state", False, "spec.regions[0].state"),
    (pool(), "spec.regions.0.replicas", 0, "spec.regions[0].replicas"),
    (pool(), "spec.regions.0.replicas", 1001, "spec.regions[0].replicas"),
    (pool(), "spec.regions.0.hostnames", ["localhost"], "spec.regions[0].hostnames[0]"),
    (pool(), "spec.regions.0.hostnames", ["a.example"] * 2, "spec.regions[0].hostnames[1]"),
    (pool(), "spec.regions.0.serviceAnnotations", {"a": 1}, "spec.regions[0].serviceAnnotations"),
    (pool(), "spec.payouts.threshold", "0", "spec.payouts.threshold"),
    (pool(), "spec.payouts.threshold", 0, "spec.payouts.threshold"),
    (pool(), "spec.payouts.threshold", ..., "spec.payouts.threshold"),
    (pool(), "spec.payouts.schedule", "@hourly", "spec.payouts.schedule"),
    (pool(), "spec.payouts.schedule", "60 * * * *", "spec.payouts.schedule"),
    (pool(), "spec.payouts.schedule", "* * * *", "spec.payouts.schedule"),
    (pool(), "spec.stream.onLogOutage", "wait", "spec.stream.onLogOutage"),
    (WITH_STREAM, "spec.stream.kafka.bootstrapServers", [], "spec.stream.kafka.bootstrapServers"),
    (WITH_STREAM, "spec.stream.kafka.bootstrapServers.0", "k", "stream.kafka.bootstrapServers[0]"),
    (WITH_STREAM, "spec.stream.kafka.partitions", 0, "spec.stream.kafka.partitions"),
    (WITH_STREAM, "spec.stream.kafka.replicas", 10, "spec.stream.kafka.replicas"),
    (WITH_STREAM, "spec.database.host", ..., "spec.database.host"),
    (WITH_STREAM, "spec.database.host", "h:5432", "spec.database.host"),
    (WITH_STREAM, "spec.database.name", "A", "spec.database.name"),
    (WITH_STREAM, "spec.database.adminSecretRef", ..., "spec.database.adminSecretRef"),
    (WITH_STREAM, "spec.database.sslMode", "prefer", "spec.database.sslMode"),
    (WITH_STREAM, "spec.stream.kafka.bytesMax", 1, "spec.stream.kafka.bytesMax"),
    (pool(), "spec.stream.spool.bytesMax", 1, "spec.stream.spool.bytesMax"),
    (pool(), "spec.stream.keepBytes", -1, "spec.stream.keepBytes"),
    (pool(), "spec.stream.keepHours", -1, "spec.stream.keepHours"),
    (pool(), "spec.regions.0.stream", {}, "spec.regions[0].stream.kafka"),
    (pool(), "spec.relay.hostnames", ["localhost"], "spec.relay.hostnames[0]"),
    (pool(analytics=analytics()), "spec.analytics.port", 0, "spec.analytics.port"),
    (pool(analytics=analytics()), "spec.analytics.rawRetentionDays", 6, "rawRetentionDays"),
    (pool(analytics=analytics()), "spec.analytics.rawRetentionDays", 31, "rawRetentionDays"),
    (pool(), "spec.drain.lingerSeconds", -1, "spec.drain.lingerSeconds"),
    (LITECOIN, "spec.coin", "Lite coin", "spec.coin"),
    (LITECOIN, "spec.network", ..., "spec.network"),
    (LITECOIN, "spec.nodes", [node(), node()], "spec.nodes[1]"),
    (LITECOIN, "spec.nodes.0.url", "http://node", "spec.nodes[0].url"),
    (LITECOIN, "spec.nodes.0.url", "http://u:p@node:1", "spec.nodes[0].url"),
    (LITECOIN, "spec.nodes.0.url", "http://node:65536", "spec.nodes[0].url"),
    (LITECOIN, "spec.nodes.0.credentialsSecretRef", ..., "spec.nodes[0].credentialsSecretRef"),
    (LITECOIN, "spec.wallet.name", "", "spec.wallet.name"),
    (LITECOIN, "spec.wallet.credentialsSecretRef", {}, "spec.wallet.credentialsSecretRef.name"),
    (LITECOIN, "spec.confirmations", 0, "spec.confirmations"),
    (scheme(), "spec.method", "PPS", "spec.method"),
    (scheme(), "spec.feePercent", 100, "spec.feePercent"),
    (scheme(), "spec.feePercent", "1.23456", "spec.feePercent"),
    (scheme(), "spec.pplns.window", ..., "spec.pplns.window"),
    (scheme(), "spec.pplns.window.networkFactor", "0", "spec.pplns.window.networkFactor"),
]


def test_bad_field_is_refused_by_its_name(kinds: Kinds) -> None:
    wrong = []
    for manifest, path, value, field in BAD:
        bad = put(manifest, path, value)
        assert python_takes(manifest)
        answer = kinds.refusal(bad)
        if python_takes(bad) or field not in answer:
            wrong.append((path, value, answer))
    assert wrong == []


@pytest.mark.parametrize(
    "manifest",
    [
        pool(listeners=[listener(difficulty={"start": "2", "min": "1", "max": "3"})]),
        pool(
            listeners=[listener(difficulty={"start": "2", "min": "1", "max": "3"})],
            stream={"kafka": {"bootstrapServers": ["kafka:9092"], "tls": {}}},
            database=database(),
            drain={},
        ),
        endpoint(),
        endpoint(devchain={}),
        LITECOIN,
        scheme(),
    ],
    ids=["pool", "pool in a cluster", "endpoint", "devchain", "litecoin", "scheme"],
)
def test_defaults_are_those_of_the_models(kinds: Kinds, manifest: Object) -> None:
    stored = kinds.create(manifest)["spec"]
    model: Any = MODELS[manifest["kind"]].model_validate(manifest, by_alias=True, by_name=False)
    assert stored == model.spec.model_dump(mode="json", by_alias=True, exclude_none=True)


def rows_by_kind() -> Iterator[tuple[Row, Object, Object]]:
    """Each field of the table with a manifest and the same one with that field changed."""
    for row in marked():
        key = f"{row.kind} {row.path}"
        if key in CHANGED:
            old = WITH_NODES if row.path.startswith("spec.nodes") else FULL[row.kind]
            old = WITH_NODES if row.path == "spec.coin" else old
            yield row, old, with_value(old, row.path, CHANGED[key])


def test_fields_change_on_the_api_server_as_the_table_says(kinds: Kinds) -> None:
    olds = [(each, f"old-{index}") for index, each in enumerate([*FULL.values(), WITH_NODES])]
    for old, name in olds:
        kinds.create(put(old, "metadata.name", name), kept=True)
    wrong = []
    for row, old, new in rows_by_kind():
        name = next(name for each, name in olds if each is old)
        answer = ""
        try:
            kinds.replace(put(new, "metadata.name", name))
        except Refused as refused:
            answer = str(refused)
        immutable = row.change is Change.IMMUTABLE
        if immutable != ("is immutable" in answer) or bool(answer) != immutable:
            wrong.append((row.path, row.change, answer))
    assert wrong == []


def test_immutable_fields_cannot_be_dodged(kinds: Kinds) -> None:
    def refused(old: Object, new: Object) -> str:
        name = f"n{len(stored)}"
        stored.append(kinds.create(put(old, "metadata.name", name), kept=True))
        with pytest.raises(Refused) as caught:
            kinds.replace(put(new, "metadata.name", name))
        return str(caught.value)

    stored: list[Any] = []
    assert "poolId is immutable" in refused(pool(), pool(poolId="a"))
    assert "poolId is immutable" in refused(pool(poolId="a"), pool())
    one, other = ([{"id": "us", **more}] for more in ({}, {"cluster": "us"}))
    assert "cluster is immutable" in refused(pool(regions=one), pool(regions=other))
    assert "cluster is immutable" in refused(pool(regions=other), pool(regions=one))
    fast = endpoint(devchain={"hashesPerBlock": 300})
    assert "hashesPerBlock is immutable" in refused(endpoint(), fast)
    assert "hashesPerBlock is immutable" in refused(fast, endpoint())
    more, less = (pool(stream={"kafka": kafka(partitions=number)}) for number in (9, 8))
    assert "partitions can be raised, not lowered" in refused(more, less)


def test_changes_that_only_look_immutable_are_taken(kinds: Kinds) -> None:
    kinds.create(endpoint(), kept=True)
    kinds.replace(endpoint(devchain={}))
    regions = [{"id": "eu"}, {"id": "us", "cluster": "us"}]
    kinds.create(pool(regions=regions), kept=True)
    kinds.replace(pool(regions=[regions[1], {"id": "asia", "cluster": "asia"}]))


def condition(type: str, status: str = "True", reason: str = "Fine") -> Condition:
    return Condition.model_validate(
        {
            "type": type,
            "status": status,
            "reason": reason,
            "message": "One sentence.",
            "lastTransitionTime": "2026-01-31T12:00:00Z",
            "observedGeneration": 1,
        }
    )


POOL_STATUS = MiningPoolStatus(
    observed_generation=1,
    pool_id="default.alpha",
    regions_ready="2/3",
    connections=1234,
    hashrate="1.23 GH/s",
    regions=(
        RegionStatus(
            id="eu",
            ready=1,
            desired=2,
            connections=7,
            hashrate="5 H/s",
            addresses=("192.0.2.1",),
            hostname="eu.example.org",
            reachable=True,
            conditions=(condition("Reachable"),),
        ),
        RegionStatus(id="us", cluster="us"),
    ),
    conditions=(condition("Ready", "False", "RegionsMissing"), condition("StreamReady")),
)
ENDPOINT_STATUS = CoinEndpointStatus(
    observed_generation=1,
    height=4321,
    nodes_reachable="1/2",
    nodes=(NodeStatus(name="main", height=4321, active=True, latency_milliseconds=3),),
    conditions=(condition("Ready"), condition("Synced"), condition("WalletReady", "Unknown")),
)
SCHEME_STATUS = RewardSchemeStatus(
    observed_generation=1,
    revision="ab" * 32,
    users="alpha, beta",
    used_by=("alpha", "beta"),
    revisions=(
        RevisionStatus(
            revision="ab" * 32,
            parameters="{}",
            used_by=(RevisionUse(pool="default.alpha", slot=0, effective_height=7),),
        ),
    ),
    conditions=(condition("Ready", "True", "Used"),),
)

SHOWN = {
    "MiningPool": (
        ["NAME", "COIN", "READY", "REGIONS", "CONNECTIONS", "HASHRATE", "REASON", "AGE"],
        ["miningpool.pithead.dev/alpha", "dev", "False", "2/3", "1234", "1.23", "GH/s"],
    ),
    "CoinEndpoint": (
        ["NAME", "COIN", "NETWORK", "HEIGHT", "SYNCED", "WALLET", "READY", "REASON", "AGE"],
        ["coinendpoint.pithead.dev/dev", "devchain", "regtest", "4321", "True", "Unknown", "True"],
    ),
    "RewardScheme": (
        ["NAME", "METHOD", "FEE-PERCENT", "USED-BY", "READY", "REASON", "AGE"],
        ["rewardscheme.pithead.dev/pplns", "PPLNS", "1", "alpha,", "beta", "True", "Used"],
    ),
}


def test_status_is_a_subresource_that_kubectl_shows(kinds: Kinds) -> None:
    given = ((pool(), POOL_STATUS), (endpoint(), ENDPOINT_STATUS), (scheme(), SCHEME_STATUS))
    for manifest, status in given:
        written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        created = kinds.create(manifest | {"status": written}, kept=True)
        assert "status" not in created, "a user cannot write the status"
        path = kinds.path(manifest["kind"], manifest["metadata"]["name"], "status")
        patch = {"status": written, "spec": {}}
        stored = kinds.hub.api.call(
            path, patch, method="PATCH", kind="application/merge-patch+json"
        )
        assert stored["status"] == written
        assert stored["metadata"]["generation"] == 1
        assert conditions_of(stored) == status.conditions
    lines = kinds.hub.kubectl("-n", kinds.namespace, "get", "mp,ce,rws").splitlines()
    tables = [line.split() for line in lines if line]
    for head, row in SHOWN.values():
        at = tables.index(head)
        assert tables[at + 1][: len(row)] == row
    listed = kinds.hub.kubectl("-n", kinds.namespace, "get", "pithead", "-o", "name").split()
    assert len(listed) == 3
    ready = ["wait", "--for=condition=Ready", "--timeout=5s", "ce/dev", "rws/pplns"]
    kinds.hub.kubectl("-n", kinds.namespace, *ready)


def test_bad_status_is_refused(kinds: Kinds) -> None:
    kinds.create(pool(), kept=True)
    path = kinds.path("MiningPool", "alpha", "status")
    for bad in ({"hashrate": "x" * 257}, {"conditions": [{"type": "Ready"}]}):
        with pytest.raises(Refused):
            kinds.hub.api.call(
                path, {"status": bad}, method="PATCH", kind="application/merge-patch+json"
            )


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").iterdir()))
def test_example_is_taken_as_it_is(kinds: Kinds, example: str) -> None:
    files = str(ROOT / "examples" / example)
    kinds.hub.kubectl("-n", kinds.namespace, "apply", "--server-side", "-f", files)
    listed = kinds.hub.kubectl("-n", kinds.namespace, "get", "mp", "-o", "json")
    (stored,) = json.loads(listed)["items"]
    model = MiningPool.model_validate(
        stored | {"metadata": {"name": stored["metadata"]["name"]}}, by_alias=True, by_name=False
    )
    assert model.spec.listeners
