"""What a test may ask of the full form, on whichever kind of machine: clusters that run pods."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.bed.addresses import HUB
from tests.e2e.bed.assigner import address_of
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.machine import on_kind
from tests.e2e.bed.shell import CommandFailed
from tests.e2e.bed.waiting import BedFailed, until

POD_S_MAX = 90
"""For a pod whose image is there."""


class RegionCluster(Cluster, ABC):
    """A region's cluster, with pods if it has a node, and the faults of its network."""

    @abstractmethod
    def import_image(self, path: Path) -> None:
        """Load a docker-archive into the region's machines."""

    @abstractmethod
    def cut_off(self) -> None:
        """Pull the region's network cable: it goes on inside, and nobody reaches it."""

    @abstractmethod
    def rejoin(self) -> None:
        """Plug the cable in again and wait until the API server answers."""

    @property
    @abstractmethod
    def networks(self) -> Sequence[str]:
        """All addresses by which other regions know this one."""

    @abstractmethod
    def on_machines(self, command: Sequence[str]) -> None:
        """Run a command on each of the region's machines, in their network."""

    def part_from(self, other: "RegionCluster") -> None:
        """Let nothing pass between two regions; both still reach the host, and their own."""
        for rule in _between(other):
            self.on_machines(["iptables", "-w", "-I", *rule])

    def join_again(self, other: "RegionCluster") -> None:
        """Undo `part_from`."""
        for rule in _between(other):
            self.on_machines(["iptables", "-w", "-D", *rule])

    def wait_rollout(self, workload: str, namespace: str, limit_s: float = POD_S_MAX) -> None:
        """Wait until a workload (`deployment/x`) is rolled out; a failure tells why it is not."""
        try:
            self.kubectl(
                *("rollout", "status", workload, "-n", namespace, f"--timeout={limit_s:g}s"),
                limit_s=limit_s + 10,
            )
        except CommandFailed as error:
            raise BedFailed(f"{error}\n{self.diagnosis()}") from error

    def balancer_address(self, service: str, namespace: str, limit_s: float = 20) -> str:
        """Wait until a Service of type LoadBalancer has its address, and return it."""
        path = f"/api/v1/namespaces/{namespace}/services/{service}"
        return until(
            f"the address of Service {namespace}/{service} in {self.region}",
            lambda: address_of(self.api.found(path) or {}),
            limit_s=limit_s,
            diagnose=self.diagnosis,
        )

    def diagnosis(self) -> str:
        parts = [f"===== {self.region}", self.parts()]
        parts.append(self._said("get", "pods", "-A", "-o", "wide"))
        parts.append(self._said("get", "events", "-A", "--sort-by=.lastTimestamp"))
        parts += [self._pod_logs(namespace, name) for namespace, name in self._unready_pods()]
        return "\n".join(parts)

    def _said(self, *command: str) -> str:
        try:
            text = self.kubectl(*command, limit_s=10)
        except CommandFailed as error:
            text = str(error)
        return f"--- {self.region}: kubectl {' '.join(command)}\n" + "\n".join(
            text.splitlines()[-60:]
        )

    def _unready_pods(self) -> list[tuple[str, str]]:
        pods = (self.api.found("/api/v1/pods") or {"items": []})["items"]
        return [
            (pod["metadata"]["namespace"], pod["metadata"]["name"])
            for pod in pods
            if pod["status"].get("phase") != "Succeeded"
            and not any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in pod["status"].get("conditions", [])
            )
        ][:8]

    def _pod_logs(self, namespace: str, name: str) -> str:
        base = ["logs", "-n", namespace, name, "--all-containers", "--tail=30"]
        return "\n".join([self._said(*base), self._said(*base, "--previous")])


def _between(other: RegionCluster) -> list[list[str]]:
    """Rules for the machines of one region against all that is another's.

    INPUT and OUTPUT are the machine itself, such as its API server; FORWARD is its pods.
    """
    ways = (("INPUT", "-s"), ("OUTPUT", "-d"), ("FORWARD", "-s"), ("FORWARD", "-d"))
    return [
        [chain, end, network, "-j", "DROP"] for network in other.networks for chain, end in ways
    ]


class Bed(ABC):
    """The clusters of all regions. Making the object starts nothing."""

    @property
    @abstractmethod
    def clusters(self) -> Mapping[str, RegionCluster]:
        """The clusters by region; all have a kubeconfig that is good for host and pods alike."""

    @property
    @abstractmethod
    def state(self) -> Path:
        """The bed's folder, for what goes when it goes."""

    @property
    @abstractmethod
    def host(self) -> str:
        """The address at which the pods of every region reach what listens on this machine."""

    @property
    @abstractmethod
    def with_nodes(self) -> Sequence[RegionCluster]:
        """The clusters that run pods."""

    @abstractmethod
    def up(self) -> bool:
        """Start it; returns False when it runs already. Raises BedFailed with logs."""

    @abstractmethod
    def down(self) -> None:
        """Remove all of it, whatever state it is in."""

    @abstractmethod
    def components(self) -> Mapping[str, bool]:
        """Return what the bed is made of, and whether it runs; empty when there is no bed."""

    @abstractmethod
    def healthy(self) -> bool:
        """Tell whether the whole bed runs as these sources would make it."""

    @property
    def hub(self) -> RegionCluster:
        """The hub, which is region one."""
        return self.clusters[HUB]

    def import_image(self, path: Path) -> None:
        """Load a docker-archive into every machine."""
        for cluster in self.with_nodes:
            cluster.import_image(path)


def full_bed() -> Bed:
    """Return the bed of this machine: its own form, or kind's when `PITHEAD_BED=kind`."""
    if on_kind():
        from tests.e2e.bed.kind import KindBed

        return KindBed()
    from tests.e2e.bed.bare import BareBed

    return BareBed()
