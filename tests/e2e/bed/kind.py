"""The full form on kind, for machines with Docker: `PITHEAD_BED=kind`.

The same interface as on a bare machine. Three things are done by hand, since kind has nothing for
them: kubeconfigs that are good inside and outside alike (the control plane's address on Docker's
network, a token of an administrator), addresses for LoadBalancer Services (taken from the end of
Docker's network and given to the worker, whose kube-proxy does the rest), and faults (by Docker).
"""

import ipaddress
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.bed.addresses import API_PORT, HOST_NAMES, REGIONS
from tests.e2e.bed.api import Api
from tests.e2e.bed.assigner import Assignment, write_assignments
from tests.e2e.bed.bed import Bed, RegionCluster
from tests.e2e.bed.machine import no_containers
from tests.e2e.bed.pki import kubeconfig
from tests.e2e.bed.processes import ROOT, Processes
from tests.e2e.bed.shell import run
from tests.e2e.bed.waiting import BedFailed, until

CONFIG = ROOT / "kind-config.yaml"

STATE = Path(tempfile.gettempdir()) / f"pithead-kind-{os.getuid()}"

CREATE_S_MAX = 600
"""A first start pulls kind's node image."""

NETWORK = "kind"
"""Docker's network of all kind clusters."""

BALANCER_BITS = 26
"""62 addresses a region, from the end of Docker's network, where containers do not come soon."""

ASSIGNER = "assigner"


def docker(*arguments: str, limit_s: float = 60) -> str:
    """Return what docker printed."""
    return run(["docker", *arguments], limit_s=limit_s).strip()


class KindControl:
    """One kind cluster's control plane, a container."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.name = f"pithead-{region}"
        self.container = f"{self.name}-control-plane"
        self.kubeconfig = STATE / f"{region}.kubeconfig"
        self.authority = STATE / f"{region}.crt"

    @property
    def server(self) -> str:
        """The URL of the API server: the same from this machine and from every pod."""
        return f"https://{container_address(self.container)}:{API_PORT}"

    @property
    def api(self) -> Api:
        """A client with all rights."""
        return Api(self.server, self.authority, self._token_file.read_text())

    def make(self) -> None:
        """Create the cluster and write a kubeconfig that is good everywhere."""
        own = STATE / f"{self.region}.kind"
        create = ["kind", "create", "cluster", "--name", self.name, "--config", str(CONFIG)]
        run([*create, "--kubeconfig", str(own), "--wait", "180s"], limit_s=CREATE_S_MAX)
        kubectl = ["kubectl", "--kubeconfig", str(own), "-n", "kube-system"]
        run([*kubectl, "create", "serviceaccount", "bed"])
        account = "--serviceaccount=kube-system:bed"
        run(
            [
                *kubectl,
                "create",
                "clusterrolebinding",
                "bed",
                "--clusterrole=cluster-admin",
                account,
            ]
        )
        token = run([*kubectl, "create", "token", "bed", "--duration=24h"]).strip()
        self._token_file.touch(0o600)
        self._token_file.write_text(token)
        self.authority.write_text(
            docker("exec", self.container, "cat", "/etc/kubernetes/pki/ca.crt")
        )
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(self.kubeconfig_for(token, "bed"))

    def kubeconfig_for(self, token: str, user: str) -> str:
        """Return a kubeconfig with another user's token."""
        return kubeconfig(self.region, self.server, self.authority, token, user)

    def pause_api(self) -> None:
        """Make the API server hang."""
        self._signal(signal.SIGSTOP)

    def resume_api(self) -> None:
        """Let a hanging API server go on."""
        self._signal(signal.SIGCONT)

    def kill_api(self) -> None:
        """Make the API server refuse connections; the kubelet would start it again otherwise."""
        docker("exec", self.container, "mv", _MANIFEST, _AWAY)
        self._signal(signal.SIGKILL)

    def start_api(self) -> None:
        """Start a killed API server and wait until it is ready."""
        docker("exec", self.container, "mv", _AWAY, _MANIFEST)
        until(
            f"the API server of {self.region}",
            lambda: self.api.found("/readyz"),
            limit_s=120,
            diagnose=self.diagnosis,
        )

    def diagnosis(self) -> str:
        """Return the end of the machine's journal."""
        return docker("exec", self.container, "journalctl", "--no-pager", "-n", "60")

    @property
    def _token_file(self) -> Path:
        return STATE / f"{self.region}.token"

    def _signal(self, number: signal.Signals) -> None:
        docker("exec", self.container, "pkill", f"-{int(number)}", "-x", "kube-apiserver")


_MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
_AWAY = "/etc/kubernetes/kube-apiserver.yaml"


def container_address(container: str) -> str:
    """Return a container's address on Docker's network of kind."""
    path = f"{{{{.NetworkSettings.Networks.{NETWORK}.IPAddress}}}}"
    return docker("inspect", "--format", path, container)


