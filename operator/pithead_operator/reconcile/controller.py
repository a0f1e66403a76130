"""Answers for the operator as a whole: events in, keys to workers, status out.

Whatever happens somewhere becomes a key in the queue: an object of the three
kinds that changed, an object of ours that somebody touched, a cluster that came
or went. A look at everything each minute mends what an event missed. Workers
take keys; a failure is logged, counted and tried again later, and stays with
its key.
"""

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any

from pithead.config.cluster import EDGE_STATUS
from pithead_operator import metrics
from pithead_operator.reconcile.hub import HubReconciler, HubState
from pithead_operator.reconcile.outcome import PoolOutcome
from pithead_operator.reconcile.pool import (
    FINALIZER,
    RELEASE_SECONDS,
    SOON_SECONDS,
    PoolReconciler,
    deletion_age,
)
from pithead_operator.reconcile.queue import Key, Queue
from pithead_operator.reconcile.recorder import Recorder
from pithead_operator.reconcile.reports import Reports, told_pools
from pithead_operator.reconcile.status import pool_id_of
from pithead_operator.reconcile.teller import Teller
from pithead_operator.reconcile.world import World
from pithead_operator.regions.api import ClusterApi
from pithead_operator.regions.clusters import HUB, Clusters
from pithead_operator.regions.errors import ClusterError, NotFound
from pithead_operator.regions.kinds import CONFIG_MAP, MINING_POOL, OUR_KINDS
from pithead_operator.regions.seen import STATUS_COMPONENT, Seen
from pithead_operator.settings import OperatorSettings

log = logging.getLogger(__name__)

Object = dict[str, Any]

REPORT_SECONDS = 5.0
"""After an edge told something: others tell soon too."""
DRAIN_SECONDS_UNKNOWN = 120.0
"""Of a pool whose spec is gone."""


