"""Several nodes of one coin: which of them is asked, what they announce, and submitting to all.

Every node is polled all the time for its tip (`_watch_node`), which is its health as well. The
active node is the first healthy one, mains before standbys. So a main takes over again once it is
well, after some good polls in a row, lest a node that comes and goes moves the work with it; one
that could give no template has to give one first. A node that lags behind another one for LAG_MS
counts as ill.

`templates` turns this into the edge's feed. A long poll on the active node brings news at once; the
polls beneath it bring them when the long poll does not. One long poll is open at a time and it is
not renewed before it answers, because nodes keep serving abandoned ones.

It decides nothing about jobs, and keeps no chain of its own.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pithead.coins.hashing import block_hash
from pithead.coins.node import ChainInfo, NodeAccess, RpcNode, Submission
from pithead.coins.node_errors import NodeError, RpcFault
from pithead.coins.node_events import Announced, Confirmed, Event, NodeHealth
from pithead.coins.params import ChainParams
from pithead.coins.template import Template

__all__ = [
    "Announced",
    "Confirmed",
    "Event",
    "NodeHealth",
    "NodeOption",
    "NodeSet",
    "Template",
]

logger = logging.getLogger(__name__)

POLL_TIMEOUT_S = 3.0
"""A poll is a trivial call; a node that needs longer is not one to take work from."""

TEMPLATE_TIMEOUT_S = 5.0
SUBMIT_TIMEOUT_S = 15.0
"""Per node, lookup included: a full block takes seconds to connect."""

FAILBACK_POLLS = 3
"""Good polls in a row after which a node that was ill is healthy again."""

LAG_MS = 5000
"""A node that another one leads by a block or more for this long is not asked for work."""

REFRESH_MS = 30_000
"""Age at which a template is fetched again for its transactions and time."""

RETRY_MS = 1000
"""Pause before a long poll that failed is tried again."""

SIGNALS_MAX = 64
"""Signals between the watchers and the feed; a full queue makes the watchers wait."""

AnswerT = TypeVar("AnswerT")


class NodeOption(NodeAccess, Protocol):
    """A node that may be used; `pithead.config.NodeSettings` is one."""

    @property
    def standby(self) -> bool:
        """Whether it is only asked for work when no main node is healthy."""


@dataclass(frozen=True, slots=True)
class _Polled:
    """A poll of node `index` that began at `asked_ms` is done; its health is up to date."""

    index: int
    asked_ms: int


@dataclass(frozen=True, slots=True)
class _LongPolled:
    """The long poll of node `index` brought a template."""

    index: int
    template: Template


_Signal = _Polled | _LongPolled


class NodeSet:
    """The nodes of one coin. Close it with `close` or `async with`.

    `now_ms` is a clock that never goes back (its origin does not matter).
    """

    def __init__(
        self,
        params: ChainParams,
        nodes: Sequence[NodeOption],
        *,
        now_ms: Callable[[], int],
        poll_interval_ms: int = 500,
        refresh_ms: int = REFRESH_MS,
    ) -> None:
        if not nodes:
            raise ValueError("a coin needs at least one node")
        self.params = params
        order = sorted(nodes, key=lambda node: node.standby)
        self.nodes = [RpcNode(access, network=params.network) for access in order]
        self.health = [NodeHealth(access.name) for access in order]
        self._now_ms = now_ms
        self._poll_s = poll_interval_ms / 1000
        self._refresh_ms = refresh_ms

    async def __aenter__(self) -> "NodeSet":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for node in self.nodes:
            await node.close()

    @property
    def active(self) -> RpcNode:
        """The node to ask: the first healthy one, or the first of all when none is."""
        return self.nodes[self._active_index()]

    async def ask(self, question: Callable[[RpcNode], Awaitable[AnswerT]]) -> AnswerT:
        """The answer of the active node or, when it fails, of the next one.

        A refusal of the call itself (RpcFault) is an answer and is raised at once. Raises the
        active node's error when no node answers. Not for what may be done only once.
        """
        first = self._active_index()
        order = [first, *(index for index in range(len(self.nodes)) if index != first)]
        failure: NodeError | None = None
        for index in order:
            try:
                return await question(self.nodes[index])
            except RpcFault:
                raise
            except NodeError as error:
                self._mark(index, error)
                failure = failure or error
        if failure is None:
            raise LookupError("no node was asked")
        raise failure

    async def submit_everywhere(self, block: bytes) -> list[Submission]:
        """Give a solved block to every node at once and ask each for its hash afterwards.

        One Submission a node, in their order; a node that fails or does not answer in time has
        its trouble as `word` and no confirmations. Never raises NodeError.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._submit(node, block)) for node in self.nodes]
        return [task.result() for task in tasks]

    async def templates(self) -> AsyncGenerator[Event, None]:
        """The feed of one edge: a Template on a new tip, another node, or after `refresh_ms`.

        Between them Confirmed and Announced. Runs until it is closed (use `aclosing`); while no
        node is usable it waits, and the last template grows old without Confirmed.
        """
        feed = _Feed(self, self._now_ms, self._refresh_ms)
        watchers = [
            asyncio.create_task(self._watch_node(index, feed.signals))
            for index in range(len(self.nodes))
        ]
        try:
            while True:
                event = await feed.next_event(watchers)
                if event is not None:
                    yield event
        finally:
            await _ended([*watchers, *feed.tasks()])

    async def probe(self, index: int) -> NodeHealth:
        """Ask node `index` where it stands and update its health. Never raises NodeError."""
        asked_ms = self._now_ms()
        try:
            info = await self.nodes[index].chain_info(timeout_s=POLL_TIMEOUT_S)
        except NodeError as error:
            self._mark(index, error)
        else:
            health = self.health[index]
            # Where it stands counts even when it gives no work: its tip may end everybody's.
            now_ms = self._now_ms()
            health.answered_ms, health.latency_ms = now_ms, now_ms - asked_ms
            health.height, health.tip = info.blocks, info.best
            if not health.workless or await self.template_of(index) is not None:
                self._heard(index, info)
        return self.health[index]

    async def watch(self) -> None:
        """Keep `health` up to date for ever, for a user of `ask`; `templates` does it by itself."""
        async with asyncio.TaskGroup() as group:
            for index in range(len(self.nodes)):
                group.create_task(self._watch_node(index, None))

    async def template_of(self, index: int) -> Template | None:
        """A template of node `index`, or None with its trouble noted."""
        node = self.nodes[index]
        try:
            template = await node.get_template(self.params, timeout_s=TEMPLATE_TIMEOUT_S)
        except NodeError as error:
            self._mark(index, error)
            return None
        self.health[index].workless = False
        return template

    async def _submit(self, node: RpcNode, block: bytes) -> Submission:
        try:
            async with asyncio.timeout(SUBMIT_TIMEOUT_S):
                return await node.submitted(block)
        except NodeError as error:
            trouble = error.trouble
        except TimeoutError:
            trouble = f"no answer within {SUBMIT_TIMEOUT_S:g} s"
        return Submission(node.name, block_hash(block[:80]), trouble, None)

    async def _watch_node(self, index: int, signals: asyncio.Queue[_Signal] | None) -> None:
        while True:
            asked_ms = self._now_ms()
            await self.probe(index)
            if signals is not None:
                await signals.put(_Polled(index, asked_ms))
            await asyncio.sleep(self._poll_s)

    def _active_index(self) -> int:
        for index, health in enumerate(self.health):
            if health.healthy:
                return index
        return 0

    def _heard(self, index: int, info: ChainInfo) -> None:
        now_ms = self._now_ms()
        health = self.health[index]
        best = max(other.height for other in self.health if other.good_polls or other is health)
        if info.blocks >= best:
            health.behind_since_ms = None
        elif health.behind_since_ms is None:
            health.behind_since_ms = now_ms
        trouble = ""
        if info.ibd:
            trouble = f"still syncing: block {info.blocks} of {info.headers}; wait until it is done"
        elif health.behind_since_ms is not None and now_ms - health.behind_since_ms >= LAG_MS:
            trouble = f"lags behind: block {info.blocks}, another node has {best}"
        if trouble:
            self._ill(health, trouble)
            return
        health.good_polls += 1
        first_time = health.trouble == "not asked yet"
        if not health.healthy and (first_time or health.good_polls >= FAILBACK_POLLS):
            logger.info("node %s is healthy at height %d", health.name, health.height)
            health.healthy, health.trouble = True, ""

    def _mark(self, index: int, error: NodeError) -> None:
        if error.method == "getblocktemplate":
            self.health[index].workless = True
        elif isinstance(error, RpcFault):
            # A node that refuses some other call in its own words is well.
            return
        self._ill(self.health[index], f"{error.url} {error.trouble}")

    @staticmethod
    def _ill(health: NodeHealth, trouble: str) -> None:
        if health.healthy or health.trouble == "not asked yet":
            logger.warning("node %s is not usable: %s", health.name, trouble)
        health.healthy, health.good_polls, health.trouble = False, 0, trouble


