"""gRPC between services: servers and channels over unix sockets, or TCP with mutual TLS.

Answers for how services reach one another; knows no service and no contract.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from pithead.config import UNIX, PeerSettings, ServeSettings
from pithead.rpc.renewing import RenewingChannel
from pithead.rpc.tls import server_credentials

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""A window part or a list of balances of a large pool fits; a runaway message does not."""

KEEPALIVE_MS = 20_000
"""A neighbour whose machine is gone answers nothing, not even with a reset: calls to it end
after this and the next."""
KEEPALIVE_ANSWER_MS = 10_000

OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
    # A restarted neighbour should be found again at once, not after the
    # library's back-off of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
TCP_CLIENT_OPTIONS = (
    *OPTIONS,
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_MS),
    ("grpc.http2.max_pings_without_data", 0),
)
SERVER_OPTIONS = (
    *OPTIONS,
    # Without this a server takes the keep-alive of its clients for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
)


REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Answers that a repeat does not change."""


def channel(peer: PeerSettings) -> grpc.aio.Channel:
    """Open a channel to a service; it connects lazily and reconnects.

    Over TLS, files that are replaced count for later calls. Raises Unusable when one
    can not be read now.
    """
    if peer.address.startswith(UNIX):
        return grpc.aio.insecure_channel(peer.address, options=OPTIONS)
    if peer.tls is None:
        return grpc.aio.insecure_channel(peer.address, options=TCP_CLIENT_OPTIONS)

    def connect(credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(peer.address, credentials, options=TCP_CLIENT_OPTIONS)

    return RenewingChannel(peer.tls, connect)


@asynccontextmanager
async def serve(
    settings: ServeSettings, register: Callable[[grpc.aio.Server], None]
) -> AsyncIterator[grpc.aio.Server]:
    """Serve gRPC for the length of the context; `register` adds the servicers.

    A unix socket's file that a killed process left behind is replaced: the data
    directory's lock guarantees a single owner. With TLS every client must show a
    certificate of `ca`, and files that are replaced count from the next connection
    on. Raises Unusable when one can not be read.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS)
    register(server)
    socket = _socket(settings.address)
    if socket is not None:
        socket.unlink(missing_ok=True)
    if settings.tls is None:
        server.add_insecure_port(settings.address)
    else:
        server.add_secure_port(settings.address, server_credentials(settings.tls))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=1.0)
        if socket is not None:
            socket.unlink(missing_ok=True)


def _socket(address: str) -> Path | None:
    return Path(address.removeprefix(UNIX)) if address.startswith(UNIX) else None
