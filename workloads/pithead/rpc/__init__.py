"""gRPC between services: servers and channels over unix sockets.

Answers for how services reach one another; knows no service and no contract.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""A window part or a list of balances of a large pool fits; a runaway message does not."""

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


def channel(socket: Path) -> grpc.aio.Channel:
    """Open a channel to the service that listens on `socket`; it connects lazily and reconnects."""
    return grpc.aio.insecure_channel(f"unix:{socket}", options=OPTIONS)


@asynccontextmanager
async def serve(
    socket: Path, register: Callable[[grpc.aio.Server], None]
) -> AsyncIterator[grpc.aio.Server]:
    """Serve gRPC on a unix socket for the length of the context.

    `register` adds the servicers. A socket file that a killed process left
    behind is replaced: the data directory's lock guarantees a single owner.
    """
    _remove(socket)
    server = grpc.aio.server(options=OPTIONS)
    register(server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=1.0)
        _remove(socket)


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)
