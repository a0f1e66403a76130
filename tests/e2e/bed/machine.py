"""What a machine must have for each form of the bed, and how to get what is missing."""

import os
import shutil
import sys
from pathlib import Path

CNI_PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins lie."""

PACKAGE_OF = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
}
"""The Debian package of each program that a node needs."""

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""Rights that root has on a machine and lacks in most containers, with their bit numbers."""


def search_path() -> str:
    """Return PATH with the folders that users other than root often lack in theirs."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def on_kind() -> bool:
    """Tell whether the clusters are to be made by kind (`PITHEAD_BED=kind`)."""
    return os.environ.get("PITHEAD_BED") == "kind"


def no_cluster() -> str | None:
    """Return why there can be no control planes here, or None."""
    if not sys.platform.startswith("linux"):
        return "real control planes run on Linux only"
    return None


def no_containers() -> str | None:
    """Return why there can be no nodes here, or None."""
    if on_kind():
        missing = [name for name in ("docker", "kind") if not shutil.which(name)]
        return f"PITHEAD_BED=kind wants the programs {missing}" if missing else None
    if reason := no_cluster():
        return reason
    if os.geteuid() != 0:
        return "nodes run containers, which wants root"
    rights = _capabilities()
    lacking = [name for name, bit in CAPABILITIES.items() if not rights >> bit & 1]
    if lacking:
        return f"nodes run containers, which wants {' and '.join(lacking)}"
    packages = {
        package
        for name, package in PACKAGE_OF.items()
        if not shutil.which(name, path=search_path())
    }
    if not (CNI_PLUGINS / "ptp").exists():
        packages.add("containernetworking-plugins")
    if packages:
        return f"programs are missing (Debian: apt-get install {' '.join(sorted(packages))})"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the kernel has no overlayfs"
    if not cgroup_roots():
        return "no cgroup file system is mounted"
    return None


def cgroup_roots() -> list[Path]:
    """Return the roots of all cgroup hierarchies."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(row[1]) for row in rows if row[2] in {"cgroup", "cgroup2"}]


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
