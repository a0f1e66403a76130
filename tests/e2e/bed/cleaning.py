"""Removes everything that a bed has made, also what a crash left behind.

Nothing is remembered for it: processes carry the bed's mark, containers are in the bed's cgroups,
mounts are below the bed's folder, and namespaces and links have the bed's names.
"""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.bed import network
from tests.e2e.bed.addresses import REGIONS
from tests.e2e.bed.machine import cgroup_roots
from tests.e2e.bed.node import cgroup_name
from tests.e2e.bed.processes import end_all, marked
from tests.e2e.bed.shell import run
from tests.e2e.bed.waiting import until

KEPT_SYSCTLS = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
"""What the kubelet changes on the machine."""

SYSCTL = Path("/proc/sys")

FIXED_PATHS = (Path("/var/lib/kubelet"), Path("/var/log/containers"))
"""Where the kubelet writes whatever its settings say."""

SHARED_FOLDERS = tuple(
    Path(name)
    for name in (
        "/run/netns",
        "/run/containerd/s",
        "/run/containerd",
        "/var/lib/cni/results",
        "/var/lib/cni",
    )
)
"""Folders that other programs use as well: removed when nothing is in them any more."""


def remember_machine(state: Path) -> None:
    """Write down what `clear` is to put back."""
    values = {name: (SYSCTL / name).read_text().strip() for name in KEPT_SYSCTLS}
    present = [str(path) for path in (*FIXED_PATHS, *SHARED_FOLDERS) if path.exists()]
    state.mkdir(parents=True, exist_ok=True)
    (state / "machine.json").write_text(json.dumps({"sysctls": values, "present": present}))


def leftovers(state: Path) -> list[str]:
    """Return what is there of a bed, running or not; empty after `clear`."""
    found = [f"process {pid}" for pid in marked(state)]
    found += [f"cgroup {path}" for path in _cgroups()]
    found += [f"mount {path}" for path in _mounts(state)]
    found += network.leftovers()
    return found + ([f"folder {state}"] if state.exists() else [])


def clear(state: Path) -> None:
    """End the bed's processes and remove all that they made."""
    end_all(marked(state))
    _end_containers()
    sockets = list(_shim_sockets(state))
    cni_results = list(_cni_results(state))
    for path in _mounts(state):
        # Lazily: another mount namespace may still hold it.
        run(["/usr/bin/umount", "--lazy", str(path)])
    _remove_cgroups()
    network.remove()
    for socket in sockets:
        socket.unlink(missing_ok=True)
    for path in cni_results:
        path.unlink(missing_ok=True)
    _put_back(state)
    shutil.rmtree(state, ignore_errors=True)


def _end_containers() -> None:
    deadline = time.monotonic() + 30
    while pids := _contained():
        end_all(pids)
        if time.monotonic() > deadline:
            break


def _contained() -> list[int]:
    pids: set[int] = set()
    for folder in _cgroups():
        try:
            pids |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
        except OSError:
            continue
    return sorted(pids)


def _cgroups() -> list[Path]:
    """Return the bed's cgroups in every hierarchy, the innermost first."""
    found = []
    for root in cgroup_roots():
        for region in REGIONS:
            top = root / cgroup_name(region)
            if top.exists():
                inner = [path for path in top.rglob("*") if path.is_dir()]
                found += [*sorted(inner, key=lambda path: -len(path.parts)), top]
    return found


def _remove_cgroups() -> None:
    def gone() -> bool:
        for folder in _cgroups():
            # A process that has just died may still be counted.
            if folder.exists():
                folder.rmdir()
        return not _cgroups()

    until("the removal of the bed's cgroups", gone, limit_s=20)


def _mounts(folder: Path) -> list[Path]:
    """Return the mounts at and below a folder, the innermost first."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [Path(row[4].encode().decode("unicode_escape")) for row in rows]
    return [path for path in reversed(points) if path.is_relative_to(folder)]


def _shim_sockets(state: Path) -> Iterator[Path]:
    for file in state.glob("*/run/io.containerd.runtime.v2.task/k8s.io/*/address"):
        address = file.read_text().strip()
        if address.startswith("unix:///run/containerd/s/"):
            yield Path(address.removeprefix("unix://"))


def _cni_results(state: Path) -> Iterator[Path]:
    """Yield what CNI remembers of the bed's pods, under names made of containerd's ids."""
    for folder in state.glob("*/run/io.containerd.grpc.v1.cri/sandboxes/*"):
        yield from Path("/var/lib/cni/results").glob(f"*-{folder.name}-*")


def _put_back(state: Path) -> None:
    try:
        remembered = json.loads((state / "machine.json").read_text())
    except FileNotFoundError:
        return
    for name, value in remembered["sysctls"].items():
        if (SYSCTL / name).read_text().strip() != value:
            (SYSCTL / name).write_text(value)
    for path in FIXED_PATHS:
        if str(path) not in remembered["present"]:
            shutil.rmtree(path, ignore_errors=True)
    for path in SHARED_FOLDERS:
        if str(path) not in remembered["present"] and path.exists() and not any(path.iterdir()):
            # `ip netns` mounts its folder over itself.
            for point in _mounts(path):
                run(["/usr/bin/umount", str(point)])
            path.rmdir()
