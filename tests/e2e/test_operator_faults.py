"""The operator against bad input, its own death at any request, and another operator beside it.

Real API servers without machines, as in test_operator_api.py, whose stage this
uses. The proxies between operator and API servers are ours: they count what is
written, and kill the operator before or after a write arrived.
"""

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.bed.quick import QuickBed
from tests.e2e.test_operator_api import (
    EDGE,
    KINDS_PATH,
    POOL,
    Object,
    Stage,
    condition,
    documents,
    edge_keys,
    secret,
)
from tests.support.killing_proxy import KillingProxy
from tests.support.operators import Operator, ours

pytestmark = [pytest.mark.full, pytest.mark.needs("cluster"), pytest.mark.timeout(300)]


@pytest.fixture
def stage(control_planes: QuickBed, own_namespace: str, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(control_planes, own_namespace, tmp_path)
    try:
        yield made
    finally:
        made.close()


def stalled(stage: Stage, reason: str, words: str, name: str = POOL) -> None:
    """Wait until the pool says so, with an Event, and without a pool being half made."""
    stage.until(
        f"{name} is Stalled by {reason}",
        lambda: (
            (
                condition(stage.pool(name), "Stalled").get("status"),
                condition(stage.pool(name), "Stalled").get("reason"),
            )
            == ("True", reason)
        ),
    )
    found = condition(stage.pool(name), "Stalled")
    assert re.search(words, found["message"]), found
    assert found["observedGeneration"] == stage.pool(name)["metadata"]["generation"]
    assert condition(stage.pool(name), "Ready")["status"] == "False"
    stage.until(
        "an Event says so",
        lambda: [each for each in stage.events(reason) if each["type"] == "Warning"],
    )


def test_what_is_missing_or_disagrees_is_stalled_and_made_once_it_is_mended(stage: Stage) -> None:
    stage.operator()
    first, *rest = sorted(documents(), key=lambda each: each["kind"] != "MiningPool")
    first["metadata"]["namespace"] = stage.namespace
    stage.apply(stage.hub, first)
    stalled(stage, "ReferenceMissing", "there is no CoinEndpoint litecoin.*")
    for item in rest:
        item["metadata"]["namespace"] = stage.namespace
        stage.apply(stage.hub, item)

    # Nothing was made of a bad pool.
    made = [key for region in stage.clusters for key in stage.ours(region)]
    assert not [key for key in made if POOL in key], made

    stage.until_ready()

    # A Secret that goes is told; what runs stays.
    path = f"/api/v1/namespaces/{stage.namespace}/secrets/kafka-client"
    data = stage.hub.api.call(path)["data"]
    before = stage.hub.api.call(stage.child("us", "configmaps", "pithead-shares"))["data"]
    stage.hub.api.call(path, method="DELETE")
    stalled(stage, "SecretMissing", "there is no Secret kafka-client")
    assert edge_keys("us") <= set(stage.ours("us"))
    assert stage.hub.api.call(stage.child("us", "configmaps", "pithead-shares"))["data"] == before
    stage.apply(
        stage.hub,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "data": data,
            "metadata": {"name": "kafka-client", "namespace": stage.namespace},
        },
    )
    stage.until_ready()

    # A wallet that a node's user could spend from.
    wallet = secret(
        "litecoind-wallet", {"username": "edge", "password": "x"}, namespace=stage.namespace
    )
    stage.apply(stage.hub, wallet)
    stage.until(
        "it is told",
        lambda: (
            condition(stage.get("coinendpoints", "litecoin"), "Stalled").get("reason") == "Conflict"
        ),
    )
    stalled(stage, "DependencyInvalid", "CoinEndpoint/litecoin has a problem of its own")
    wallet["stringData"]["username"] = "wallet"
    stage.apply(stage.hub, wallet)
    stage.until_ready()

    # A younger pool that wants another Kafka stops nobody.
    other = next(each for each in documents() if each["kind"] == "MiningPool")
    other["metadata"] = {"name": "other", "namespace": stage.namespace}
    other["spec"]["stream"]["kafka"]["bootstrapServers"] = ["elsewhere.example.org:9092"]
    stage.apply(stage.hub, other)
    stalled(stage, "Conflict", "differs from that of MiningPool/three-regions", "other")
    assert stage.condition("Ready")["status"] == "True"
    assert not [key for key in stage.ours("us") if "other" in key]


