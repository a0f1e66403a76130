"""The full form on a bare machine, as root: region clusters with nodes that run pods.

`up` starts it or finds it running, `down` removes it, also after a crash. It stays up when the
process that started it ends, so that a person can use it between test runs.
"""

import fcntl
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.bed import addresses, archive, build, cleaning, dns, network
from tests.e2e.bed.addresses import REGIONS, WITH_NODES, RegionAddresses
from tests.e2e.bed.assigner import Assignment, write_assignments
from tests.e2e.bed.bed import Bed, RegionCluster
from tests.e2e.bed.control_plane import ADMIN_TOKEN, ControlPlane, Layout, wait_all
from tests.e2e.bed.machine import no_containers
from tests.e2e.bed.node import PAUSE, Node
from tests.e2e.bed.processes import ROOT, Processes
from tests.e2e.bed.shell import run
from tests.e2e.bed.waiting import BedFailed, until

STATE = Path("/var/lib/pithead-bed")
"""Short, since unix socket paths end at 107 characters."""

LOCK = Path("/run/pithead-bed.lock")

SHAPE = (
    "addresses",
    "archive",
    "assigner",
    "bare",
    "control_plane",
    "dns",
    "network",
    "node",
    "pki",
)
"""The modules that decide what a running bed looks like."""

ASSIGNER = "assigner"

ETCD_PORT, PEER_PORT = 2379, 2380


class BareCluster(RegionCluster):
    """A region's cluster with its machine, and the faults of a machine."""

    def __init__(self, region: RegionAddresses, control: ControlPlane, node: Node | None) -> None:
        super().__init__(control)
        self.plane = control
        self.addresses = region
        self.node = node

    @property
    def inside(self) -> list[str]:
        """Put before a command to run it on the region's machine, also when that is cut off."""
        return network.inside(self.addresses)

    def import_image(self, path: Path) -> None:
        if self.node is None:
            raise BedFailed(f"region {self.region} has no node")
        self.node.import_image(path)

    @property
    def networks(self) -> Sequence[str]:
        return (self.addresses.node, self.addresses.pods, self.addresses.balancers)

    def on_machines(self, command: Sequence[str]) -> None:
        program, *arguments = command
        run([*self.inside, f"/usr/sbin/{program}", *arguments])

    def cut_off(self) -> None:
        network.cut(self.addresses)

    def rejoin(self) -> None:
        network.mend(self.addresses)
        until(
            f"region {self.region} after it was cut off",
            lambda: self.api.found("/readyz"),
            limit_s=30,
            diagnose=self.diagnosis,
        )

    def parts(self) -> str:
        assigner = self.plane.processes.tail(ASSIGNER)
        return "\n".join(
            [super().parts(), *([self.node.diagnosis(), assigner] if self.node else [])]
        )

    def healthy(self) -> bool:
        """Tell whether all parts run and the node takes pods."""
        return self.plane.healthy() and (self.node is None or self.node.healthy())


class BareBed(Bed):
    """The running bed, or the plan of one: making the object starts nothing."""

    def __init__(self) -> None:
        self.processes = Processes(STATE)
        self._clusters: dict[str, BareCluster] = {}
        for name, region in REGIONS.items():
            with_pods = name in WITH_NODES
            layout = Layout(
                region=name,
                address=region.node,
                api_port=addresses.API_PORT,
                etcd_port=ETCD_PORT,
                peer_port=PEER_PORT,
                services=region.services,
                kubernetes_service=region.kubernetes_service,
                with_pods=with_pods,
                prefix=network.inside(region),
            )
            control = ControlPlane(layout, STATE, self.processes)
            node = Node(region, control, STATE, self.processes) if with_pods else None
            self._clusters[name] = BareCluster(region, control, node)

    @property
    def clusters(self) -> Mapping[str, BareCluster]:
        return self._clusters

    @property
    def with_nodes(self) -> Sequence[BareCluster]:
        return [cluster for cluster in self.clusters.values() if cluster.node]

    @property
    def state(self) -> Path:
        return STATE

    @property
    def host(self) -> str:
        return addresses.HOST

    def up(self) -> bool:
        """Start what does not run; returns False when a healthy bed of the same making runs.

        Anything else that is left of a bed is removed first. Raises BedFailed with the logs that
        matter, and leaves the broken bed for a look at it.
        """
        if reason := no_containers():
            raise BedFailed(reason)
        build.build(*build.CLUSTERS)
        with _one_at_a_time():
            if self.healthy():
                return False
            if cleaning.leftovers(STATE):
                cleaning.clear(STATE)
            self._start()
        return True

    def down(self) -> None:
        """Remove all of it, whatever state it is in."""
        with _one_at_a_time():
            cleaning.clear(STATE)

    def components(self) -> Mapping[str, bool]:
        return {name: self.processes.alive(name) for name in self.processes.names()}

    def healthy(self) -> bool:
        """Tell whether the whole bed runs as these sources would make it."""
        try:
            made = (STATE / "bed.json").read_text()
        except OSError:
            return False
        return (
            made == _key()
            and self.processes.alive(ASSIGNER)
            and all(cluster.healthy() for cluster in self.clusters.values())
        )

    def _start(self) -> None:
        cleaning.remember_machine(STATE)
        network.make(list(REGIONS.values()))
        planes = [cluster.plane for cluster in self.clusters.values()]
        for plane in planes:
            plane.start()
        pause = archive.pack(
            STATE / "pause.tar", PAUSE, {"pause": build.program("pause")}, ["/pause"]
        )
        dns_image = dns.image(STATE)
        nodes = [cluster.node for cluster in self.clusters.values() if cluster.node]
        for node in nodes:
            node.start_containerd(pause)
            node.import_image(dns_image)
        wait_all(planes)
        for node in nodes:
            node.start_kubelet()
        self._start_assigner()
        for cluster in self.with_nodes:
            forward = (STATE / cluster.region / "resolv.conf").stat().st_size > 0
            dns.install(cluster, cluster.addresses.dns, forward=forward)
        for node in nodes:
            node.wait_ready()
        for cluster in self.with_nodes:
            cluster.wait_rollout("deployment/coredns", "kube-system")
        (STATE / "bed.json").write_text(_key())

    def _start_assigner(self) -> None:
        assignments = [
            Assignment(
                region=cluster.region,
                server=cluster.server,
                authority=str(cluster.plane.authority),
                token=ADMIN_TOKEN,
                balancers=cluster.addresses.balancers,
            )
            for cluster in self.clusters.values()
        ]
        path = write_assignments(STATE, assignments)
        self.processes.start(
            ASSIGNER,
            [sys.executable, "-m", "tests.e2e.bed.assigner", str(path)],
            {"PYTHONPATH": str(ROOT)},
        )


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with LOCK.open("w") as file:
        deadline = time.monotonic() + 300
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BedFailed(f"another process holds {LOCK}") from None
                time.sleep(0.2)
        yield


def _key() -> str:
    """Return the hash of all that shapes a bed."""
    digest = hashlib.sha256()
    for name in SHAPE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    programs = [build.key(name) for name in build.CLUSTERS]
    return json.dumps({"sources": digest.hexdigest(), "programs": programs})
