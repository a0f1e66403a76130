"""Answers for small objects that several renderings need, and for the shape that all share."""

from collections.abc import Mapping
from typing import Any

from pithead_operator.desired.inputs import Object

Labels = Mapping[str, str]


def new_object(
    api_version: str,
    kind: str,
    namespace: str,
    name: str,
    labels: Labels,
    /,
    annotations: Mapping[str, str] | None = None,
    **content: Any,
) -> Object:
    """Build an object with our labels; `content` is everything beside its metadata."""
    metadata: Object = {"name": name, "namespace": namespace, "labels": dict(labels)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def anchor(namespace: str, name: str, labels: Labels) -> Object:
    """The ConfigMap that owns its siblings: deleting it deletes them."""
    return new_object("v1", "ConfigMap", namespace, name, labels)


def config_map(namespace: str, name: str, labels: Labels, data: Mapping[str, str]) -> Object:
    """A ConfigMap; nothing secret goes in."""
    return new_object("v1", "ConfigMap", namespace, name, labels, data=dict(sorted(data.items())))


def service_account(namespace: str, name: str, labels: Labels) -> Object:
    """A ServiceAccount whose token is mounted only where a pod asks for it."""
    return new_object(
        "v1", "ServiceAccount", namespace, name, labels, automountServiceAccountToken=False
    )


def network_policy(
    namespace: str, name: str, labels: Labels, selector: Object, ingress: list[Object]
) -> Object:
    """A policy that lets in only what it names; whatever goes out is left alone."""
    spec: Object = {"podSelector": selector, "policyTypes": ["Ingress"]}
    # API servers drop an empty list, and would take it for a change each time.
    if ingress:
        spec["ingress"] = ingress
    return new_object("networking.k8s.io/v1", "NetworkPolicy", namespace, name, labels, spec=spec)


def open_port(port: int) -> Object:
    """Where a NetworkPolicy lets in."""
    return {"port": port, "protocol": "TCP"}
