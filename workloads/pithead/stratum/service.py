"""One edge process from start to end.

Start: mint the producer (after any fork), bind the ports, make batch 0 durable,
wait for work, open the listeners. Stop: close the listeners, ask miners to
reconnect, go on crediting for a moment, write the last batch with its `end`, and
close connections behind their last answers. Nodes and the disk may be away at
any time: the edge waits, says so once, and goes on.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable
from contextlib import aclosing
from uuid import UUID

import grpc.aio

from pithead import rpc
from pithead.coins.job import JobError, pool_tag
from pithead.coins.nodeset import NodeSet
from pithead.coins.params import ChainParams
from pithead.coins.registry import UnknownCoin, chain_params
from pithead.config import StratumSettings
from pithead.contracts import edge_pb2_grpc
from pithead.log.file_log import FileLog
from pithead.log.identity import RANDOM_BYTES, uuid7
from pithead.log.share_log import LogWriter
from pithead.log.topics import blocks_topic, shares_topic
from pithead.stratum.batcher import Batcher
from pithead.stratum.blocks import BlockKeeper
from pithead.stratum.descriptors import with_descriptors
from pithead.stratum.edge import Edge
from pithead.stratum.failures import CoinUnusable, PayoutScriptUnusable
from pithead.stratum.jobs import JobBook
from pithead.stratum.rates import Rates
from pithead.stratum.status import EdgeStatus
from pithead.stratum.transport import Listener

SWEEP_S = 0.05
SWEEP_PARTS = 20
"""Every connection is looked at once a second, in slices short enough not to delay a share."""
RATES_S = 5.0
DRAIN_S = 0.3
"""Time in which answers to client.reconnect and shares under way still arrive and are credited."""
END_S_MAX = 3.0
"""For the last batch; and again for blocks and for answers to slow readers, which are rare."""

logger = logging.getLogger(__name__)


def monotonic_ms() -> int:
    """Return the clock that intervals are measured with."""
    return time.monotonic_ns() // 1_000_000


def unix_ms() -> int:
    """Return Unix time."""
    return time.time_ns() // 1_000_000


class Producer:
    """The identity of this process in the log."""

    def __init__(self, settings: StratumSettings) -> None:
        self.producer = uuid7(unix_ms(), os.urandom(RANDOM_BYTES))
        self.pool = settings.pool
        self.coin = settings.coin.key
        self.region = settings.region


class EdgeProcess:
    """The parts of one edge and their order of start and stop."""

    def __init__(self, settings: StratumSettings, nodes: NodeSet, params: ChainParams) -> None:
        self._settings = settings
        self._nodes = nodes
        self._listening = False
        self._log = FileLog(settings.log_dir)
        identity = Producer(settings)
        self.producer = identity.producer
        book = JobBook(params, payout_script(settings), pool_tag(settings.pool), identity.producer)
        self._batcher = Batcher(
            identity,
            book,
            self._open_shares,
            unix_ms,
            shares_max=settings.batch_shares_max,
            delay_ms=settings.batch_delay_ms,
        )
        self._blocks = BlockKeeper(identity, self._open_blocks, nodes.submit_everywhere, unix_ms)
        self._edge = Edge(settings, params, book, self._batcher, self._blocks, monotonic_ms)
        self._rates = Rates(params.shift)
        self._work = asyncio.Event()
        self.listeners = [
            Listener(listener, self._edge.connected, self._edge.received, self._edge.disconnected)
            for listener in settings.listeners
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then end cleanly."""
        status = EdgeStatus(
            self._edge,
            self._rates,
            self.producer,
            lambda: self._nodes.health,
            self.trouble,
        )

        def register(server: grpc.aio.Server) -> None:
            edge_pb2_grpc.add_EdgeServicer_to_server(status, server)

        try:
            async with rpc.serve(self._settings.socket, register), asyncio.TaskGroup() as group:
                others = [
                    group.create_task(self._watch_nodes()),
                    group.create_task(self._sweep()),
                    group.create_task(self._sample_rates()),
                    group.create_task(self._blocks.run()),
                    group.create_task(self._open_when_ready()),
                ]
                batches = group.create_task(self._batcher.run())
                await stop.wait()
                await self._end(batches)
                for task in others:
                    task.cancel()
        finally:
            self._close_listeners()

    def trouble(self) -> str:
        """Say why this edge is not ready, with the remedy; empty when it is."""
        if self._batcher.trouble is not None:
            return f"the share log does not confirm: {self._batcher.trouble}"
        if not self._edge.book.fresh(monotonic_ms()):
            # Each node's own trouble, with its remedy, stands beside this one.
            return "no node gives fresh work, so that no share can be credited"
        if self._edge.draining:
            return "stopping"
        return "" if self._listening else "listeners are not open yet"

    async def _open_when_ready(self) -> None:
        await self._batcher.started.wait()
        await self._work.wait()
        for listener in self.listeners:
            await listener.open()
            logger.info("listening on port %d for slot %d", listener.port, listener.settings.slot)
        self._listening = True

    async def _watch_nodes(self) -> None:
        async with aclosing(self._nodes.templates()) as events:
            async for event in events:
                try:
                    self._edge.node_event(event)
                except JobError as error:
                    logger.error("no job can be made of a template: %s", error)
                    continue
                if self._edge.book.current is not None:
                    self._work.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._edge.sweep(SWEEP_PARTS)

    async def _sample_rates(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(RATES_S)
            now = time.monotonic()
            self._rates.sample(list(self._edge.admission.logins.values()), now - before)
            before = now

    async def _end(self, batches: asyncio.Task[None]) -> None:
        """Drain: no new miners, reconnect, credit what is under way, the end, then close."""
        self._close_listeners()
        self._edge.start_draining()
        if self._edge.miners:
            await asyncio.sleep(DRAIN_S)
        await self._within("shares under way", self._edge.hashed())
        self._batcher.end()
        await self._within("the last batch", asyncio.wait((batches,)))
        batches.cancel()
        await self._within("solved blocks", self._blocks.drain())
        self._edge.close_all()
        await self._within("the last answers", self._edge.empty.wait())

    async def _within(self, what: str, work: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(END_S_MAX):
                await work
        except TimeoutError:
            logger.error("stopping without %s: not done within %g s", what, END_S_MAX)

    def _close_listeners(self) -> None:
        self._listening = False
        for listener in self.listeners:
            listener.close()

    async def _open_shares(self) -> LogWriter:
        return await self._log.writer(shares_topic(self._settings.pool), self._settings.partition)

    async def _open_blocks(self) -> LogWriter:
        return await self._log.writer(blocks_topic(self._settings.pool), self._settings.partition)


def payout_script(settings: StratumSettings) -> bytes:
    """Return the script that coinbases pay; raises PayoutScriptUnusable."""
    try:
        script = bytes.fromhex(settings.payout_script)
    except ValueError as error:
        raise PayoutScriptUnusable(settings.payout_script) from error
    if not script:
        raise PayoutScriptUnusable(settings.payout_script)
    return script


async def run(settings: StratumSettings, stop: asyncio.Event) -> None:
    """Serve one edge until `stop` is set; raises EdgeError when it can not start as configured."""
    try:
        params = chain_params(settings.coin.coin, settings.coin.network)
    except UnknownCoin as error:
        raise CoinUnusable(str(error)) from error
    settings = with_descriptors(settings)
    async with NodeSet(
        params,
        settings.coin.nodes,
        now_ms=monotonic_ms,
        poll_interval_ms=settings.coin.poll_interval_ms,
    ) as nodes:
        process = EdgeProcess(settings, nodes, params)
        logger.info(
            "edge %s of pool %s in region %s",
            UUID(bytes=process.producer),
            settings.pool,
            settings.region,
        )
        await process.run(stop)
