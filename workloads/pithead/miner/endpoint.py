"""Where a miner connects, and where a pool may send it. Pure."""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

SCHEMES = {"stratum+tcp": False, "tcp": False, "stratum+ssl": True, "stratum+tls": True}
"""Scheme to whether the connection is encrypted."""


class BadUrl(ValueError):
    """Raised for an address that no miner can dial; the text says what is allowed."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url!r}: {problem}; write stratum+tcp://HOST:PORT or stratum+ssl://")
        self.url = url


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A stratum server."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_url(url: str) -> Endpoint:
    """Return the endpoint of a stratum URL; a bare `host:port` is taken as plain TCP."""
    full = url if "://" in url else f"stratum+tcp://{url}"
    try:
        parts = urlsplit(full)
        port = parts.port
    except ValueError as error:
        raise BadUrl(url, str(error)) from error
    if parts.scheme not in SCHEMES:
        raise BadUrl(url, f"unknown scheme {parts.scheme!r}")
    if not parts.hostname:
        raise BadUrl(url, "no host")
    if not port:
        raise BadUrl(url, "no port")
    return Endpoint(parts.hostname, port, SCHEMES[parts.scheme])


def reconnect_target(current: Endpoint, host: str, port: int) -> Endpoint | None:
    """Return where `client.reconnect` may send a miner, None when it is not to be followed.

    The rule that cgminer set and the field keeps, so that nobody who can speak
    for a moment on a connection can steal the miner: no host means the same one,
    another must equal the present one after its first dot, and an address in
    numbers is followed only when it is the present one. Port 0 is the same port.
    """
    port = port or current.port
    if not 0 < port < 1 << 16:
        return None
    wanted = host.lower()
    present = current.host.lower()
    if not wanted or wanted == present:
        return Endpoint(current.host, port, current.tls)
    if _is_ip(wanted) or _is_ip(present):
        return None
    _, dot, domain = present.partition(".")
    if not dot or wanted.partition(".")[1:] != (dot, domain) or wanted.startswith("."):
        return None
    return Endpoint(wanted, port, current.tls)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