class Controller:
    """The operator without kopf."""

    def __init__(self, hub: ClusterApi, hub_uid: str, settings: OperatorSettings) -> None:
        self._api = hub
        self._settings = settings
        self._queue = Queue()
        self._reports: dict[tuple[str, str], Reports] = {}
        self.world = World()
        self.clusters = Clusters(
            hub,
            hub_uid,
            settings.namespace,
            moved=self._moved,
            touched=self._touched,
            probe_seconds=settings.probe_seconds,
        )
        self._hubs = HubReconciler(self.clusters, self.world, settings.release)
        self._pools = PoolReconciler(self.clusters, self.world, self._reports)
        self._recorder = Recorder(hub, settings.identity, self._later)
        self._teller = Teller(self.clusters, self.world, self._recorder, self._reports)
        self._primed = False

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.clusters.run())
            group.create_task(self._resync())
            for _ in range(self._settings.workers):
                group.create_task(self._work())

    def observe(self, item: Object, *, deleted: bool) -> None:
        """Take in an object of the three kinds that the hub told of."""
        meta = item["metadata"]
        if deleted:
            changed = self.world.drop(item)
            self._recorder.forget(meta["uid"])
        else:
            changed = self.world.put(item)
        if not changed:
            return
        self._queue.add(Key(meta["namespace"]))
        if item["kind"] == MINING_POOL.name:
            self._queue.add(Key(meta["namespace"], meta["name"]))

    @property
    def readiness(self) -> bool | str:
        """True when everything was read once; else what is missing."""
        if not self._primed:
            return "the manifests are being read"
        if not self.clusters.hub.health.usable:
            return f"the hub's cluster: {self.clusters.hub.health.message}"
        return True if self.clusters.settled else "the cluster Secrets are being read"

    async def _resync(self) -> None:
        """Read all of the three kinds and look at everything, again and again."""
        while True:
            try:
                for kind in OUR_KINDS:
                    found, version = await self._api.list(kind, "")
                    self.world.replace(kind, found, version)
            except ClusterError as error:
                log.warning("the manifests can not be read: %s", error)
                await asyncio.sleep(SOON_SECONDS)
                continue
            self._primed = True
            self._look_at_all()
            await asyncio.sleep(self._settings.resync_seconds)

    def _look_at_all(self) -> None:
        for namespace in self.world.namespaces():
            self._queue.add(Key(namespace))
            for name in self.world.of(MINING_POOL, namespace):
                self._queue.add(Key(namespace, name))
        for member in self.clusters.members():
            for namespace in member.namespaces:
                self._queue.add(Key(namespace))
                for _, pool in member.view(namespace).owners():
                    if pool:
                        self._queue.add(Key(namespace, pool))

    def _moved(self, cluster: str) -> None:
        """A cluster came, went, or is another."""
        del cluster
        if self._primed:
            self._look_at_all()

    def _touched(
        self, cluster: str, namespace: str, before: Seen | None, after: Seen | None
    ) -> None:
        """An object of ours is not as we left it."""
        item = after or before
        if item is None:
            return
        if item.kind == CONFIG_MAP.name and item.component == STATUS_COMPONENT:
            self._told(cluster, namespace)
            if before is not None and after is not None and before.mark == after.mark:
                self._queue.add(Key(namespace), REPORT_SECONDS)
                told = told_pools(before.data, after.data)
                for name, pool in self.world.of(MINING_POOL, namespace).items():
                    if pool_id_of(pool) in told:
                        self._queue.add(Key(namespace, name), REPORT_SECONDS)
                return
            for name in self.world.of(MINING_POOL, namespace):
                self._queue.add(Key(namespace, name))
        self._queue.add(Key(namespace, item.pool))

    def _told(self, cluster: str, namespace: str) -> None:
        member = self.clusters.member(cluster)
        if member is None:
            return
        reports = self._reports.setdefault((cluster, namespace), Reports())
        reports.take(member.view(namespace).reports(), time.monotonic(), time.time())

    def _later(self, item: Object, seconds: float) -> None:
        meta = item["metadata"]
        name = meta["name"] if item["kind"] == MINING_POOL.name else ""
        self._queue.add(Key(meta["namespace"], name), seconds)

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            started = time.monotonic()
            metrics.RECONCILES.labels(key.kind).inc()
            try:
                again = await self._reconcile(key)
            except ClusterError as error:
                metrics.RECONCILE_ERRORS.labels(key.kind, error.reason).inc()
                log.warning("%s %s: %s", key.kind, _words(key), error)
                self._queue.failed(key)
            except Exception:
                # A slip of ours in one pool must not stop the others.
                metrics.RECONCILE_ERRORS.labels(key.kind, "Internal").inc()
                log.exception("%s %s", key.kind, _words(key))
                self._queue.failed(key)
            else:
                self._queue.done(key, again)
            finally:
                metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - started)

    async def _reconcile(self, key: Key) -> float | None:
        """One pass over a key; seconds until the next, when one is needed."""
        if not self._primed:
            return SOON_SECONDS / 4
        home = self.clusters.state(HUB, key.namespace)
        if not home.usable or not self.clusters.settled:
            item = self.world.get(MINING_POOL, *key) if key.pool else None
            if home.status == "Refused" and item is not None:
                await self._teller.refused(item, home)
                return 5 * SOON_SECONDS
            return SOON_SECONDS / 4
        if key.pool:
            return await self._pool(key)
        return await self._hub(key.namespace)

    async def _hub(self, namespace: str) -> float | None:
        if not self.world.of(MINING_POOL, namespace):
            found, _ = await self._api.list(MINING_POOL, namespace)
            if not found:
                await self._hub_end(namespace)
        before = self._hubs.states.get(namespace)
        state = await self._hubs.reconcile(namespace)
        if state != before:
            for name in self.world.of(MINING_POOL, namespace):
                self._queue.add(Key(namespace, name), 0)
        await self._teller.endpoints_and_schemes(namespace, state)
        await self._hubs.tidy(namespace)
        await self._clean_reports(namespace)
        # What waits is woken by events; Jobs' pods and Secrets of people have none.
        if state.waiting:
            return SOON_SECONDS
        return 5 * SOON_SECONDS if state.findings or state.gathered.findings else None

    async def _hub_end(self, namespace: str) -> None:
        """The last pool of a namespace is gone."""
        edges = [
            pool
            for member in self.clusters.members()
            # One that is away is swept when it is back, and keeps nobody waiting.
            if namespace in member.namespaces and member.state(namespace).usable
            for _, pool in member.view(namespace).owners()
            if pool
        ]
        for pool in edges:
            self._queue.add(Key(namespace, pool))
        if edges:
            self._queue.add(Key(namespace), SOON_SECONDS)
            return
        outcome = await self._hubs.end(namespace)
        if not outcome.complete:
            self._queue.add(Key(namespace), SOON_SECONDS / 2)
            return
        for member in self.clusters.members():
            if member.state(namespace).usable:
                await self.clusters.forget(member.name, namespace)

    async def _pool(self, key: Key) -> float | None:
        item = self.world.get(MINING_POOL, *key)
        if item is None:
            return await self._gone(key)
        age = deletion_age(item, datetime.now(UTC))
        if age is not None:
            return await self._leaving(item, age)
        hub = self._hubs.states.get(key.namespace)
        if hub is None:
            return None
        outcome = await self._pools.make(item, hub)
        await self._teller.pool(item, hub, outcome)
        if outcome.failed is not None:
            raise outcome.failed
        return self._again(hub, outcome)

    def _again(self, hub: HubState, outcome: PoolOutcome) -> float | None:
        del hub
        if outcome.leaving or any(each.waiting for each in outcome.regions.values()):
            return SOON_SECONDS
        if any(each.findings or each.frozen for each in outcome.regions.values()):
            return 5 * SOON_SECONDS
        return None

    async def _leaving(self, item: Object, age: float) -> float | None:
        """A pool was deleted: its edges go, then it goes; at the latest in half a minute."""
        meta = item["metadata"]
        if FINALIZER not in (meta.get("finalizers") or []):
            return None
        drain = (item.get("spec") or {}).get("drain") or {}
        seconds = float(drain.get("lingerSeconds", 15) + drain.get("reconnectSeconds", 60))
        outcome = await self._pools.end(meta["namespace"], meta["name"], seconds)
        left = [*outcome.leaving, *(f"what is in cluster {each}" for each in outcome.away)]
        if outcome.failed is not None:
            left.append(str(outcome.failed))
        gone = not outcome.leaving and outcome.failed is None
        if not gone and age < RELEASE_SECONDS:
            return SOON_SECONDS / 2
        if left:
            text = f"let go before all was removed; the rest is removed later: {'; '.join(left)}"
            await self._recorder.event(item, "RemovedLater", text, warning=True)
        await self._recorder.event(item, "BooksStay", _books_stay(item), warning=False)
        await self._pools.release(item)
        return None

    async def _gone(self, key: Key) -> float | None:
        """Objects may be left of a pool that is not there; make sure that it is not."""
        if not any(
            pool == key.pool
            for member in self.clusters.members()
            if key.namespace in member.namespaces
            for _, pool in member.view(key.namespace).owners()
        ):
            return None
        try:
            found = await self._api.get(MINING_POOL, *key)
        except NotFound:
            outcome = await self._pools.end(key.namespace, key.pool, DRAIN_SECONDS_UNKNOWN)
            if outcome.failed is not None:
                raise outcome.failed from None
            if not outcome.leaving and not outcome.away:
                self._queue.add(Key(key.namespace))
            return SOON_SECONDS if outcome.leaving else None
        self.observe(
            {"apiVersion": MINING_POOL.api_version, "kind": MINING_POOL.name} | found, deleted=False
        )
        return None

    async def _clean_reports(self, namespace: str) -> None:
        """Remove what edges told that are long gone."""
        for (cluster, where), reports in self._reports.items():
            member = self.clusters.member(cluster)
            if where != namespace or member is None or not member.state(namespace).usable:
                continue
            texts = member.view(namespace).reports()
            old = reports.take(texts, time.monotonic(), time.time())
            if old:
                body: Object = {"data": dict.fromkeys(old)}
                await member.api.merge(CONFIG_MAP, namespace, EDGE_STATUS, body)


def _books_stay(item: Object) -> str:
    return (
        f"what the miners of poolId {pool_id_of(item)} are owed stays in the books: it is not "
        "split, matured or paid any further unless a pool is made with this poolId again"
    )


def _words(key: Key) -> str:
    return "/".join(part for part in key if part)