class KindCluster(RegionCluster):
    """A region on kind: one control plane and one worker."""

    def __init__(self, control: KindControl) -> None:
        super().__init__(control)
        self.kind = control

    @property
    def worker(self) -> str:
        """The container that runs the pods."""
        return f"{self.kind.name}-worker"

    def program(self, name: str) -> str:
        return name

    def import_image(self, path: Path) -> None:
        load = ["kind", "load", "image-archive", str(path), "--name", self.kind.name]
        run(load, limit_s=180)

    @property
    def networks(self) -> Sequence[str]:
        return [container_address(each) for each in (self.kind.container, self.worker)]

    def on_machines(self, command: Sequence[str]) -> None:
        for container in (self.kind.container, self.worker):
            docker("exec", container, *command)

    def cut_off(self) -> None:
        self._links("down")

    def rejoin(self) -> None:
        self._links("up")
        until(
            f"region {self.region} after it was cut off",
            lambda: self.api.found("/readyz"),
            limit_s=60,
            diagnose=self.diagnosis,
        )

    def own(self, balancers: str) -> None:
        """Let the worker answer for all addresses of a network."""
        route = ["ip", "route", "replace", "local", balancers, "dev", "eth0"]
        docker("exec", self.worker, *route)

    def _links(self, state: str) -> None:
        # Not `docker network disconnect`: that gives another address afterwards.
        for container in (self.kind.container, self.worker):
            docker("exec", container, "ip", "link", "set", "eth0", state)


class KindBed(Bed):
    """Three kind clusters; the third runs pods too, though nothing may rely on it."""

    def __init__(self) -> None:
        self._clusters = {region: KindCluster(KindControl(region)) for region in REGIONS}
        self.processes = Processes(STATE)

    @property
    def clusters(self) -> Mapping[str, KindCluster]:
        return self._clusters

    @property
    def state(self) -> Path:
        return STATE

    @property
    def host(self) -> str:
        return str(next(_network().hosts()))

    @property
    def with_nodes(self) -> Sequence[KindCluster]:
        return list(self._clusters.values())

    def up(self) -> bool:
        if reason := no_containers():
            raise BedFailed(reason)
        if self.healthy():
            return False
        self.down()
        STATE.mkdir(parents=True)
        for cluster in self._clusters.values():
            cluster.kind.make()
            self._name_host(cluster)
        self._start_assigner()
        return True

    def down(self) -> None:
        self.processes.stop(ASSIGNER)
        for cluster in self._clusters.values():
            run(["kind", "delete", "cluster", "--name", cluster.kind.name], limit_s=120)
        shutil.rmtree(STATE, ignore_errors=True)

    def components(self) -> Mapping[str, bool]:
        made = run(["kind", "get", "clusters"]).split()
        return {
            region: bool(cluster.api.found("/readyz"))
            for region, cluster in self._clusters.items()
            if cluster.kind.name in made
        }

    def healthy(self) -> bool:
        parts = self.components()
        return len(parts) == len(REGIONS) and all(parts.values()) and self.processes.alive(ASSIGNER)

    def _name_host(self, cluster: KindCluster) -> None:
        """Let the cluster's DNS answer for the servers beside the clusters."""
        dns = "/api/v1/namespaces/kube-system/configmaps/coredns"
        corefile = cluster.api.call(dns)["data"]["Corefile"]
        anchor = "    kubernetes cluster.local"
        lines = (f"{self.host} {' '.join(HOST_NAMES)}", "fallthrough")
        hosts = "    hosts {\n" + "".join(f"        {line}\n" for line in lines) + "    }\n"
        data = {"data": {"Corefile": corefile.replace(anchor, hosts + anchor, 1)}}
        system = ("-n", "kube-system")
        cluster.kubectl(
            *("patch", "configmap", "coredns", *system, "--type=merge", "-p", json.dumps(data))
        )
        cluster.kubectl("rollout", "restart", "deployment/coredns", *system)

    def _start_assigner(self) -> None:
        free = list(_network().subnets(new_prefix=BALANCER_BITS))[-len(REGIONS) :]
        assignments = []
        for cluster, network in zip(self._clusters.values(), free, strict=True):
            cluster.own(str(network))
            assignments.append(
                Assignment(
                    region=cluster.region,
                    server=cluster.server,
                    authority=str(cluster.kind.authority),
                    token=cluster.kind.api.token,
                    balancers=str(network),
                )
            )
        self.processes.start(
            ASSIGNER,
            [
                *(sys.executable, "-m", "tests.e2e.bed.assigner"),
                str(write_assignments(STATE, assignments)),
            ],
            {"PYTHONPATH": str(ROOT)},
        )


def _network() -> ipaddress.IPv4Network:
    found = json.loads(docker("network", "inspect", NETWORK))
    subnets = [each["Subnet"] for each in found[0]["IPAM"]["Config"]]
    return next(ipaddress.IPv4Network(each) for each in subnets if ":" not in each)
