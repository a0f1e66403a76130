"""Where services of a test listen and reach one another: unix sockets."""

from pathlib import Path

from pithead.config import PeerSettings, ServeSettings, unix_address


def served(socket: Path) -> ServeSettings:
    """Listen on a unix socket."""
    return ServeSettings(address=unix_address(socket))


def peer(socket: Path) -> PeerSettings:
    """Reach the service that listens on a unix socket."""
    return PeerSettings(address=unix_address(socket))


def peer_of(settings: ServeSettings) -> PeerSettings:
    """Reach the service that listens as these settings say."""
    return PeerSettings(address=settings.address, tls=settings.tls)
