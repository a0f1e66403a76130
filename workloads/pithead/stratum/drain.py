"""How an edge lets its miners go before it ends (invariant CalmMoves).

    serving -> lingering -> sending away -> flushing

*Lingering*: load balancers need a while to see that this edge leaves, so it goes
on taking in connections. *Sending away*: the listeners are closed and miners are
asked to reconnect, one slice after the other, so that the edges beside this one
are not overrun; all they submit is still credited. It is over when everybody has
left, or with the time. *Flushing* is the owner's: the last batch, its end, and
then the connections of those who did not listen.

Asked to hurry, it sends away at once whoever is left.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import IntEnum

from pithead.config import DrainSettings
from pithead.stratum import metrics
from pithead.stratum.edge import Edge

ANSWERS_S = 0.3
"""After the last client.reconnect: shares under way still arrive and are credited."""

logger = logging.getLogger(__name__)


class Phase(IntEnum):
    """How far an edge has come; the metric's values."""

    SERVING = 0
    LINGERING = 1
    SENDING_AWAY = 2
    FLUSHING = 3


class Drain:
    """The drain of one edge."""

    def __init__(
        self,
        settings: DrainSettings,
        edge: Edge,
        urgent: asyncio.Event,
        close_listeners: Callable[[], None],
    ) -> None:
        """`urgent` shortens the waits, also when it is set in the middle of one."""
        self._settings = settings
        self._edge = edge
        self._urgent = urgent
        self._close_listeners = close_listeners
        self.phase = Phase.SERVING
        metrics.DRAIN.set(self.phase)

    async def run(self) -> None:
        """Let the miners go; returns when nothing is left but to flush."""
        settings, edge = self._settings, self._edge
        self._enter(Phase.LINGERING)
        await self._wait(settings.linger_ms)
        self._enter(Phase.SENDING_AWAY)
        self._close_listeners()
        edge.refuse_newcomers()
        miners = list(edge.miners)
        slices = max(1, settings.slices)
        for number in range(slices):
            # Of every age in each slice: connections of one farm were made one after the other.
            edge.reconnect(miners[number::slices], "drain")
            await self._wait(settings.reconnect_ms // slices, or_until=edge.empty)
        if edge.miners:
            await asyncio.sleep(ANSWERS_S)
        self._enter(Phase.FLUSHING)

    async def _wait(self, time_ms: int, or_until: asyncio.Event | None = None) -> None:
        events = [self._urgent] if or_until is None else [self._urgent, or_until]
        if time_ms == 0 or any(event.is_set() for event in events):
            return
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=time_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        metrics.DRAIN.set(phase)
        logger.info("drain: %s, %d connections", phase.name.lower(), len(self._edge.miners))