def test_a_cluster_that_can_not_be_used_is_told_and_the_others_go_on(stage: Stage) -> None:
    good = stage.clusters["us"].kubeconfig.read_text()
    bad: dict[str, tuple[Callable[[Object], object], str, str]] = {
        "exec": (
            lambda c: c["users"][0].update(user={"exec": {"command": "x"}}),
            "BadKubeconfig",
            "asks to run a program",
        ),
        "token": (
            lambda c: c["users"][0].update(user={"token": "not-known"}),
            "Unauthorized",
            "put a new one into its Secret",
        ),
    }
    stage.operator()
    stage.apply_example()
    stage.until_ready()
    for change, reason, words in bad.values():
        config = yaml.safe_load(good)
        change(config)
        stage.add_cluster("us", yaml.safe_dump(config))
        stalled(stage, reason, words)
        assert stage.region("us")["reachable"] is False
        assert stage.region("asia")["reachable"] is True

    # Another cluster under a known name.
    stage.add_cluster("us", stage.clusters["asia"].kubeconfig.read_text())
    stalled(stage, "ClusterChanged", "another cluster")
    assert edge_keys("us") <= set(stage.ours("us")), "what runs in the real one stays"
    assert not [key for key in stage.ours("asia") if "-us-" in key]

    # No Secret, then the good one: no restart is needed.
    path = f"/api/v1/namespaces/{stage.system}/secrets/cluster-us"
    stage.hub.api.call(path, method="DELETE")
    stalled(stage, "ClusterUnknown", "no Secret with the label pithead.dev/cluster: us")
    us = stage.clusters["us"]
    service = stage.child("us", "services", EDGE.format("us"))
    us.api.call(service, method="DELETE")
    stage.add_cluster("us", good)
    stage.until("us is kept in shape again", lambda: us.api.found(service) is not None)
    stage.until_ready()

    # A certificate that is not in one region keeps that region's edges from being made.
    tls = f"/api/v1/namespaces/{stage.namespace}/secrets/stratum-tls"
    us.api.call(tls, method="DELETE")
    stage.until("it is told", lambda: stage.condition("Stalled").get("reason") == "SecretMissing")
    assert "region us" in stage.condition("Stalled")["message"]


def test_a_kafka_or_database_that_is_away_is_told_and_tried_again(stage: Stage) -> None:
    sentence = "Kafka kafka.pithead.internal:9092 does not answer"
    stage.player.failing["topics"] = (1, sentence)
    stage.player.failing["databases"] = (2, "the database postgres refuses the user postgres")
    stage.operator()
    stage.apply_example()
    stage.until(
        "the database is told",
        lambda: "refuses the user postgres" in str(stage.condition("Stalled").get("message")),
        60,
    )
    assert stage.condition("Stalled")["reason"] == "DatabasesJobFailed"
    stage.until("Kafka is told", lambda: sentence in stage.condition("StreamReady")["message"])
    assert not [key for key in stage.ours("us") if "stratum" in key]

    stage.player.failing.clear()
    jobs = [key for key in stage.ours("eu") if key.startswith("jobs/")]
    for key in jobs:
        # A person does not wait for the next try.
        path = f"{stage.child('eu', 'jobs', key.partition('/')[2])}?propagationPolicy=Background"
        stage.hub.api.call(path, method="DELETE")
    stage.until_ready(90)


VOLATILE = re.compile(r"[0-9a-f]{10,64}|\d{4}-\d\d-\d\dT[\d:]+Z")
DROPPED = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


def snapshot(stage: Stage) -> dict[str, Object]:
    """All objects of ours, without what differs from run to run: keys, hashes, addresses, times."""
    found: dict[str, Object] = {}
    for region, cluster in stage.clusters.items():
        for key, item in ours(cluster, stage.namespace).items():
            if key.startswith(("jobs/", "configmaps/pithead-wire")):
                continue
            kept = {
                "labels": item["metadata"].get("labels"),
                "owners": [each["name"] for each in item["metadata"].get("ownerReferences", [])],
                "spec": item.get("spec"),
                "data": sorted(item.get("data") or {})
                if key.startswith(("secrets/", "configmaps/pithead-facts"))
                else item.get("data"),
            }
            if key.startswith("configmaps/pithead-facts"):
                kept["data"] = len(item["data"])
            if kept["spec"]:
                for name in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
                    kept["spec"].pop(name, None)
                for port in kept["spec"].get("ports", []):
                    port.pop("nodePort", None)
            text = VOLATILE.sub("H", yaml.safe_dump(kept)).replace(stage.namespace, "NS")
            found[f"{region}/{VOLATILE.sub('H', key)}"] = yaml.safe_load(text)
    return found


