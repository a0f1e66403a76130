"""Answers for what all pods of ours have alike: how they are secured, probed and given files.

Every container runs as an ordinary user with a read-only root, as restricted
Pod Security wants it. Settings come as a folder from a ConfigMap; a Secret comes
as a folder of its own, with only the keys that this pod reads; `/tmp` is the only
place to write.
"""

import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pithead.config import HealthSettings
from pithead.config.cluster import POD_NAME, SCRATCH, SECRETS, SPOOL
from pithead.config.from_file import FROM_FILE
from pithead.config.places import RenderError
from pithead_operator.desired.inputs import MissingInput, Object, Release, Secrets
from pithead_operator.desired.names import DIGEST_ANNOTATION

CONTAINER = "pithead"
"""Name of the only container of each pod."""
SETTINGS_DIR = "/etc/pithead"
SETTINGS_KEY = "settings.json"
SETTINGS_FILE = f"{SETTINGS_DIR}/{SETTINGS_KEY}"
SECRETS_DIR = str(SECRETS)
POD_DIR = str(POD_NAME.parent)
"""Where a pod finds its own name."""
USER = 10001
HEALTH_PORT = HealthSettings().port
TMP_BYTES_MAX = "64Mi"
"""Unix sockets and little else; more than this and the pod is evicted."""
SPOOL_MARGIN_BYTES = 128 * 2**20
"""Above a spool's bound, so that what is kept beyond it (solved blocks, the chunk under way) never
gets the pod evicted, and the spool with it."""


@dataclass(frozen=True)
class MountedSecret:
    """A Secret as a folder of a pod."""

    name: str
    keys: tuple[str, ...]
    """Keys that become files, in order."""

    @property
    def folder(self) -> str:
        """Where its files are."""
        return f"{SECRETS_DIR}/{self.name}"


