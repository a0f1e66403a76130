"""The operator against real API servers of a hub and two regions, without machines.

What runs pods is played (see tests/support/operators.py); that pods really run
is shown where there are nodes. Here it is about objects: that the right ones
are in the right clusters, come back when somebody meddles, go when they are not
wanted, and that a region which is away or wrong harms no other.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pithead.manifests.crds import crd_documents
from tests.e2e.bed.api import Refused
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.quick import QuickBed
from tests.support.operators import PATHS, Operator, PodPlayer, eventually, ours

pytestmark = [pytest.mark.full, pytest.mark.needs("cluster"), pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "three-regions" / "pool.yaml"
POOL = "three-regions"
MEMBERS = ("us", "asia")
KINDS_PATH = "/apis/pithead.dev/v1alpha1/namespaces"

Object = dict[str, Any]

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SECRETS = {
    "litecoind-edge": {"username": "edge", "password": "a-secret"},
    "litecoind-wallet": {"username": "wallet", "password": "b-secret"},
    "kafka-client": {"username": "pithead", "password": "c-secret"},
    "kafka-ca": {"ca.crt": CERTIFICATE},
    "kafka-us-edge": {"username": "edge-us", "password": "e-secret"},
    "kafka-us-relay": {"username": "relay-us", "password": "f-secret"},
    "kafka-us-ca": {"ca.crt": CERTIFICATE},
    "clickhouse": {"username": "pithead", "password": "g-secret"},
    "postgres-admin": {"username": "postgres", "password": "d-secret"},
}


def documents() -> list[Object]:
    """The example, as a person would apply it; nothing gives addresses to Services here."""
    found = [each for each in yaml.safe_load_all(EXAMPLE.read_text()) if each]
    for each in found:
        if each["kind"] == "MiningPool":
            each["spec"]["relay"] = {"hostnames": ["hub.pool.example.org"]}
    return found


def secret(name: str, data: dict[str, str], **meta: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **meta},
        "stringData": data,
    }


class Stage:
    """A hub namespace, the same in the members, and an operator of its own."""

    def __init__(self, bed: QuickBed, namespace: str, folder: Path) -> None:
        self.bed = bed
        self.namespace = namespace
        self.system = f"{namespace}-system"
        self.folder = folder
        self.hub = bed.hub
        self.clusters = bed.clusters
        self._operators: list[Operator] = []
        for text in crd_documents().values():
            self.apply(self.hub, yaml.safe_load(text))
        self.apply(
            self.hub, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.system}}
        )
        for cluster in self.clusters.values():
            self.apply(
                cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            )
            self.apply(
                cluster,
                secret("stratum-tls", {"tls.crt": "x", "tls.key": "y"}, namespace=namespace),
            )
        for name, data in SECRETS.items():
            self.apply(self.hub, secret(name, data, namespace=namespace))
        for name in MEMBERS:
            self.add_cluster(name, self.clusters[name].kubeconfig.read_text())
        for plural in ("miningpools", "coinendpoints", "rewardschemes"):
            path = f"{KINDS_PATH}/{namespace}/{plural}"
            eventually(f"{plural} are served", partial(self.hub.api.call, path))
        self.player = PodPlayer([(each, namespace) for each in self.clusters.values()])

    def close(self) -> None:
        for operator in self._operators:
            operator.kill()
        self.player.close()
        pools = self.hub.api.call(f"{KINDS_PATH}/{self.namespace}/miningpools")["items"]
        for each in pools:
            # Nobody is there any more who would let it go.
            self.patch("miningpools", each["metadata"]["name"], {"metadata": {"finalizers": None}})
        for cluster in self.clusters.values():
            for name in (self.namespace, self.system):
                try:
                    cluster.api.call(f"/api/v1/namespaces/{name}", method="DELETE")
                except Refused:
                    continue

    def apply(self, cluster: Cluster, item: Object) -> None:
        cluster.apply(item)

    def add_cluster(self, name: str, kubeconfig: str) -> None:
        labels = {"pithead.dev/cluster": name}
        self.apply(
            self.hub,
            secret(
                f"cluster-{name}", {"kubeconfig": kubeconfig}, namespace=self.system, labels=labels
            ),
        )

    def operator(self, **more: Any) -> Operator:
        log = self.folder / f"operator-{len(self._operators)}.log"
        operator = Operator(more.pop("kubeconfig", self.hub.kubeconfig), self.system, log, **more)
        self._operators.append(operator)
        return operator

    def apply_example(self, change: Callable[[Object], None] = lambda item: None) -> None:
        for item in documents():
            item["metadata"]["namespace"] = self.namespace
            change(item)
            self.apply(self.hub, item)

    def ours(self, region: str) -> dict[str, Object]:
        return ours(self.clusters[region], self.namespace)

    def get(self, plural: str, name: str) -> Object:
        found: Object = self.hub.api.call(f"{KINDS_PATH}/{self.namespace}/{plural}/{name}")
        return found

    def patch(self, plural: str, name: str, body: Object) -> None:
        path = f"{KINDS_PATH}/{self.namespace}/{plural}/{name}"
        self.hub.api.call(path, body, method="PATCH", kind="application/merge-patch+json")

    def delete(self, plural: str, name: str) -> None:
        self.hub.api.call(f"{KINDS_PATH}/{self.namespace}/{plural}/{name}", method="DELETE")

    def child(self, region: str, plural: str, name: str) -> str:
        """Path of an object of ours."""
        return f"{PATHS[plural]}/namespaces/{self.namespace}/{plural}/{name}"

    def events(self, reason: str) -> list[Object]:
        found = self.hub.api.call(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        return [each for each in found if each["reason"] == reason]

    def pool(self, name: str = POOL) -> Object:
        return self.get("miningpools", name)

    def condition(self, type: str, name: str = POOL) -> Object:
        return condition(self.pool(name), type)

    def region(self, identity: str, name: str = POOL) -> Object:
        regions = self.pool(name).get("status", {}).get("regions", [])
        return next((each for each in regions if each["id"] == identity), {})

    def tail(self) -> str:
        return self._operators[-1].tail() if self._operators else ""

    def until(self, what: str, ask: Callable[[], Any], limit_s: float = 30) -> Any:
        def more() -> str:
            pools = self.hub.api.found(f"{KINDS_PATH}/{self.namespace}/miningpools") or {}
            states = [each.get("status") for each in pools.get("items", [])]
            return f"{json.dumps(states, indent=1)}\n{self.tail()}"

        return eventually(what, ask, limit_s, more)

    def until_empty(self, region: str) -> None:
        self.until(f"{region} is empty", lambda: not self.ours(region), 60)

    def until_ready(self, limit_s: float = 60) -> None:
        self.until(
            "the pool is ready", lambda: self.condition("Ready").get("status") == "True", limit_s
        )


def name_of(item: Object) -> str:
    return str(item["metadata"]["name"])


def condition(item: Object, type: str) -> Object:
    found = item.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == type), {})


@pytest.fixture
def stage(control_planes: QuickBed, own_namespace: str, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(control_planes, own_namespace, tmp_path)
    try:
        yield made
    finally:
        made.close()


RELAY = ("configmaps", "deployments", "networkpolicies", "secrets", "serviceaccounts")
EDGE = f"{POOL}-{{}}-stratum"


def edge_keys(region: str) -> set[str]:
    name = EDGE.format(region)
    kinds = (
        "configmaps",
        "deployments",
        "networkpolicies",
        "poddisruptionbudgets",
        "rolebindings",
        "secrets",
        "serviceaccounts",
        "services",
    )
    return {f"{kind}/{name}" for kind in kinds} | {f"configmaps/{POOL}-{region}-anchor"}


def test_one_apply_makes_a_pool_in_three_clusters(stage: Stage) -> None:
    operator = stage.operator()
    stage.apply_example()
    stage.until_ready()

    for region in stage.clusters:
        assert edge_keys(region) <= set(stage.ours(region)), stage.tail()
    hub = set(stage.ours("eu"))
    assert {
        "deployments/pithead-shares",
        "deployments/pithead-rewards",
        "deployments/pithead-ledger",
        "deployments/pithead-analytics",
        "services/pithead-analytics",
        "cronjobs/pithead-payouts-litecoin",
    } <= hub
    assert not [key for key in stage.ours("us") if "shares" in key or "wallet" in key]
    copied = stage.ours("us")[f"secrets/{EDGE.format('us')}"]["data"]
    assert base64.b64decode(copied["node-litecoind-username"]) == b"edge"
    assert not [key for key in copied if "wallet" in key or "admin" in key]

    assert_relayed(stage)
    status = stage.pool()["status"]
    assert status["regionsReady"] == "3/3"
    assert [each["id"] for each in status["regions"]] == ["eu", "us", "asia"]
    assert stage.condition("StreamReady")["status"] == "True"
    assert stage.condition("AnalyticsReady")["status"] == "True"
    assert stage.condition("Stalled")["status"] == "False"
    assert condition(stage.get("coinendpoints", "litecoin"), "WalletReady")["status"] == "True"
    assert stage.get("rewardschemes", "pplns")["status"]["usedBy"] == [POOL]

    before = operator.metric("pithead_operator_write_requests_total")
    skipped = operator.metric("pithead_operator_skipped_total")
    stage.until(
        "several resyncs", lambda: operator.metric("pithead_operator_skipped_total") > skipped + 90
    )
    assert operator.metric("pithead_operator_write_requests_total") == before, stage.tail()
    assert operator.metric("pithead_operator_reconcile_total") > 0
    assert operator.stop() == 0, stage.tail()


def assert_relayed(stage: Stage) -> None:
    """The region with a Kafka of its own has a relay, its topics, and no login of the hub's."""
    us = stage.ours("us")
    relay = f"{POOL}-us-relay"
    assert {f"{kind}/{relay}" for kind in RELAY} <= set(us)
    assert len([key for key in us if key.startswith(f"jobs/{POOL}-us-topics-")]) == 1
    owners = us[f"deployments/{relay}"]["metadata"]["ownerReferences"]
    assert [each["name"] for each in owners] == [f"{POOL}-us-anchor"]
    logins = {
        base64.b64decode(value)
        for key, item in us.items()
        if key.startswith("secrets/")
        for value in item["data"].values()
    }
    assert {b"edge-us", b"relay-us"} <= logins
    assert not {b"pithead", b"c-secret"} & logins
    assert not [key for region in ("eu", "asia") for key in stage.ours(region) if "relay" in key]
    service = stage.ours("eu")["services/pithead-intake"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert "pithead-regions" not in {name_of(item) for item in us.values()}
    conditions = {each["type"]: each for each in stage.region("us")["conditions"]}
    assert conditions["Relayed"]["status"] == "True"
    assert "Relayed" not in {each["type"] for each in stage.region("eu")["conditions"]}


def test_nothing_ends_a_pod_whose_spool_holds_shares(stage: Stage) -> None:
    stage.operator()
    stage.apply_example()
    stage.until_ready()
    path = stage.child("us", "deployments", EDGE.format("us"))
    cluster = stage.clusters["us"]
    before = cluster.api.call(path)["spec"]
    told = {"v": 1, "pool": f"{stage.namespace}.{POOL}", "region": "us", "producer": "p1",
            "work": "0", "log": "ok", "at": int(time.time())}  # fmt: skip
    spooling = told | {"spooling": True, "spoolBytes": 4096}
    report(stage, "us", spooling)
    stage.until("the region is degraded", lambda: degraded(stage, "us")["status"] == "True")
    assert stage.condition("StreamReady")["reason"] == "Spooling"
    assert stage.condition("Ready")["status"] == "True"

    body = {"limits": {"connectionsMax": 77}, "regions": documents()[2]["spec"]["regions"]}
    body["regions"][1]["state"] = "Off"
    stage.patch("miningpools", POOL, {"spec": body})
    stage.until(
        "the change is everywhere else",
        lambda: "77" in cluster_settings(stage, "asia") and has_seen(stage),
    )
    assert cluster.api.call(path)["spec"] == before

    # What would be lost with its pod is in Kafka now.
    report(stage, "us", told)
    stage.until("the edges of a region that is off go", lambda: cluster.api.found(path) is None)
    assert f"deployments/{POOL}-us-relay" in stage.ours("us")


def test_charts_that_can_not_be_made_stall_nothing(stage: Stage) -> None:
    stage.player.failing["analytics"] = (2, "ClickHouse refuses the user")
    stage.operator()
    stage.apply_example()
    stage.until_ready()
    stage.until(
        "the failure to be told",
        lambda: stage.condition("AnalyticsReady").get("reason") == "AnalyticsJobFailed",
        90,
    )
    assert stage.condition("AnalyticsReady")["message"] == "ClickHouse refuses the user"
    assert stage.condition("Stalled")["status"] == "False"
    assert stage.condition("Ready")["status"] == "True"
    assert "deployments/pithead-analytics" not in stage.ours("eu")
    # Whoever does without them gets rid of them.
    stage.patch("miningpools", POOL, {"spec": {"analytics": None}})
    stage.until(
        "the Job to go",
        lambda: not [key for key in stage.ours("eu") if "wire-analytics" in key],
    )
    assert stage.condition("AnalyticsReady") == {}


def report(stage: Stage, region: str, told: Object) -> None:
    """Write what an edge of a region would."""
    path = f"/api/v1/namespaces/{stage.namespace}/configmaps/pithead-edge-status"
    body = {"data": {"edge-1": json.dumps(told)}}
    kind = "application/merge-patch+json"
    stage.clusters[region].api.call(path, body, method="PATCH", kind=kind)


def degraded(stage: Stage, region: str) -> Object:
    found = stage.region(region).get("conditions", [])
    return next((each for each in found if each["type"] == "Degraded"), {"status": "Unknown"})


def cluster_settings(stage: Stage, region: str) -> str:
    path = stage.child(region, "configmaps", EDGE.format(region))
    return str(stage.clusters[region].api.call(path)["data"]["settings.json"])


def has_seen(stage: Stage) -> bool:
    """Whether the operator has told of the present spec."""
    pool = stage.pool()
    return bool(pool["status"]["observedGeneration"] == pool["metadata"]["generation"])


def is_another(cluster: Cluster, path: str, uid: str) -> bool:
    found = cluster.api.found(path)
    return found is not None and found["metadata"]["uid"] != uid


def has_two(cluster: Cluster, path: str) -> bool:
    return bool(cluster.api.call(path)["spec"]["replicas"] == 2)


def test_what_somebody_deletes_or_changes_is_put_back(stage: Stage) -> None:
    stage.operator(resync_seconds=600)
    stage.apply_example()
    stage.until_ready()
    us, name = stage.clusters["us"], EDGE.format("us")

    for plural in ("deployments", "services", "configmaps", "secrets", "rolebindings"):
        path = stage.child("us", plural, name)
        uid = us.api.call(path)["metadata"]["uid"]
        us.api.call(path, method="DELETE")
        stage.until(f"another of {plural}", partial(is_another, us, path, uid))

    path = stage.child("us", "configmaps", name)
    wanted = us.api.call(path)["data"]
    us.api.call(
        path, {"data": {"settings.json": "{}"}}, method="PATCH", kind="application/merge-patch+json"
    )
    stage.until("the settings are put back", lambda: us.api.call(path)["data"] == wanted)

    path = stage.child("us", "deployments", name)
    image = us.api.call(path)["spec"]["template"]["spec"]["containers"][0]
    us.api.call(
        path,
        [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "another:1"}],  # type: ignore[arg-type]  # a JSON patch is a list
        method="PATCH",
        kind="application/json-patch+json",
    )
    stage.until(
        "the image is put back",
        lambda: (
            us.api.call(path)["spec"]["template"]["spec"]["containers"][0]["image"]
            == image["image"]
        ),
    )

    us.api.call(
        path,
        {"metadata": {"labels": {"pithead.dev/region": "elsewhere"}}},
        method="PATCH",
        kind="application/merge-patch+json",
    )
    stage.until(
        "the label is put back",
        lambda: us.api.call(path)["metadata"]["labels"]["pithead.dev/region"] == "us",
    )

    anchor = stage.child("us", "configmaps", f"{POOL}-us-anchor")
    uid = us.api.call(anchor)["metadata"]["uid"]
    us.api.call(anchor, method="DELETE")

    def owned_anew() -> bool:
        present = us.api.call(anchor)["metadata"]["uid"]
        found = ours(us, stage.namespace)
        return (
            present != uid
            and edge_keys("us") <= set(found)
            and all(
                each["metadata"]["ownerReferences"][0]["uid"] == present
                for key, each in found.items()
                if key.endswith(name)
            )
        )

    stage.until("everything belongs to another anchor", owned_anew)

    path = stage.child("eu", "deployments", "pithead-shares")
    uid = stage.hub.api.call(path)["metadata"]["uid"]
    stage.hub.api.call(path, method="DELETE")
    stage.until("shares is made again", lambda: stage.hub.api.call(path)["metadata"]["uid"] != uid)
    stage.until_ready()


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
def test_a_region_that_is_away_harms_no_other_and_catches_up(stage: Stage, fault: str) -> None:
    stage.operator()
    stage.apply_example()
    stage.until_ready()
    us = stage.clusters["us"]

    us.kill_api() if fault == "refuses" else us.pause_api()
    try:
        stage.until("us is told away", lambda: stage.region("us")["reachable"] is False, 40)
        reachable = condition({"status": stage.region("us")}, "Reachable")
        assert (reachable["status"], reachable["reason"]) == ("False", "Unreachable")
        assert stage.condition("Ready")["reason"] == "RegionUnreachable"
        assert stage.condition("Stalled")["status"] == "False"
        assert stage.region("us")["ready"] == 1, "what was last seen is kept"

        regions = stage.pool()["spec"]["regions"]
        for each in regions:
            each["hostnames"] = [f"new.{each['id']}.example.org"]
            each["replicas"] = 2
        stage.patch("miningpools", POOL, {"spec": {"regions": regions}})
        for region in ("eu", "asia"):
            path = stage.child(region, "deployments", EDGE.format(region))
            stage.until(f"{region} goes on", partial(has_two, stage.clusters[region], path))
        assert stage.events("Unreachable")
    finally:
        us.start_api() if fault == "refuses" else us.resume_api()

    service = stage.child("us", "services", EDGE.format("us"))
    key = "external-dns.alpha.kubernetes.io/hostname"
    stage.until(
        "us catches up",
        lambda: us.api.call(service)["metadata"]["annotations"][key] == "new.us.example.org",
        60,
    )
    stage.until_ready()


