"""An operator process, and somebody who plays the machines of clusters that have none.

`Operator` runs the real command against real API servers. `PodPlayer` does what
a kubelet would tell of pods: services become ready, Jobs of wiring end with a
result. Nothing else is played: Jobs are completed by the real Job controller,
Deployments counted by the real Deployment controller.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.bed.api import Refused
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.quick import free_ports

Object = dict[str, Any]
ValueT = TypeVar("ValueT")

SCRIPT = "0014" + "ab" * 20
LOOK_SECONDS = 0.2


def eventually(
    what: str, ask: Callable[[], ValueT], limit_s: float = 30, more: Callable[[], str] = str
) -> ValueT:
    """Ask until the answer is true-like; fails with what was waited for."""
    end = time.monotonic() + limit_s
    last: object = None
    while time.monotonic() < end:
        try:
            answer = ask()
        except (Refused, OSError, AssertionError) as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        time.sleep(LOOK_SECONDS)
    raise AssertionError(f"not in {limit_s} s: {what}; last: {last!r}\n{more()}")


class Operator:
    """One operator process."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        log: Path,
        *,
        lease: bool = False,
        identity: str = "",
        resync_seconds: float = 5,
    ) -> None:
        (self.port,) = free_ports(1)
        self.log = log
        arguments = ["--namespace", namespace, "--image", "pithead.test/pithead:1"]
        arguments += ["--kubeconfig", str(kubeconfig), "--health-port", str(self.port)]
        arguments += ["--resync-seconds", str(resync_seconds), "--probe-seconds", "0.5"]
        arguments += ["--identity", identity] if identity else []
        arguments += [] if lease else ["--no-lease"]
        command = [sys.executable, "-m", "pithead.cli", "operator", *arguments]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        assert self.process.poll() is None, self.tail()
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/readyz", timeout=2
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        values = [
            line.rpartition(" ")[2] for line in lines if line.split("{")[0].split()[0] == name
        ]
        return sum(map(float, values))

    def kill(self) -> None:
        """End it without a farewell."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """End it as Kubernetes does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-6000:]


class PodPlayer:
    """Tells of the pods of some namespaces what kubelets would."""

    def __init__(self, places: Sequence[tuple[Cluster, str]]) -> None:
        self._places = list(places)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self.failing: dict[str, tuple[int, str]] = {}
        """Exit code and sentence of Jobs whose kind (`topics`) is here."""
        self.silent: set[str] = set()
        """Kinds of Jobs that go on working."""
        self._thread.start()

    def close(self) -> None:
        """Stop playing."""
        self._end.set()
        self._thread.join(10)

    def add(self, cluster: Cluster, namespace: str) -> None:
        """Play for another namespace too."""
        self._places.append((cluster, namespace))

    def _play(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            for cluster, namespace in list(self._places):
                try:
                    self._turn(cluster, namespace)
                except (Refused, OSError):
                    # An API server that a test hurts.
                    continue

    def _turn(self, cluster: Cluster, namespace: str) -> None:
        pods = cluster.api.call(f"/api/v1/namespaces/{namespace}/pods", limit_s=2)["items"]
        for pod in pods:
            if pod["status"].get("phase") != "Pending" or "deletionTimestamp" in pod["metadata"]:
                continue
            arguments = pod["spec"]["containers"][0].get("args") or []
            if arguments[:1] == ["wire"] and arguments[1] in self.silent:
                continue
            status = self._status(cluster, namespace, pod, arguments)
            path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/status"
            kind = "application/strategic-merge-patch+json"
            cluster.api.call(path, {"status": status}, method="PATCH", kind=kind, limit_s=2)

    def _status(
        self, cluster: Cluster, namespace: str, pod: Object, arguments: list[str]
    ) -> Object:
        name = pod["spec"]["containers"][0]["name"]
        if arguments[:1] != ["wire"]:
            ready = {"type": "Ready", "status": "True"}
            containers = [
                {
                    "name": name,
                    "ready": True,
                    "restartCount": 0,
                    "image": "i",
                    "imageID": "i",
                    "state": {"running": {}},
                }
            ]
            return {"phase": "Running", "conditions": [ready], "containerStatuses": containers}
        job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        code, message = self.failing.get(arguments[1], (0, ""))
        if code == 0:
            message = json.dumps(_result(cluster, namespace, arguments[1], job))
        ended = {"exitCode": code, "message": message, "reason": "Completed"}
        containers = [
            {
                "name": name,
                "ready": False,
                "restartCount": 0,
                "image": "i",
                "imageID": "i",
                "state": {"terminated": ended},
            }
        ]
        return {"phase": "Failed" if code else "Succeeded", "containerStatuses": containers}


def _result(cluster: Cluster, namespace: str, kind: str, job: str) -> Object:
    """What a wiring Job would tell."""
    found = cluster.api.call(f"/api/v1/namespaces/{namespace}/configmaps/{job}")
    settings = json.loads(found["data"]["settings.json"])
    if kind == "databases":
        return {"revisions": {each["service"]: "0001" for each in settings["services"]}}
    if kind == "topics":
        return {"topics": {each["name"]: each["partitions"] for each in settings["topics"]}}
    if kind == "analytics":
        return {"version": 1}
    if kind == "wallet":
        return {"script": SCRIPT}
    return {
        "slots": {
            pool["pool"]: [
                {
                    "slot": slot,
                    "scheme": scheme["name"],
                    "revision": hashlib.sha256(scheme["parameters"].encode()).hexdigest(),
                    "effective_height": 1,
                }
                for slot, scheme in enumerate(pool["schemes"])
            ]
            for pool in settings["pools"]
        }
    }


OURS = "app.kubernetes.io%2Fmanaged-by%3Dpithead-operator"
PATHS = {
    "configmaps": "/api/v1",
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "services": "/api/v1",
    "deployments": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "cronjobs": "/apis/batch/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
}


def ours(cluster: Cluster, namespace: str) -> dict[str, Object]:
    """Everything of ours in a namespace, by kind/name."""
    found: dict[str, Object] = {}
    for plural, root in PATHS.items():
        path = f"{root}/namespaces/{namespace}/{plural}?labelSelector={OURS}"
        for item in cluster.api.call(path)["items"]:
            found[f"{plural}/{item['metadata']['name']}"] = item
    return found


def pid_alive(pid: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
