"""Pods run in both regions, find one another, and are reached as a miner would reach them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.bed import build
from tests.e2e.bed.addresses import API_PORT, HOST, HOST_NAMES, REGIONS, WITH_NODES
from tests.e2e.bed.archive import pack
from tests.e2e.bed.bare import BareBed, BareCluster
from tests.e2e.bed.machine import on_kind
from tests.e2e.bed.shell import CommandFailed, run
from tests.e2e.bed.waiting import BedFailed, until

pytestmark = [
    pytest.mark.full,
    pytest.mark.needs("containers"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(on_kind(), reason="the addresses are those of the bare form"),
]

IMAGE = "bed.invalid/probe:1"
NAMESPACE = "echo"
PORT = 8080
REGION_IDS = list(WITH_NODES)


def echo_manifests() -> list[dict[str, Any]]:
    """A web server that answers with its caller's address, behind a load balancer."""
    labels = {"app": "echo"}
    container = {
        "name": "echo",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": ["serve", f":{PORT}"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "echo", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "echo", "namespace": NAMESPACE},
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "selector": labels,
            "ports": [{"port": 80, "targetPort": PORT}],
        },
    }
    return [deployment, service]


@pytest.fixture(scope="module")
def echo(bed: BareBed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareBed]:
    build.build("probe")
    archive = pack(
        tmp_path_factory.mktemp("echo") / "probe.tar",
        IMAGE,
        {"probe": build.program("probe")},
        ["/probe"],
    )
    bed.import_image(archive)
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"name": NAMESPACE, "labels": restricted}
    for cluster in bed.with_nodes:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": space})
        for manifest in echo_manifests():
            cluster.apply(manifest)
    for cluster in bed.with_nodes:
        cluster.wait_rollout("deployment/echo", NAMESPACE)
    yield bed
    for cluster in bed.with_nodes:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    for cluster in bed.with_nodes:
        cluster.kubectl("wait", "--for=delete", f"namespace/{NAMESPACE}", "--timeout=50s")


def in_pod(cluster: BareCluster, *command: str) -> str:
    target = ["exec", "-n", NAMESPACE, "deployment/echo", "--", "/probe"]
    return cluster.kubectl(*target, *command, limit_s=20).strip()


def pod_address(cluster: BareCluster) -> str:
    pods = cluster.api.call(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    (address,) = [pod["status"]["podIP"] for pod in pods]
    return str(address)


def caller_seen(address: str) -> str:
    """Ask a balancer from this process whom the pod behind it sees."""
    with urlopen(f"http://{address}", timeout=3) as answer:
        return str(answer.read().decode().strip())


def answers(address: str) -> bool:
    try:
        return bool(caller_seen(address))
    except OSError:
        return False


@contextmanager
def listening(address: str) -> Iterator[int]:
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("region", REGION_IDS)
def test_balancer_answers_and_the_pod_sees_the_client(echo: BareBed, region: str) -> None:
    cluster = echo.clusters[region]
    address = cluster.balancer_address("echo", NAMESPACE)
    until("the balancer's answer", lambda: answers(address), limit_s=10)
    assert caller_seen(address) == HOST


@pytest.mark.parametrize(("source", "target"), [("us", "eu"), ("eu", "us")])
def test_balancer_answers_pods_of_the_other_region(echo: BareBed, source: str, target: str) -> None:
    address = echo.clusters[target].balancer_address("echo", NAMESPACE)
    url = f"http://{address}"
    seen = in_pod(echo.clusters[source], "get", url)
    assert seen == pod_address(echo.clusters[source])


@pytest.mark.parametrize("region", REGION_IDS)
def test_pod_finds_services_by_name(echo: BareBed, region: str) -> None:
    cluster = echo.clusters[region]
    for name in ("echo", f"echo.{NAMESPACE}.svc.cluster.local"):
        url = f"http://{name}"
        assert in_pod(cluster, "get", url)
    balancer = cluster.balancer_address("echo", NAMESPACE)
    assert in_pod(cluster, "get", f"http://{balancer}")


@pytest.mark.parametrize("region", REGION_IDS)
def test_pod_reaches_every_api_server_and_the_host(echo: BareBed, region: str) -> None:
    cluster = echo.clusters[region]
    for other in REGIONS.values():
        in_pod(cluster, "dial", f"{other.node}:{API_PORT}")
    with listening(HOST) as port:
        in_pod(cluster, "dial", f"{HOST}:{port}")
    with pytest.raises(CommandFailed):
        in_pod(cluster, "dial", f"{HOST}:1")


@pytest.mark.parametrize("region", REGION_IDS)
def test_pod_finds_the_host_by_its_names(echo: BareBed, region: str) -> None:
    with listening(HOST) as port:
        for name in HOST_NAMES:
            in_pod(echo.clusters[region], "dial", f"{name}:{port}")


def test_failed_rollout_says_why(echo: BareBed) -> None:
    broken = echo_manifests()[0]
    broken["metadata"]["name"] = "broken"
    labels = {"app": "broken"}
    broken["spec"]["selector"]["matchLabels"] = labels
    broken["spec"]["template"]["metadata"]["labels"] = labels
    broken["spec"]["template"]["spec"]["containers"][0]["image"] = "bed.invalid/absent:1"
    echo.hub.apply(broken)
    with pytest.raises(BedFailed, match="ErrImageNeverPull"):
        echo.hub.wait_rollout("deployment/broken", NAMESPACE, limit_s=5)
    echo.hub.kubectl("delete", "deployment", "broken", "-n", NAMESPACE)


def test_balancer_answers_while_its_api_server_is_away(echo: BareBed) -> None:
    cluster = echo.clusters["us"]
    address = cluster.balancer_address("echo", NAMESPACE)
    cluster.kill_api()
    try:
        assert caller_seen(address) == HOST
    finally:
        cluster.start_api()


def test_region_that_is_cut_off_goes_on_inside(echo: BareBed) -> None:
    cluster = echo.clusters["us"]
    address = cluster.balancer_address("echo", NAMESPACE)
    cluster.cut_off()
    try:
        assert not answers(address)
        with pytest.raises(OSError, match=r"route|timed out"):
            cluster.api.call("/readyz", limit_s=3)
        get = [*cluster.inside, str(build.program("probe")), "get", f"http://{address}"]
        assert run(get, limit_s=10)
    finally:
        cluster.rejoin()
    until("the balancer's answer", lambda: answers(address), limit_s=20)


def test_balancer_address_returns_to_the_others(echo: BareBed) -> None:
    cluster = echo.hub
    first = cluster.balancer_address("echo", NAMESPACE)
    service = dict(echo_manifests()[1])
    service["metadata"] = {"name": "second", "namespace": NAMESPACE}
    cluster.apply(service)
    assert cluster.balancer_address("second", NAMESPACE) != first
    cluster.kubectl("delete", "service", "second", "-n", NAMESPACE)


def test_up_finds_the_bed_running(echo: BareBed) -> None:
    assert not BareBed().up()
