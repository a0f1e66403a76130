"""TCP listeners and connections: the only module that knows sockets.

Each connection hands received bytes to the edge and writes what it is given. A
reader that does not keep up is not read from any more, and cut off when its
buffer is full: answers must not pile up in memory. An unexpected error closes
the one connection it happened on; of it the peer learns nothing.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from pithead.config import ListenerSettings
from pithead.stratum import metrics
from pithead.stratum.failures import PortUnusable
from pithead.stratum.miner import Miner, Port

BACKLOG = 4096
"""A whole farm reconnects at once after a power cut; the kernel caps it at somaxconn."""
WRITE_PAUSE_BYTES = 64 * 1024
"""Some ten jobs: a peer that has not read them is not listened to until it does."""
WRITE_BYTES_MAX = 2 * 1024 * 1024
"""Holds the largest answer to mining.get_transactions; who lets more pile up is cut off."""
LINGER_S = 5.0
"""For the last answers of a closed connection: a peer that never reads would hold it for ever."""

logger = logging.getLogger(__name__)

Connected = Callable[[Port, str, ListenerSettings], Miner | None]
Received = Callable[[Miner, bytes], None]
Disconnected = Callable[[Miner], None]


class Connection(asyncio.Protocol):
    """One TCP connection of a miner; implements `Port`."""

    __slots__ = ("_listener", "_miner", "_transport")

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._miner: Miner | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the peer, or close."""
        # uvloop's transports do not derive from asyncio's classes.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        transport.set_write_buffer_limits(high=WRITE_PAUSE_BYTES)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else "unknown"
        listener = self._listener
        self._miner = listener.connected(self, address, listener.settings)
        if self._miner is None:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the edge."""
        miner = self._miner
        if miner is None or miner.gone:
            return
        try:
            self._listener.received(miner, data)
        except Exception:
            metrics.CLOSED.labels("internal-error").inc()
            logger.exception("closing a connection of %s after an internal error", miner.address)
            miner.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the edge that the peer is gone."""
        miner, self._miner = self._miner, None
        if miner is not None:
            self._listener.disconnected(miner)

    def pause_writing(self) -> None:
        """Read nothing more from a peer that does not read."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Queue bytes; cut the peer off when it lets too much pile up."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > WRITE_BYTES_MAX:
            metrics.CLOSED.labels("slow-reader").inc()
            if self._miner is not None:
                # Gone from this moment: nothing more of what it sent is worth answering.
                self._miner.abort()

    def close(self) -> None:
        """Send what is queued, then close; a peer that does not read it is cut off soon."""
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LINGER_S, transport.abort)
        transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Listener:
    """One stratum port: bound at once, so that a taken port is known early, opened later."""

    def __init__(
        self,
        settings: ListenerSettings,
        connected: Connected,
        received: Received,
        disconnected: Disconnected,
    ) -> None:
        self.settings = settings
        self.connected = connected
        self.received = received
        self.disconnected = disconnected
        self._socket = _bind(settings)
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port in fact, also when the settings say 0."""
        return int(self._socket.getsockname()[1])

    async def open(self) -> None:
        """Accept connections; raises PortUnusable."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self), sock=self._socket, backlog=BACKLOG
            )
        except OSError as error:
            raise _unusable(self.settings, error) from error

    def close(self) -> None:
        """Accept no more; connections stay."""
        if self._server is not None:
            self._server.close()
        self._socket.close()


def _bind(settings: ListenerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port whose old connections linger in TIME_WAIT can be opened again at once.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise _unusable(settings, error) from error
    return sock


def _unusable(settings: ListenerSettings, error: Exception) -> PortUnusable:
    reason = getattr(error, "strerror", None) or str(error)
    return PortUnusable(settings.name, settings.host, settings.port, reason)
