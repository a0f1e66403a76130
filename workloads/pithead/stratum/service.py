"""One edge process from start to end.

Start: mint the producer (after any fork), bind the ports and load certificates,
make batch 0 durable, wait for work, open the listeners. Stop: let the miners go
(`drain`), write what is left and the last batch with its `end`, and close
connections behind their last answers. Nodes and the log may be away at any time:
the edge waits, says so once, and goes on.

*Ready* means that new miners are welcome: batch 0 is durable, the listeners are
open, there is fresh work, and the log has not been away for seconds. A drain
leaves it as it is: load balancers may cut connections to what is not ready.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable
from contextlib import aclosing
from importlib.metadata import version
from uuid import UUID

import grpc.aio

from pithead import rpc
from pithead.coins.job import JobError, pool_tag
from pithead.coins.nodeset import NodeSet
from pithead.coins.params import ChainParams
from pithead.coins.registry import UnknownCoin, chain_params
from pithead.config import ReportSettings, StratumSettings
from pithead.config.share_log import open_log
from pithead.contracts import edge_pb2_grpc
from pithead.log.identity import RANDOM_BYTES, uuid7
from pithead.log.share_log import LogWriter, ShareLog
from pithead.log.spooled import SpooledLog
from pithead.log.topics import blocks_topic, shares_topic
from pithead.process import Stop
from pithead.stratum import metrics
from pithead.stratum.backlog import BacklogWatch
from pithead.stratum.batcher import Batcher
from pithead.stratum.blocks import BlockKeeper
from pithead.stratum.descriptors import with_descriptors
from pithead.stratum.drain import Drain, Phase
from pithead.stratum.edge import Edge
from pithead.stratum.failures import CoinUnusable, PayoutScriptUnusable
from pithead.stratum.jobs import JobBook
from pithead.stratum.nodes import NodeFacts, node_facts, show
from pithead.stratum.rates import Rates
from pithead.stratum.report import EdgeReport, Reporter, in_cluster
from pithead.stratum.status import EdgeStatus
from pithead.stratum.transport import TlsListener, bind_listeners
from pithead.telemetry.health import health_server

SWEEP_S = 0.05
SWEEP_PARTS = 20
"""Every connection is looked at once a second, in slices short enough not to delay a share."""
RATES_S = 5.0
HASHED_S_MAX = 2.0
FLUSH_S_MAX = 7.0
"""For the last batch and for records of blocks, when the log fails over just now."""
ANSWERS_S_MAX = 3.0
"""For the last answers to slow readers. With the others less than supervisors wait (15 s)."""

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

    def __init__(
        self, settings: StratumSettings, nodes: NodeSet, params: ChainParams, log: ShareLog
    ) -> None:
        self._settings = settings
        self._nodes = nodes
        self._shift = params.shift
        self._version = version("pithead")
        self._listening = False
        self._partitions: dict[str, str] = {}
        identity = Producer(settings)
        self.producer = identity.producer
        topics = (shares_topic(settings.pool), blocks_topic(settings.pool))
        self.spool: SpooledLog | None = None
        """What is kept on this machine while the log is away."""
        if settings.spool is not None:
            self.spool = SpooledLog(
                log,
                settings.spool.directory,
                self.producer,
                topics,
                partition=settings.partition,
                bytes_max=settings.spool.bytes_max,
            )
        self._log = self.spool or log
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
        self._backlog = BacklogWatch(
            log, topics[:1], self.spool, settings.log.bytes_max, self._batcher, unix_ms
        )
        self._edge = Edge(settings, params, book, self._batcher, self._blocks, monotonic_ms)
        self._rates = Rates(params.shift)
        self._work = asyncio.Event()
        edge = self._edge
        self.listeners = bind_listeners(
            settings.listeners, edge.connected, edge.received, edge.disconnected
        )

    async def run(self, stop: Stop) -> None:
        """Serve until `stop` is set, then end cleanly."""
        settings = self._settings
        self._drain = Drain(settings.drain, self._edge, stop.urgent, self._close_listeners)
        status = EdgeStatus(
            self._edge,
            self._rates,
            self.producer,
            lambda: self._nodes.health,
            self.trouble,
            self._backlog.told,
        )

        def register(server: grpc.aio.Server) -> None:
            edge_pb2_grpc.add_EdgeServicer_to_server(status, server)

        try:
            async with (
                rpc.serve(settings.serve, register),
                health_server(settings.health, self.ready),
                asyncio.TaskGroup() as group,
            ):
                opening = group.create_task(self._open_when_ready())
                others = [
                    group.create_task(self._watch_nodes()),
                    group.create_task(self._sweep()),
                    group.create_task(self._sample()),
                    group.create_task(self._backlog.run()),
                    group.create_task(self._blocks.run()),
                    *(
                        group.create_task(listener.certificates.watch())
                        for listener in self.listeners
                        if isinstance(listener, TlsListener)
                    ),
                ]
                if settings.report is not None:
                    others.append(group.create_task(self._report(settings.report)))
                batches = group.create_task(self._batcher.run())
                await stop.wait()
                opening.cancel()
                if not self._listening:
                    # There is nobody to wait for.
                    stop.urgent.set()
                await self._drain.run()
                await self._flush(batches)
                for task in others:
                    task.cancel()
        finally:
            self._close_listeners()
            if self.spool is not None:
                await self.spool.close()

    def ready(self) -> bool | str:
        """Tell whether new miners are welcome, or why not."""
        if self._drain.phase is not Phase.SERVING:
            return True
        trouble = self._batcher.refusing
        if not self._batcher.started.is_set():
            return f"the first batch is not in the share log: {trouble or 'being written'}"
        if self._edge.log_is_away():
            away_s = self._edge.log_away_ms() // 1000
            if self._batcher.trouble is None:
                return f"the share log has been full for {away_s} s: {trouble}"
            return f"the share log has not confirmed for {away_s} s: {trouble}"
        if not self._edge.book.fresh(monotonic_ms()):
            return "no node gives fresh work, so that no share can be credited"
        return True if self._listening else "listeners are not open yet"

    def trouble(self) -> str:
        """Say why this edge is not ready, with the remedy; empty when it is."""
        if self._batcher.trouble is not None:
            return f"the share log does not confirm: {self._batcher.trouble}"
        if self._batcher.full:
            return f"the share log is full: {self._batcher.full}"
        if not self._edge.book.fresh(monotonic_ms()):
            # Each node's own trouble, with its remedy, stands beside this one.
            return "no node gives fresh work, so that no share can be credited"
        if self._drain.phase is not Phase.SERVING:
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

    async def _sample(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(RATES_S)
            now = time.monotonic()
            self._rates.sample(list(self._edge.admission.logins.values()), now - before)
            before = now
            show(self._node_facts())

    def _node_facts(self) -> tuple[NodeFacts, ...]:
        return node_facts(self._nodes.health, self._nodes.active.name, monotonic_ms())

    async def _report(self, settings: ReportSettings) -> None:
        api = in_cluster(os.environ)
        if api is None:
            logger.warning("no reports: this process does not run in a pod")
            return
        await Reporter(settings, api, self.told).run()

    def told(self) -> EdgeReport:
        """Return what the operator is told."""
        settings = self._settings
        backlog = self._backlog.told()
        return EdgeReport(
            pool=settings.pool,
            region=settings.region,
            producer=str(UUID(bytes=self.producer)),
            version=self._version,
            connections=len(self._edge.miners),
            accepted=self._batcher.accepted,
            work=str(self._batcher.work << self._shift),
            log=self._log_word(),
            spooling=backlog.spooling,
            spool_bytes=backlog.bytes,
            spool_batches=backlog.records,
            spool_seconds=backlog.age_s,
            draining=self._drain.phase is not Phase.SERVING,
            at=unix_ms() // 1000,
            nodes=self._node_facts(),
        )

    def _log_word(self) -> str:
        if not self._edge.log_is_away():
            return "ok"
        return "away" if self._batcher.trouble is not None else "full"

    async def _flush(self, batches: asyncio.Task[None]) -> None:
        """Make durable what was taken in, then close the connections that are left."""
        settings = self._settings
        await self._within(HASHED_S_MAX, "shares under way", self._edge.hashed())
        self._batcher.end()
        await asyncio.gather(
            self._within(FLUSH_S_MAX, "the last batch", asyncio.wait((batches,))),
            self._within(FLUSH_S_MAX, "solved blocks", self._blocks.drain()),
        )
        batches.cancel()
        self._edge.close_all()
        await self._within(ANSWERS_S_MAX, "the last answers", self._edge.empty.wait())
        if self.spool is not None and settings.spool is not None:
            await self._within(settings.spool.wait_ms / 1000, "its spool", self.spool.emptied())
            left = self.spool.state()
            metrics.SPOOL_LEFT_BEHIND.set(left.records)
            if left.records:
                logger.error(
                    "%d records, %d bytes, stay in the spool; the next process on this volume "
                    "sends them",
                    left.records,
                    left.bytes,
                )

    async def _within(self, seconds: float, what: str, work: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            logger.error("stopping without %s: not done within %g s", what, seconds)

    def _close_listeners(self) -> None:
        self._listening = False
        for listener in self.listeners:
            listener.close()

    async def _open_shares(self) -> LogWriter:
        return await self._open_writer(shares_topic(self._settings.pool))

    async def _open_blocks(self) -> LogWriter:
        return await self._open_writer(blocks_topic(self._settings.pool))

    async def _open_writer(self, topic: str) -> LogWriter:
        """Open a writer of this process's partition, the same whenever it is opened anew."""
        partition = self._settings.partition or self._partitions.get(topic)
        if partition is None:
            partition = await self._log.partition_for(topic, self.producer)
            self._partitions[topic] = partition
        return await self._log.writer(topic, partition)


def payout_script(settings: StratumSettings) -> bytes:
    """Return the script that coinbases pay; raises PayoutScriptUnusable."""
    try:
        script = bytes.fromhex(settings.payout_script)
    except ValueError as error:
        raise PayoutScriptUnusable(settings.payout_script) from error
    if not script:
        raise PayoutScriptUnusable(settings.payout_script)
    return script


async def run(settings: StratumSettings, stop: Stop) -> None:
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
        process = EdgeProcess(settings, nodes, params, open_log(settings.log))
        logger.info(
            "edge %s of pool %s in region %s",
            UUID(bytes=process.producer),
            settings.pool,
            settings.region,
        )
        await process.run(stop)
