"""The charts install on a real API server; what needs a container engine is checked by shape."""

import base64
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.bed import build
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.quick import QuickBed
from tests.e2e.bed.shell import CommandFailed
from tests.support.alerts import alerts
from tests.support.operators import eventually

pytestmark = [pytest.mark.full, pytest.mark.needs("cluster"), pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
HUB, REGION = ROOT / "charts/pithead", ROOT / "charts/pithead-region"
KINDS = ("coinendpoints", "miningpools", "rewardschemes")
RELEASE = ("-n", "pithead-system", "--create-namespace")


@pytest.fixture(scope="module")
def bed() -> Iterator[QuickBed]:
    with QuickBed(["eu"]) as quick:
        yield quick


def render(bed: QuickBed, chart: Path, *arguments: str) -> list[dict[str, Any]]:
    text = bed.hub.helm("template", "pithead", str(chart), "--validate", *RELEASE, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def containers_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = document["spec"]
    pod = spec["template"]["spec"] if "template" in spec else spec
    return list(pod["containers"])


def test_both_charts_pass_a_strict_lint(bed: QuickBed) -> None:
    assert "0 chart(s) failed" in bed.hub.helm("lint", "--strict", str(HUB), str(REGION))


@pytest.mark.parametrize("chart", [HUB, REGION], ids=["hub", "region"])
def test_alerts_and_monitors_come_when_they_are_asked_for(bed: QuickBed, chart: Path) -> None:
    on = ("--set", "prometheus.rules.enabled=true,prometheus.podMonitors.enabled=true")
    labels = ("--set", "prometheus.rules.labels.release=mine,namespaces={a,b}")
    # Not validated: the API server of this test has no kinds of the Prometheus operator.
    version = ("--kube-version", build.KUBERNETES)
    text = bed.hub.helm("template", "pithead", str(chart), *RELEASE, *on, *labels, *version)
    found = [each for each in yaml.safe_load_all(text) if each]
    (rule,) = [each for each in found if each["kind"] == "PrometheusRule"]
    assert rule["metadata"]["labels"]["release"] == "mine"
    made = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    assert [each for each in made if each["alert"] == "PitheadSpoolWaits"]
    assert made == [each for each in alerts() if each in made]
    assert (len(made) == len(alerts())) == (chart == HUB)
    monitors = [each for each in found if each["kind"] == "PodMonitor"]
    system = {"pithead-system"} if chart == HUB else set()
    assert {each["metadata"]["namespace"] for each in monitors} == {"a", "b"} | system
    kinds = {each["kind"] for each in render(bed, chart)}
    assert not kinds & {"PrometheusRule", "PodMonitor"}


@pytest.mark.parametrize(
    ("chart", "setting", "told"),
    [
        (HUB, "operator.replicas=9", "/operator/replicas"),
        (HUB, "namespaces={Wrong_Name}", "/namespaces/0"),
        (HUB, "image.pullPolicy=Sometimes", "/image/pullPolicy"),
        (HUB, "oprator.replicas=1", "oprator"),
        (REGION, "namespaces={}", "/namespaces"),
        (REGION, "credential.token=yes-please", "/credential/token"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    bed: QuickBed, chart: Path, setting: str, told: str
) -> None:
    with pytest.raises(CommandFailed, match=told):
        bed.hub.helm("template", "x", str(chart), "--set", setting)


def test_the_hub_comes_goes_and_leaves_what_people_own(bed: QuickBed) -> None:
    hub = bed.hub
    hub.helm("install", "pithead", str(HUB), *RELEASE)
    hub.helm("upgrade", "pithead", str(HUB), *RELEASE, "--set", "operator.replicas=1")
    crds = hub.kubectl("get", "crd", "-o", "name")
    assert all(f"{kind}.pithead.dev" in crds for kind in KINDS)
    hub.helm("uninstall", "pithead", "-n", "pithead-system", "--wait", "--no-hooks")
    crds = hub.kubectl("get", "crd", "-o", "name")
    assert all(f"{kind}.pithead.dev" in crds for kind in KINDS)
    assert "namespace/pithead\n" in hub.kubectl("get", "namespace", "-o", "name")
    assert "pithead" not in hub.kubectl("get", "clusterrole,clusterrolebinding", "-o", "name")
    hub.helm("install", "pithead", str(HUB), *RELEASE)
    hub.helm("uninstall", "pithead", "-n", "pithead-system", "--wait", "--no-hooks")


def test_the_charts_pods_meet_the_restricted_profile(bed: QuickBed) -> None:
    pods = [each for each in render(bed, HUB) if each["kind"] in {"Deployment", "Pod", "Job"}]
    assert pods
    for document in pods:
        for container in containers_of(document):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
    hub = bed.hub
    hub.kubectl("create", "namespace", "strict")
    label = "pod-security.kubernetes.io/enforce=restricted"
    hub.kubectl("label", "namespace", "strict", label)
    for document in pods:
        spec = document["spec"]
        pod = spec["template"]["spec"] if "template" in spec else spec
        pod.pop("serviceAccountName", None)
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{document['kind'].lower()}-{document['metadata']['name']}"},
            "spec": {**pod, "serviceAccountName": "default"},
        }
        hub.kubectl("-n", "strict", "create", "--dry-run=server", "-f", "-",
                    stdin=yaml.safe_dump(manifest))  # fmt: skip


def test_a_region_gives_the_hub_rights_in_its_namespaces_only(bed: QuickBed) -> None:
    hub = bed.hub
    hub.helm("install", "region", str(REGION), "-n", "members", "--create-namespace",
             "--set", "namespaces={mines}")  # fmt: skip
    try:
        who = "--as=system:serviceaccount:members:pithead-hub"

        def can(*question: str) -> str:
            try:
                return hub.kubectl("auth", "can-i", *question, who).strip()
            except CommandFailed:
                return "no"

        assert can("patch", "deployments.apps", "-n", "mines") == "yes"
        assert can("get", "namespaces/kube-system") == "yes"
        assert can("get", "secrets", "-n", "kube-system") == "no"
        assert can("patch", "deployments.apps", "-n", "default") == "no"
        assert can("create", "clusterroles.rbac.authorization.k8s.io") == "no"
        assert can("bind", "clusterroles.rbac.authorization.k8s.io/cluster-admin") == "no"
    finally:
        hub.helm("uninstall", "region", "-n", "members", "--wait")


@pytest.mark.parametrize(
    ("chart", "more"),
    [(HUB, ("--set", "crds.enabled=false")), (REGION, ())],
    ids=["hub", "region"],
)
def test_an_edge_writes_its_own_report_and_nothing_else(
    bed: QuickBed, chart: Path, more: tuple[str, ...]
) -> None:
    hub, space = bed.hub, f"edges-{chart.name}"
    hub.helm("install", "reports", str(chart), "-n", "reports", "--create-namespace",
             "--set", f"namespaces={{{space}}}", *more)  # fmt: skip
    try:
        account = {"name": "a-eu-stratum", "namespace": space}
        hub.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        hub.apply(edge_pod(account))
        hub.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "pithead-edge-status", "namespace": space},
                "data": {"another": "told"},
            }
        )
        hub.kubectl("-n", space, "create", "rolebinding", "edge", "--clusterrole=pithead-edge",
                    f"--serviceaccount={space}:a-eu-stratum")  # fmt: skip
        bound = ("--bound-object-kind=Pod", "--bound-object-name=a-1")
        token = hub.kubectl("-n", space, "create", "token", "a-eu-stratum", *bound).strip()

        def patch(body: dict[str, Any]) -> int:
            return answer_to_patch(hub, space, token, body)

        assert eventually("the policy", lambda: patch({"immutable": True}) == 422, 20)
        assert patch({"data": {"a-1": "told"}}) == 200
        assert patch({"data": {"a-1": "x" * 16385}}) == 422
        assert patch({"data": {"another": "lies"}}) == 422
        assert patch({"data": {"another": None}}) == 422
        assert patch({"data": {"new": "lies"}}) == 422
        assert patch({"binaryData": {"b": "AAAA"}}) == 422
        for other in (
            {"labels": {"a": "b"}},
            {"annotations": {"a": "b"}},
            {"finalizers": ["a.b/c"]},
        ):
            assert patch({"metadata": other}) == 422
        assert patch({"data": {"a-1": None}}) == 200
    finally:
        hub.helm("uninstall", "reports", "-n", "reports", "--wait", "--no-hooks")