def undisturbed(bed: QuickBed, namespace: str, folder: Path) -> dict[str, Object]:
    stage = Stage(bed, namespace, folder)
    try:
        operator = stage.operator()
        stage.apply_example()
        stage.until_ready()
        stage.until("nothing more is written", lambda: rests(operator))
        found = snapshot(stage)
        stage.delete("miningpools", POOL)
        stage.until(
            "the pool is gone",
            lambda: stage.hub.api.found(f"{KINDS_PATH}/{namespace}/miningpools/{POOL}") is None,
        )
        return found
    finally:
        stage.close()


def rests(operator: Operator) -> bool:
    """Whether an operator wrote nothing for a while."""
    before = operator.metric("pithead_operator_write_requests_total")
    time.sleep(3)
    return operator.metric("pithead_operator_write_requests_total") == before


KILLS = 10


def test_an_operator_that_is_killed_at_any_write_makes_the_same_objects(
    control_planes: QuickBed, own_namespace: str, tmp_path: Path
) -> None:
    expected = undisturbed(control_planes, f"{own_namespace}-a", tmp_path)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    stage = Stage(control_planes, own_namespace, tmp_path)
    proxies: dict[str, KillingProxy] = {}
    try:
        for region, cluster in control_planes.clusters.items():
            proxies[region] = KillingProxy(cluster.kubeconfig.read_text(), tmp_path / region)
        for name in ("us", "asia"):
            stage.add_cluster(name, proxies[name].kubeconfig.read_text())
        hub = proxies["eu"].kubeconfig
        counter = {"left": 0, "after": False, "kills": 0}
        operator: Operator | None = None

        def written(arrived: bool) -> bool:
            """Told of each write; true when the operator died of it."""
            if arrived != counter["after"]:
                return False
            counter["left"] -= 1
            if counter["left"] != 0 or operator is None:
                return False
            counter["kills"] += 1
            operator.process.kill()
            return True

        for proxy in proxies.values():
            proxy.written = written
        stage.apply_example()
        while counter["kills"] < KILLS:
            counter |= {"left": source.randint(1, 14), "after": bool(source.getrandbits(1))}
            operator = stage.operator(kubeconfig=hub)
            try:
                operator.process.wait(25)
            except subprocess.TimeoutExpired:
                # It had nothing left to write: take something away, and go on.
                counter["left"] = 0
                operator.kill()
                us = stage.clusters["us"]
                us.api.call(stage.child("us", "services", EDGE.format("us")), method="DELETE")
        counter["left"] = 0
        last = stage.operator(kubeconfig=hub)
        stage.until_ready(90)
        stage.until("nothing more is written", lambda: rests(last))
        found = snapshot(stage)
        assert found.keys() == expected.keys(), f"seed {seed}"
        for key, value in expected.items():
            assert found[key] == value, f"{key}, seed {seed}"

        # The same on the way out.
        last.kill()
        stage.delete("miningpools", POOL)
        for _ in range(3):
            counter |= {"left": source.randint(1, 8), "after": bool(source.getrandbits(1))}
            operator = stage.operator(kubeconfig=hub)
            try:
                operator.process.wait(15)
            except subprocess.TimeoutExpired:
                counter["left"] = 0
                operator.kill()
        counter["left"] = 0
        stage.operator(kubeconfig=hub)
        for region in stage.clusters:
            stage.until_empty(region)
    finally:
        stage.close()
        for proxy in proxies.values():
            proxy.close()


