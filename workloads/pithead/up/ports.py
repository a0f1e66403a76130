"""Looks whether the ports that manifests ask for can be opened, before anything is started.

The services open their ports themselves and refuse to run without them; this
look comes earlier and speaks in terms of the manifests. It holds no port.
"""

import errno
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pithead.config.paths import BUILT_IN_HOST
from pithead.manifests import Manifests
from pithead.manifests.endpoint import BuiltInNode

FREED_WITHIN_S = 1.5
"""What a runtime was killed with holds its ports until the kernel has ended it too."""
LOOK_S = 0.1


@dataclass(frozen=True)
class WantedPort:
    """A port that some service will open, and the field that names it."""

    host: str
    port: int
    field: str
    """Where to change the port: kind/name and field."""


def wanted_ports(manifests: Manifests) -> Iterator[WantedPort]:
    """All ports of the pools that run here, and of the built-in node."""
    for endpoint in manifests.used_endpoints():
        if not endpoint.spec.nodes:
            port = (endpoint.spec.devchain or BuiltInNode()).rpc_port
            field = f"spec.devchain.rpcPort of CoinEndpoint/{endpoint.metadata.name}"
            yield WantedPort(BUILT_IN_HOST, port, field)
    for pool in manifests.pools:
        if not pool.local_regions:
            continue
        for index, listener in enumerate(pool.spec.listeners):
            field = f"spec.listeners[{index}].port of MiningPool/{pool.metadata.name}"
            yield WantedPort(listener.host, listener.port, field)


def unusable_ports(ports: Iterable[WantedPort]) -> list[str]:
    """A sentence with its remedy for each port that can not be opened now."""
    deadline = time.monotonic() + FREED_WITHIN_S
    found = []
    for wanted in ports:
        error = _trial(wanted)
        while error is not None and error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
            time.sleep(LOOK_S)
            error = _trial(wanted)
        if error is not None:
            found.append(_sentence(wanted, error))
    return found


def _trial(wanted: WantedPort) -> OSError | None:
    """Open and close the port as its service would; what went wrong, or None."""
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            # Connections of an earlier run that linger do not hold a port against its service.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((wanted.host, wanted.port))
            # Two sockets may be bound to a port as long as neither listens.
            trial.listen(1)
    except OSError as error:
        return error
    return None


def _sentence(wanted: WantedPort, error: OSError) -> str:
    address = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    place = f"{address}:{wanted.port}"
    if error.errno == errno.EADDRINUSE:
        return f"port {place} is in use by another program: stop that one, or change {wanted.field}"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"port {place} may not be opened by this user: change {wanted.field} to one above "
            "1023, or allow it (sysctl net.ipv4.ip_unprivileged_port_start)"
        )
    if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        host = wanted.field.replace(".port of", ".host of")
        return f"{wanted.host} is not an address of this machine: change {host}"
    return f"port {place} can not be opened ({error.strerror}): change {wanted.field}"