class _Feed:
    """Turns signals into events; what `templates` keeps between them."""

    def __init__(self, nodes: NodeSet, now_ms: Callable[[], int], refresh_ms: int) -> None:
        self.signals: asyncio.Queue[_Signal] = asyncio.Queue(SIGNALS_MAX)
        self._nodes = nodes
        self._now_ms = now_ms
        self._refresh_ms = refresh_ms
        self._template: Template | None = None
        self._source = -1
        self._fetched_ms = 0
        self._long_polls: dict[int, asyncio.Task[None]] = {}

    def tasks(self) -> list[asyncio.Task[None]]:
        """Background tasks to end."""
        return list(self._long_polls.values())

    async def next_event(self, watchers: Sequence[asyncio.Task[None]]) -> Event | None:
        """The event that the next signal makes, if any. A watcher's own failure is raised."""
        getter = asyncio.ensure_future(self.signals.get())
        try:
            await asyncio.wait({getter, *watchers}, return_when=asyncio.FIRST_COMPLETED)
            for watcher in watchers:
                if watcher.done():
                    watcher.result()
            signal = await getter
        finally:
            getter.cancel()
        if isinstance(signal, _LongPolled):
            return self._on_long_poll(signal)
        return await self._on_poll(signal)

    def _on_long_poll(self, signal: _LongPolled) -> Event | None:
        active = self._nodes.nodes.index(self._nodes.active)
        # One that was left behind by a change of the active node still ends some time.
        if signal.index != self._source or signal.index != active:
            return None
        template = self._template
        if template is not None and template.longpoll_id == signal.template.longpoll_id:
            # A poll was quicker.
            return None
        return self._take(signal.index, signal.template)

    async def _on_poll(self, signal: _Polled) -> Event | None:
        nodes = self._nodes
        active = nodes.nodes.index(nodes.active)
        health = nodes.health[signal.index]
        if signal.index == active and health.healthy and self._is_due(signal):
            fetched = await nodes.template_of(active)
            if fetched is not None:
                return self._take(active, fetched)
        template = self._template
        if template is None or health.tip is None or health.answered_ms < signal.asked_ms:
            return None
        if health.tip == template.parent:
            if not health.healthy:
                return None
            return Confirmed(self._now_ms(), health.name, template.parent)
        if health.height >= template.height:
            return Announced(self._now_ms(), health.name, health.tip, health.height)
        return None

    def _is_due(self, signal: _Polled) -> bool:
        """Whether a new template is due from the active node, which `signal` is of."""
        template = self._template
        if template is None or self._source != signal.index:
            return True
        if self._now_ms() - self._fetched_ms >= self._refresh_ms:
            return True
        # A poll that began before the template came may tell of the tip before it.
        fresh = signal.asked_ms >= self._fetched_ms
        return fresh and self._nodes.health[signal.index].tip != template.parent

    def _take(self, index: int, template: Template) -> Template:
        self._template, self._source, self._fetched_ms = template, index, self._now_ms()
        running = self._long_polls.get(index)
        if template.longpoll_id is not None and (running is None or running.done()):
            self._long_polls[index] = asyncio.create_task(self._long_poll(index))
        return template

    async def _long_poll(self, index: int) -> None:
        """Wait on node `index` for news, again and again while it is the source of work."""
        node, params = self._nodes.nodes[index], self._nodes.params
        known = self._template.longpoll_id if self._template else None
        while self._source == index and known is not None:
            try:
                template = await node.get_template(params, known)
            except NodeError as error:
                # The polls beneath judge the node; this only costs some milliseconds of news.
                logger.debug("long poll of node %s ended: %s", node.name, error)
                await asyncio.sleep(RETRY_MS / 1000)
                known = self._template.longpoll_id if self._template else None
                continue
            if template.longpoll_id == known:
                # A node that does not wait must not be asked without a pause.
                await asyncio.sleep(RETRY_MS / 1000)
            known = template.longpoll_id
            await self.signals.put(_LongPolled(index, template))


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
