"""CoreDNS as a Deployment: pods find Services by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.bed import build
from tests.e2e.bed.addresses import HOST, HOST_NAMES
from tests.e2e.bed.archive import pack
from tests.e2e.bed.cluster import Cluster

IMAGE = "bed.invalid/coredns:1"
PORT = 1053
"""Inside the pod, so that it needs no right to low ports."""

LABELS = {"k8s-app": "kube-dns"}


def image(folder: Path) -> Path:
    """Return an archive of the image, made in `folder`."""
    return pack(folder / "coredns.tar", IMAGE, {"coredns": build.program("coredns")}, ["/coredns"])


def install(cluster: Cluster, address: str, *, forward: bool) -> None:
    """Start the DNS of a cluster at the address that its kubelets tell pods.

    `forward`: whether the machine has a name server for names outside the cluster.
    """
    for manifest in manifests(address, forward=forward):
        cluster.apply(manifest)


def manifests(address: str, *, forward: bool) -> Sequence[dict[str, Any]]:
    """Return all objects of the DNS."""
    name = {"name": "coredns", "namespace": "kube-system"}
    role = {"name": "bed:coredns"}
    rules = [
        {
            "apiGroups": [""],
            "resources": ["services", "pods", "namespaces"],
            "verbs": ["list", "watch"],
        },
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": role,
            "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": role["name"],
            },
            "subjects": [{"kind": "ServiceAccount", **name}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": name,
            "data": {"Corefile": corefile(forward=forward)},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": LABELS},
            "spec": {
                "clusterIP": address,
                "selector": LABELS,
                "ports": [
                    {"name": "dns", "port": 53, "targetPort": PORT, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "targetPort": PORT, "protocol": "TCP"},
                ],
            },
        },
        _deployment(name),
    ]


def corefile(*, forward: bool) -> str:
    """Return CoreDNS's configuration; short times, as tests do not wait for caches."""
    outside = "    forward . /etc/resolv.conf\n" if forward else ""
    return f""".:{PORT} {{
    errors
    health :8080
    ready :8181
    kubernetes cluster.local in-addr.arpa {{
        ttl 5
    }}
    hosts {{
        {HOST} {" ".join(HOST_NAMES)}
        fallthrough
    }}
{outside}    cache 5
    reload
}}
"""


def _deployment(name: dict[str, str]) -> dict[str, Any]:
    container = {
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": name,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "serviceAccountName": "coredns",
                    # The name servers of the machine, not itself.
                    "dnsPolicy": "Default",
                    "priorityClassName": "system-cluster-critical",
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                },
            },
        },
    }
