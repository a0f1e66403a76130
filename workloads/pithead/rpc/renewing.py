"""A gRPC channel that outlives its certificate.

The library reads a client's certificate once. Here a channel is replaced when the
files have changed: calls that begin afterwards use the new one, calls under way
end on the old one.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from pithead.config import TlsFiles
from pithead.rpc.tls import Pem, client_credentials, read

LOOK_S = 10.0
"""Between looks at the files, which are made when a call begins."""
OLD_CALLS_S = 300.0
"""How long calls under way may go on over a channel that was replaced."""

logger = logging.getLogger(__name__)


class RenewingChannel(grpc.aio.Channel):
    """A secure channel over the newest files; use it inside a running loop.

    Raises Unusable when the files can not be read at first; later it goes on with
    what there was.
    """

    def __init__(
        self, files: TlsFiles, connect: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]
    ) -> None:
        self._files = files
        self._connect = connect
        self._pem = read(files)
        self._channel = connect(client_credentials(self._pem))
        self._looked_s = asyncio.get_running_loop().time()
        self._closing: set[asyncio.Task[None]] = set()

    def newest(self) -> grpc.aio.Channel:
        """Return the channel that a call should begin on now."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            pem = self._reread()
            if pem != self._pem:
                self._replace(pem)
        return self._channel

    def _reread(self) -> Pem:
        try:
            return read(self._files)
        except Exception as error:
            logger.error("%s; the certificate of before is used", error)
            return self._pem

    def _replace(self, pem: Pem) -> None:
        old, self._channel = self._channel, self._connect(client_credentials(pem))
        self._pem = pem
        closing = asyncio.get_running_loop().create_task(old.close(OLD_CALLS_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        logger.info("%s: new certificate, new connections", self._files.certificate)

    def _method(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what behaves as a multi-callable of the library: any types, hence Any."""
        made: tuple[grpc.aio.Channel | None, Any] = (None, None)

        def begin(*call: Any, **how: Any) -> Any:
            nonlocal made
            channel = self.newest()
            if made[0] is not channel:
                made = (channel, getattr(channel, kind)(*arguments, **options))
            return made[1](*call, **how)

        return begin

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """As the library's."""
        return self._method("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """As the library's."""
        return self._method("unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """As the library's."""
        return self._method("stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """As the library's."""
        return self._method("stream_stream", arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Close the channel and what is left of those before it."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close(grace)

    async def __aenter__(self) -> "RenewingChannel":
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As the library's, of the newest channel."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """As the library's, of the newest channel."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """As the library's, of the newest channel."""
        await self._channel.channel_ready()