@dataclass(frozen=True)
class Pod:
    """What differs between our pods."""

    args: tuple[str, ...]
    """Of the command `pithead`."""
    labels: Mapping[str, str]
    account: str
    requests: Mapping[str, str]
    settings: str
    """ConfigMap with the settings file."""
    digest: str
    """Of what is read once: see `inputs_digest`."""
    secrets: tuple[MountedSecret, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    """By name."""
    probes: Mapping[str, Object] = field(default_factory=dict)
    grace_s: int = 30
    token: bool = False
    """Whether the pod may speak to its API server."""
    pod_name_file: bool = False
    """Whether the pod finds its name in /run/pithead/pod/name."""
    restart: str = "Always"
    spread: Mapping[str, str] | None = None
    """Labels of pods that should not stand together."""
    spool_bytes: int = 0
    """Bytes that its spool may hold; 0: it has none."""
    low_ports: bool = False
    """Whether an ordinary user must be able to open ports below 1024."""


def pod_template(pod: Pod, release: Release) -> Object:
    """Template of a Deployment or Job."""
    volumes, mounts = _volumes(pod)
    security: Object = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if pod.low_ports:
        security["sysctls"] = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    spec: Object = {
        "serviceAccountName": pod.account,
        "automountServiceAccountToken": pod.token,
        # Otherwise every Service of the namespace becomes variables of the environment.
        "enableServiceLinks": False,
        "restartPolicy": pod.restart,
        "terminationGracePeriodSeconds": pod.grace_s,
        "securityContext": security,
        "containers": [
            {
                "name": CONTAINER,
                "image": release.image,
                "imagePullPolicy": release.pull_policy,
                "args": list(pod.args),
                **_ports(pod.ports),
                **pod.probes,
                "resources": {"requests": _requests(pod)},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # A crash without a written result still tells its last lines.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if release.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in release.pull_secrets]
    if pod.spread is not None:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": key,
                # Better two edges on one machine than one edge.
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(pod.spread)},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ]
    return {
        "metadata": {
            "labels": dict(pod.labels),
            "annotations": {DIGEST_ANNOTATION: pod.digest},
        },
        "spec": spec,
    }


def _requests(pod: Pod) -> dict[str, str]:
    # A machine that runs out of disk evicts first who uses more than it asked for.
    disk = {"ephemeral-storage": str(pod.spool_bytes)} if pod.spool_bytes else {}
    return {**pod.requests, **disk}


def _ports(ports: Mapping[str, int]) -> Object:
    if not ports:
        return {}
    listed = [
        {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()
    ]
    return {"ports": listed}


def _volumes(pod: Pod) -> tuple[list[Object], list[Object]]:
    volumes: list[Object] = [
        {"name": "settings", "configMap": {"name": pod.settings}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP_BYTES_MAX}},
    ]
    mounts: list[Object] = [
        {"name": "settings", "mountPath": SETTINGS_DIR, "readOnly": True},
        {"name": "tmp", "mountPath": str(SCRATCH)},
    ]
    if pod.spool_bytes:
        limit = str(pod.spool_bytes * 5 // 4 + SPOOL_MARGIN_BYTES)
        volumes.append({"name": "spool", "emptyDir": {"sizeLimit": limit}})
        mounts.append({"name": "spool", "mountPath": str(SPOOL)})
    if pod.pod_name_file:
        name = {"path": POD_NAME.name, "fieldRef": {"fieldPath": "metadata.name"}}
        volumes.append({"name": "pod", "downwardAPI": {"items": [name]}})
        mounts.append({"name": "pod", "mountPath": POD_DIR, "readOnly": True})
    for index, secret in enumerate(pod.secrets):
        # A Secret's name may be longer than a volume's, and hold dots.
        volume = f"secret-{index}"
        items = [{"key": key, "path": key} for key in secret.keys]
        source = {"secretName": secret.name, "defaultMode": 0o440, "items": items}
        volumes.append({"name": volume, "secret": source})
        mounts.append({"name": volume, "mountPath": secret.folder, "readOnly": True})
    return volumes, mounts


def http_probes() -> dict[str, Object]:
    """Probes of a service with a health port.

    The first one asks only whether the process lives: an edge whose node is away
    is not ready, but starting it again would not help.
    """

    def get(path: str, period_s: int, failures: int) -> Object:
        return {
            "httpGet": {"path": path, "port": HEALTH_PORT, "scheme": "HTTP"},
            "periodSeconds": period_s,
            "timeoutSeconds": 3,
            "failureThreshold": failures,
        }

    return {
        "startupProbe": get("/livez", 1, 60),
        "readinessProbe": get("/readyz", 2, 3),
        "livenessProbe": get("/livez", 10, 3),
    }


def inputs_digest(key: bytes, settings: bytes, secrets: Iterable[tuple[str, bytes]]) -> str:
    """Digest of what a pod reads once: its settings and the secrets it mounts, by any name."""
    parts = [("", settings), *sorted(secrets)]
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for name, value in parts:
        digest.update(f"{len(name)}:{len(value)}:".encode() + name.encode() + value)
    return digest.hexdigest()[:32]


def mounted_secrets(settings: bytes) -> tuple[MountedSecret, ...]:
    """The Secrets whose files the settings name, with the keys that they name and no others.

    Raises RenderError for a name that can not be mounted.
    """
    keys: dict[str, set[str]] = defaultdict(set)
    for text in _texts(json.loads(settings)):
        path = text.removeprefix(FROM_FILE)
        if not path.startswith(f"{SECRETS_DIR}/") or path == str(POD_NAME):
            continue
        secret, _, key = path.removeprefix(f"{SECRETS_DIR}/").partition("/")
        if secret == POD_NAME.parent.name:
            raise RenderError(f"a Secret is named {secret}, which pods need for themselves")
        keys[secret].add(key)
    return tuple(MountedSecret(name, tuple(sorted(keys[name]))) for name in sorted(keys))


def _texts(value: Any) -> Iterator[str]:
    """Every text in decoded JSON (hence Any)."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def mounted_values(secrets: Secrets, mounted: Iterable[MountedSecret]) -> list[tuple[str, bytes]]:
    """The values that a pod will find below its folders; raises MissingInput."""
    found = []
    for each in mounted:
        if each.name not in secrets:
            raise MissingInput(f"Secret {each.name}")
        values = secrets[each.name]
        for key in each.keys:
            if not values.get(key):
                raise MissingInput(f"Secret {each.name}, key {key}")
            found.append((f"{each.folder}/{key}", values[key]))
    return found
