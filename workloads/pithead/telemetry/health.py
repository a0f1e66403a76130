"""HTTP for probes and Prometheus: /livez, /readyz, /metrics.

Alive is who answers: a loop that is stuck does not. Ready is what the service
says of itself; the reason why it is not stands in the answer, for people.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

logger = logging.getLogger(__name__)

STUCK_S = 180.0
"""A loop that did not finish a turn for this long is stuck: statements and calls end before."""

ResultT = TypeVar("ResultT")

Ready = Callable[[], bool | str]
"""True when ready; otherwise False or, better, the reason."""


class HealthAddress(Protocol):
    """Where to listen; `config.HealthSettings` is one."""

    @property
    def host(self) -> str:
        """Address."""

    @property
    def port(self) -> int:
        """TCP port."""


@asynccontextmanager
async def health_server(address: HealthAddress | None, ready: Ready) -> AsyncIterator[None]:
    """Answer probes for the length of the context; nothing is done when `address` is None.

    `ready` is asked at each probe and must not block. Raises OSError when the port
    can not be opened.
    """
    if address is None:
        yield
        return
    # A web server is much to load where nobody asks.
    from pithead.telemetry.probes import probe_server  # noqa: PLC0415

    async with probe_server(address.host, address.port, ready):
        logger.info("probes on %s port %d", address.host, address.port)
        yield


class Standing:
    """What a service says of itself: whether it started, what is wrong, which loops turn.

    A neighbour that is away is no reason to be taken from the others: loops say
    only that they turn, whether or not a turn went well.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._started = False
        self._wrong: dict[str, str] = {}
        self._turned_s: dict[str, float] = {}

    def ready(self) -> bool | str:
        """Answer for `health_server`."""
        said = [] if self._started else ["starting"]
        said += [f"{who}: {reason}" for who, reason in self._wrong.items()]
        now_s = self._now_s()
        for loop, turned_s in self._turned_s.items():
            if now_s - turned_s > STUCK_S:
                said.append(f"{loop}: nothing was done for {now_s - turned_s:.0f} s")
        return "; ".join(said) or True

    def started(self) -> None:
        """Note that the service serves."""
        self._started = True

    def say(self, who: str, reason: str) -> None:
        """Note what is wrong with `who`; empty: nothing."""
        if reason:
            self._wrong[who] = reason
        else:
            self._wrong.pop(who, None)

    def turned(self, loop: str) -> None:
        """Note that a loop has finished a turn; from the first on it is expected to."""
        self._turned_s[loop] = self._now_s()

    def turning(
        self, loop: str, step: Callable[[], Awaitable[ResultT]]
    ) -> Callable[[], Coroutine[Any, Any, ResultT]]:
        """Return the same step of a loop, which notes its turns."""

        async def turn() -> ResultT:
            try:
                return await step()
            finally:
                self.turned(loop)

        return turn
