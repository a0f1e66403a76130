"""TCP listeners and connections, plain and TLS: the only module that knows sockets.

Each connection hands received bytes to the edge and writes what it is given. A
reader that does not keep up is not read from any more, and cut off when its
buffer is full: answers must not pile up in memory. An unexpected error closes
the one connection it happened on; of it the peer learns nothing.

Behind TLS a peer is taken in before the handshake, so that limits, bans and
deadlines hold for it, and spare us its cost. Plain connections know nothing of it.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from pithead.config import ListenerSettings
from pithead.stratum import metrics
from pithead.stratum.failures import EdgeError, PortUnusable
from pithead.stratum.miner import Miner, Port
from pithead.stratum.tls import Certificates

BACKLOG = 4096
"""A whole farm reconnects at once after a power cut; the kernel caps it at somaxconn."""
WRITE_PAUSE_BYTES = 64 * 1024
"""Some ten jobs: a peer that has not read them is not listened to until it does."""
WRITE_BYTES_MAX = 2 * 1024 * 1024
"""Holds the largest answer to mining.get_transactions; who lets more pile up is cut off."""
LINGER_S = 5.0
"""For the last answers of a closed connection: a peer that never reads would hold it for ever."""
HANDSHAKE_S = 10.0
"""A miner on another continent needs a second; when a farm comes at once they queue up."""
ACCEPTS_MAX = 64
"""In one go, so that shares are answered in between."""
ACCEPT_PAUSE_S = 1.0
GOODBYE_S = 2.0
"""For the last answers and the end of TLS itself, which many peers do not answer."""

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
            _tune(sock)
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


class TlsConnection(Connection):
    """A connection behind TLS; says and hears nothing until the handshake is done."""

    __slots__ = ("_shaking",)

    def __init__(self, listener: "TlsListener") -> None:
        super().__init__(listener)
        self._shaking: asyncio.Task[None] | None = None

    def begin(self, sock: socket.socket, address: str, context: ssl.SSLContext) -> None:
        """Admit the peer and begin the handshake, or close."""
        listener = self._listener
        self._miner = listener.connected(self, address, listener.settings)
        if self._miner is None:
            sock.close()
            return
        _tune(sock)
        loop = asyncio.get_running_loop()
        shaking = self._shaking = loop.create_task(self._shake(sock, context))
        shaking.add_done_callback(lambda task: self._shaken(task, sock))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take up the conversation: the handshake is done."""
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        if self._miner is None or self._miner.gone:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_PAUSE_BYTES)

    def close(self) -> None:
        """Send what is queued, then close; at once when the handshake is not done."""
        if self._transport is None:
            self.abort()
        else:
            super().close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is None and self._shaking is not None:
            self._shaking.cancel()
        super().abort()

    async def _shake(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        name = self._listener.settings.name
        try:
            await loop.connect_accepted_socket(
                lambda: self,
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError as error:
            cause = "closed"
            if isinstance(error, ssl.SSLError):
                cause = "protocol"
            elif isinstance(error, ConnectionAbortedError):
                cause = "timeout"
            metrics.HANDSHAKES_FAILED.labels(name, cause).inc()
            logger.debug("listener %s: TLS handshake failed (%s): %s", name, cause, error)

    def _shaken(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        if task.cancelled():
            # Before its first step it had given the socket to nobody.
            sock.close()
        elif (error := task.exception()) is not None:
            metrics.CLOSED.labels("internal-error").inc()
            logger.error("a TLS handshake ended in an internal error", exc_info=error)
        if self._transport is None:
            # A protocol that never began is not told of its end.
            self.connection_lost(None)


class Listener:
    """One stratum port: bound at once, so that a taken port is known early, opened later."""

    def __init__(
        self,
        settings: ListenerSettings,
        connected: Connected,
        received: Received,
        disconnected: Disconnected,
    ) -> None:
        """Bind the port; raises PortUnusable."""
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


class TlsListener(Listener):
    """One stratum port behind TLS.

    It accepts by itself: asyncio's servers show a connection only after its handshake.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        certificates: Certificates,
        connected: Connected,
        received: Received,
        disconnected: Disconnected,
    ) -> None:
        """Bind the port; raises PortUnusable."""
        super().__init__(settings, connected, received, disconnected)
        self.certificates = certificates
        self._pause: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Accept connections; raises PortUnusable."""
        try:
            self._socket.setblocking(False)
            self._socket.listen(BACKLOG)
        except OSError as error:
            raise _unusable(self.settings, error) from error
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept no more; connections stay."""
        if self._pause is not None:
            self._pause.cancel()
        if self._loop is not None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
        super().close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            sock.setblocking(False)
            TlsConnection(self).begin(sock, str(address[0]), self.certificates.context)

    def _rest(self, error: OSError) -> None:
        """Leave off for a moment: no descriptors or no memory, and the peer stays in the queue."""
        logger.error("listener %s can not accept: %s", self.settings.name, error)
        assert self._loop is not None
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(
            ACCEPT_PAUSE_S, self._loop.add_reader, self._socket, self._accept
        )


def bind_listeners(
    settings: Sequence[ListenerSettings],
    connected: Connected,
    received: Received,
    disconnected: Disconnected,
) -> list[Listener]:
    """Bind all ports, or none; raises PortUnusable, TlsUnusable."""
    listeners: list[Listener] = []
    try:
        for each in settings:
            if each.tls is None:
                listeners.append(Listener(each, connected, received, disconnected))
            else:
                certificates = Certificates(each.name, each.tls)
                listeners.append(TlsListener(each, certificates, connected, received, disconnected))
    except EdgeError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


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