def test_a_fee_that_is_changed_back_at_once_is_told_again(stage: Stage) -> None:
    """What the first Job told is no proof of what stands once another one may have run."""
    stage.operator()
    stage.apply_example()
    stage.until_ready()

    def job() -> Object:
        found = [
            item
            for name, item in stage.ours("eu").items()
            if name.startswith("jobs/pithead-wire-schemes-")
        ]
        assert len(found) == 1, found
        return found[0]

    def fee(percent: str) -> None:
        stage.patch("rewardschemes", "pplns", {"spec": {"feePercent": percent}})

    first, before = job(), stage.get("rewardschemes", "pplns")["spec"]["feePercent"]
    # The second one never ends: nobody can know whether it was heard.
    stage.player.silent.add("schemes")
    fee("9")
    stage.until("another fee is told", lambda: name_of(job()) != name_of(first))
    stage.player.silent.clear()
    stage.player.failing["schemes"] = (1, "rewards does not answer")
    stage.until("it failed once", lambda: job()["status"].get("failed"))
    fee(before)
    del stage.player.failing["schemes"]

    def again() -> bool:
        found = job()
        anew = found["metadata"]["uid"] != first["metadata"]["uid"]
        return anew and name_of(found) == name_of(first)

    stage.until("the first fee is told again", again)
    stage.until_ready()
    facts = stage.hub.api.call(stage.child("eu", "configmaps", "pithead-facts"))["data"]
    assert [each for each in facts if "-schemes-" in each] == [name_of(first)]