def edge_pod(account: dict[str, str]) -> dict[str, Any]:
    """A pod of an edge's account that nobody runs."""
    container = {
        "name": "edge",
        "image": "none.test/edge:1",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a-1", "namespace": account["namespace"]},
        "spec": {"serviceAccountName": account["name"], "containers": [container]},
    }


def answer_to_patch(hub: Cluster, space: str, token: str, body: dict[str, Any]) -> int:
    """Status of the API server's answer to an edge's merge patch."""
    cluster = yaml.safe_load(hub.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"])
    request = urllib.request.Request(
        f"{cluster['server']}/api/v1/namespaces/{space}/configmaps/pithead-edge-status",
        data=json.dumps(body).encode(),
        method="PATCH",
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/merge-patch+json",
        },
    )
    trust = ssl.create_default_context(cadata=authority.decode())
    try:
        with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_kind_reads_its_configuration() -> None:
    """Whether kind can start it takes a container engine, which is not asked for here."""
    build.build("kindcheck")
    checker = str(build.program("kindcheck"))
    done = subprocess.run(
        [checker, str(ROOT / "kind-config.yaml")],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_skaffold_builds_the_image_and_installs_the_charts_that_exist() -> None:
    """Shape only, for the same reason: every field is one of its schema, every path is there."""
    config = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    assert config["apiVersion"] == "skaffold/v4beta11"
    assert config["kind"] == "Config"
    assert set(config) <= {"apiVersion", "kind", "metadata", "build", "deploy", "profiles"}
    (artifact,) = config["build"]["artifacts"]
    assert set(artifact) == {"image", "context", "docker"}
    assert (ROOT / artifact["context"] / artifact["docker"]["dockerfile"]).is_file()
    stanzas = [config, *config["profiles"]]
    releases = [each for stanza in stanzas for each in stanza["deploy"]["helm"]["releases"]]
    assert {release["chartPath"] for release in releases} == {
        "charts/pithead",
        "charts/pithead-region",
    }
    for release in releases:
        assert set(release) <= {
            "name", "chartPath", "namespace", "createNamespace", "setValueTemplates",
        }  # fmt: skip
        values = yaml.safe_load((ROOT / release["chartPath"] / "values.yaml").read_text())
        for path in release.get("setValueTemplates", {}):
            section, key = path.split(".")
            assert key in values[section]
