"""The bed's network: a bridge on the host, a network namespace a region, routes between them."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.bed.addresses import BRIDGE, BRIDGE_PREFIX, HOST, REGIONS, RegionAddresses
from tests.e2e.bed.shell import CommandFailed, run
from tests.e2e.bed.waiting import BedFailed

NAMESPACES = Path("/run/netns")


def inside(region: RegionAddresses) -> list[str]:
    """Return what to put before a command so that it runs on the region's machine.

    Not `ip netns exec`: that mounts another /sys, in which the kubelet finds no cgroups.
    """
    return ["/usr/bin/nsenter", f"--net={NAMESPACES / region.namespace}"]


def make(regions: Sequence[RegionAddresses]) -> None:
    """Make the bridge and join the regions to it; nothing of it may exist."""
    _refuse_taken_addresses()
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{HOST}/{BRIDGE_PREFIX}", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for region in regions:
        _join(region)
    for region in regions:
        _routes_to(region)
        for other in regions:
            if other != region:
                _routes_to(region, "-netns", other.namespace)


def cut(region: RegionAddresses) -> None:
    """Pull the region's cable: nothing passes between it and the others or the host."""
    _ip("link", "set", region.namespace, "down")


def mend(region: RegionAddresses) -> None:
    """Plug the cable in again."""
    _ip("link", "set", region.namespace, "up")


def remove() -> None:
    """Remove all of it, whatever there is; it goes by names, so a crash before does not matter."""
    for region in REGIONS.values():
        if (NAMESPACES / region.namespace).exists():
            # Its own interfaces, routes and iptables rules go with it.
            _ip("netns", "delete", region.namespace)
        _remove_link(region.namespace)
    _remove_link(BRIDGE)


def leftovers() -> list[str]:
    """Return the names of what is there now."""
    names = [region.namespace for region in REGIONS.values()]
    spaces = [f"netns {name}" for name in names if (NAMESPACES / name).exists()]
    return spaces + [f"link {name}" for name in (BRIDGE, *names) if _link_exists(name)]


def _join(region: RegionAddresses) -> None:
    name = region.namespace
    _ip("netns", "add", name)
    _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", name, "master", BRIDGE, "up")
    space = ("-netns", name)
    _ip(*space, "link", "set", "lo", "up")
    _ip(*space, "address", "add", f"{region.node}/{BRIDGE_PREFIX}", "dev", "eth0")
    _ip(*space, "link", "set", "eth0", "up")
    _ip(*space, "route", "add", "default", "via", HOST)
    # Balancer addresses exist only as rules of kube-proxy. What the rules leave over must end here
    # and not travel in circles.
    _ip(*space, "route", "add", region.balancers, "dev", "eth0", "scope", "link")
    forwarding = "echo 1 > /proc/sys/net/ipv4/ip_forward"
    run([*inside(region), "/bin/sh", "-c", forwarding])


def _routes_to(region: RegionAddresses, *place: str) -> None:
    for network in (region.pods, region.balancers):
        _ip(*place, "route", "add", network, "via", region.node)


def _refuse_taken_addresses() -> None:
    routes = json.loads(_ip("-json", "route", "show", "root", "192.168.64.0/18") or "[]")
    if taken := [route for route in routes if route.get("dev") != BRIDGE]:
        raise BedFailed(f"192.168.64.0/18 is in use on this machine: {taken}")


def _link_exists(name: str) -> bool:
    return (Path("/sys/class/net") / name).exists()


def _remove_link(name: str) -> None:
    if _link_exists(name):
        try:
            _ip("link", "delete", name)
        except CommandFailed:
            # A namespace takes its cable with it, a moment after it is gone itself.
            if _link_exists(name):
                raise


def _ip(*arguments: str) -> str:
    return run(["/usr/sbin/ip", *arguments], limit_s=20)
