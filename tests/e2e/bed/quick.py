"""The quick form: control planes only, on loopback, without root, up in under 10 seconds.

For tests that need real API servers (validation, server-side apply, ownership, RBAC, status,
several regions) and no pods. It is cleared when its owner closes it or dies, however it dies.
"""

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.e2e.bed import build
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.control_plane import LOOPBACK, ControlPlane, Layout, wait_all
from tests.e2e.bed.processes import Processes, end_all, marked

PORTS = range(20000, 30000)
"""Below those that the kernel gives to clients, so that a stopped server finds its port free."""


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address on which nobody listens now."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports in {PORTS}")


class QuickBed:
    """Control planes of the named regions; the first is the hub."""

    def __init__(self, regions: Sequence[str]) -> None:
        build.build(*build.CONTROL_PLANE)
        # Short, since unix socket paths end at 107 characters.
        self.state = Path(tempfile.mkdtemp(prefix="phq-", dir="/tmp"))
        self.processes = Processes(self.state)
        self._guard = self.processes.guard()
        ports = iter(free_ports(3 * len(regions)))
        planes = [
            ControlPlane(
                Layout(
                    region=region,
                    address=LOOPBACK,
                    api_port=next(ports),
                    etcd_port=next(ports),
                    peer_port=next(ports),
                    services="10.96.0.0/16",
                    kubernetes_service="10.96.0.1",
                ),
                self.state,
                self.processes,
            )
            for region in regions
        ]
        self.clusters = {plane.region: Cluster(plane) for plane in planes}
        try:
            for plane in planes:
                plane.start()
            wait_all(planes)
        except BaseException:
            self.close()
            raise

    @property
    def hub(self) -> Cluster:
        """The first region."""
        return next(iter(self.clusters.values()))

    def close(self) -> None:
        """End the processes and remove every file."""
        end_all(marked(self.state))
        shutil.rmtree(self.state, ignore_errors=True)
        os.close(self._guard)

    def __enter__(self) -> "QuickBed":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