def test_what_is_deleted_leaves_nothing_behind(stage: Stage) -> None:
    stage.operator()
    stage.apply_example()
    stage.until_ready()

    # One region less, then all.
    regions = [each for each in stage.pool()["spec"]["regions"] if each["id"] != "asia"]
    stage.patch("miningpools", POOL, {"spec": {"regions": regions}})
    stage.until("asia is empty", lambda: not stage.ours("asia"))
    assert edge_keys("us") <= set(stage.ours("us"))

    for item in documents():
        stage.delete(f"{item['kind'].lower()}s", item["metadata"]["name"])
    stage.until(
        "the pool is gone",
        lambda: stage.hub.api.found(f"{KINDS_PATH}/{stage.namespace}/miningpools/{POOL}") is None,
    )
    told = stage.events("BooksStay")
    assert told
    assert f"poolId {stage.namespace}.{POOL} " in told[0]["message"]
    for region in stage.clusters:
        stage.until_empty(region)
    bindings = f"/api/v1/namespaces/{stage.system}/configmaps/pithead-clusters"
    stage.until(
        "no namespace is remembered",
        lambda: (
            not [key for key in stage.hub.api.call(bindings)["data"] if key.endswith(".namespaces")]
        ),
    )


def test_a_pool_that_is_deleted_while_a_region_is_away_is_swept_later(stage: Stage) -> None:
    stage.operator()
    stage.apply_example()
    stage.until_ready()
    us = stage.clusters["us"]
    us.kill_api()
    try:
        stage.until("us is told away", lambda: stage.region("us")["reachable"] is False, 40)
        stage.delete("miningpools", POOL)
        stage.until(
            "the pool is gone",
            lambda: (
                stage.hub.api.found(f"{KINDS_PATH}/{stage.namespace}/miningpools/{POOL}") is None
            ),
            45,
        )
        assert stage.events("RemovedLater")
    finally:
        us.start_api()
    stage.until("us is swept", lambda: not stage.ours("us"), 60)


def test_a_reference_that_is_deleted_while_in_use_is_told_and_stops_nothing(stage: Stage) -> None:
    stage.operator()
    stage.apply_example()
    stage.until_ready()
    settings = stage.child("eu", "configmaps", "pithead-shares")
    before = stage.hub.api.call(settings)["data"]

    stage.delete("coinendpoints", "litecoin")
    stage.until("it is told", lambda: stage.condition("Stalled")["reason"] == "ReferenceMissing")
    assert "there is no CoinEndpoint litecoin" in stage.condition("Stalled")["message"]
    path = stage.child("us", "services", EDGE.format("us"))
    us = stage.clusters["us"]
    us.api.call(path, method="DELETE")
    stage.until("what runs is kept in shape", lambda: us.api.found(path) is not None)
    assert stage.hub.api.call(settings)["data"] == before
    assert "cronjobs/pithead-payouts-litecoin" in stage.ours("eu")

    stage.apply_example()
    stage.until_ready()