def test_of_two_operators_one_works_and_the_other_follows(stage: Stage) -> None:
    first = stage.operator(lease=True, identity="first")
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{stage.system}/leases/pithead-operator"

    def holder() -> Any:
        return stage.hub.api.call(lease)["spec"]["holderIdentity"]

    stage.until("the first holds the Lease", lambda: holder() == "first")
    second = stage.operator(lease=True, identity="second")
    stage.until("the second is ready to follow", second.ready)
    stage.apply_example()
    stage.until_ready()
    assert second.metric("pithead_operator_leader") == 0
    assert second.metric("pithead_operator_write_requests_total") == 0

    # A farewell hands over at once, a death after the Lease's duration.
    assert first.stop() == 0, first.tail()
    stage.until("the second works", lambda: second.metric("pithead_operator_leader") == 1, 10)
    stage.operator(lease=True, identity="third")
    second.kill()
    stage.until("the third works", lambda: holder() == "third", 40)

    # Who loses the Lease ends.
    third = stage._operators[-1]
    body = {"spec": {"holderIdentity": "a-stranger"}}
    stage.hub.api.call(lease, body, method="PATCH", kind="application/merge-patch+json")
    assert third.process.wait(15) == 1, third.tail()


RIGHTS = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}
CHARTS = Path(__file__).resolve().parents[2] / "charts"


def give_rights(stage: Stage, region: str, chart: str, account: str) -> str:
    """Make the accounts and roles of a chart; a kubeconfig with no other rights than theirs."""
    cluster = stage.clusters[region]
    text = cluster.helm(
        "template",
        "a-release",
        str(CHARTS / chart),
        f"--namespace={stage.system}",
        "--kube-version=1.36.2",
        "--set",
        f"namespaces={{{stage.namespace}}}",
    )
    for item in yaml.safe_load_all(text):
        if item and item["kind"] in RIGHTS:
            cluster.apply(item)
    path = f"/api/v1/namespaces/{stage.system}/serviceaccounts/{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = cluster.api.call(path, body, method="POST")["status"]["token"]
    return cluster.control.kubeconfig_for(token, account)


def test_the_rights_that_the_charts_give_are_enough_and_stop_at_their_namespaces(
    stage: Stage, tmp_path: Path
) -> None:
    hub = tmp_path / "hub.kubeconfig"
    hub.write_text(give_rights(stage, "eu", "pithead", "pithead-operator"))
    for name in ("us", "asia"):
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": stage.system},
        }
        stage.apply(stage.clusters[name], namespace)
        stage.add_cluster(name, give_rights(stage, name, "pithead-region", "pithead-hub"))
    operator = stage.operator(kubeconfig=hub, lease=True)
    stage.apply_example()
    stage.until_ready()
    # Pools that other tests left behind are none of its business.
    places = (f'namespace "{stage.namespace}"', f'namespace "{stage.system}"', "cluster scope")
    lines = operator.log.read_text().splitlines()
    refused = [each for each in lines if "forbidden" in each and any(at in each for at in places)]
    assert not refused, operator.tail()

    # A pool in a namespace that the chart was not told of.
    elsewhere = f"{stage.namespace}-x"
    stage.apply(
        stage.hub, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}}
    )
    pool = next(each for each in documents() if each["kind"] == "MiningPool")
    pool["metadata"]["namespace"] = elsewhere
    stage.apply(stage.hub, pool)
    path = f"{KINDS_PATH}/{elsewhere}/miningpools/{POOL}"

    def told() -> bool:
        found = condition(stage.hub.api.call(path), "Stalled")
        return found.get("reason") == "Forbidden" and elsewhere in found["message"]

    stage.until("it is told which namespace is missing", told)
    stage.hub.api.call(path, method="DELETE")
    stage.until("nothing holds it", lambda: stage.hub.api.found(path) is None)
    stage.hub.api.call(f"/api/v1/namespaces/{elsewhere}", method="DELETE")

    for item in documents():
        stage.delete(f"{item['kind'].lower()}s", item["metadata"]["name"])
    for region in stage.clusters:
        stage.until_empty(region)
    assert operator.stop() == 0, operator.tail()


def test_a_farewell_ends_the_operator_and_lets_go_of_all_pools(stage: Stage) -> None:
    operator = stage.operator(lease=True)
    stage.apply_example()
    stage.until_ready()
    assert stage.pool()["metadata"]["finalizers"] == ["pithead.dev/regions"]
    command = [sys.executable, "-m", "pithead.cli", "operator", "--namespace", stage.system]
    command += ["--kubeconfig", str(stage.hub.kubeconfig), "--farewell"]
    subprocess.run(command, check=True, timeout=60)
    assert "finalizers" not in stage.pool()["metadata"]
    assert operator.process.wait(10) == 1, operator.tail()
    assert edge_keys("us") <= set(stage.ours("us")), "what runs goes on"
