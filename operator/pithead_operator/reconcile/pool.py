"""Answers for one pool: its edges in every region, its end, and what is told of both.

Regions are seen to side by side, so that a slow one holds up nobody, and an
error in one is told of that one. A pool that is bad is not made; what was made
of its last good form stays, and is kept in shape.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pithead.config.places import RenderError
from pithead.manifests import MiningPool
from pithead_operator import metrics
from pithead_operator.desired import names
from pithead_operator.desired.edge import (
    edge_status_object,
    render_anchor,
    render_edge,
    replicas_of,
    tls_secrets_of,
)
from pithead_operator.desired.inputs import EdgeInputs, MissingInput, Object
from pithead_operator.reconcile import accepted
from pithead_operator.reconcile.frozen import keys_of_edges, without_deployment
from pithead_operator.reconcile.gather import Finding
from pithead_operator.reconcile.hub import HubState
from pithead_operator.reconcile.outcome import PoolOutcome, RegionOutcome
from pithead_operator.reconcile.relayed import keys_of_relay, make_relay
from pithead_operator.reconcile.reports import Reports
from pithead_operator.reconcile.world import World
from pithead_operator.regions.api import ClusterApi
from pithead_operator.regions.clusters import HUB, Clusters
from pithead_operator.regions.errors import (
    ClusterError,
    Forbidden,
    NotFound,
    Refused,
    Unauthorized,
    Unreachable,
)
from pithead_operator.regions.kinds import MINING_POOL, SECRET
from pithead_operator.regions.member import Member
from pithead_operator.regions.plan import Key, key_of
from pithead_operator.regions.view import View, Wanted
from pithead_operator.wiring.results import Phase

log = logging.getLogger(__name__)

FINALIZER = "pithead.dev/regions"
"""Holds a deleted pool until its edges are gone, at most RELEASE_SECONDS."""
RELEASE_SECONDS = 30.0
"""A deleted pool is let go after this, whatever is left: the sweep sees to the rest."""
DRAIN_MARGIN_SECONDS = 45.0
"""Beside the drain itself, before a Service is removed although pods are still there."""
CLUSTER_SECONDS_MAX = 60.0
"""All requests of one pass to one cluster."""
SOON_SECONDS = 2.0


class PoolReconciler:
    """Reconciles pools."""

    def __init__(
        self, clusters: Clusters, world: World, reports: Mapping[tuple[str, str], Reports]
    ) -> None:
        """`reports` are kept by cluster and namespace."""
        self._clusters = clusters
        self._world = world
        self._reports = reports
        self._leaving: dict[tuple[str, str, str], float] = {}
        """Since when something is on its way out, by namespace, pool and cluster."""

    async def make(self, item: Object, hub: HubState) -> PoolOutcome:
        """One pass over a pool that is wanted."""
        namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
        outcome = PoolOutcome()
        pool = find_pool(hub, name)
        if pool is None or hub.inputs is None:
            return outcome
        await self._hold(item)
        home = self._clusters.hub.view(namespace)
        if hub.gathered.good(name):
            await home.ensure((accepted.form_object(self._world, item, self._clusters.hub_uid),))
        keep_home = {("ConfigMap", accepted.name_of(name))}
        inputs = hub.inputs
        regions = [EdgeInputs(inputs, pool, region) for region in pool.spec.regions]
        outcome.regions = {each.region.id: RegionOutcome() for each in regions}
        async with asyncio.TaskGroup() as group:
            for member in self._clusters.members():
                here = [each for each in regions if (each.region.cluster or HUB) == member.name]
                keep = set(keep_home) if member.name == HUB else set()
                group.create_task(self._cluster(member, here, hub, keep, outcome, pool, namespace))
        return outcome

    async def end(self, namespace: str, name: str, drain_seconds: float) -> PoolOutcome:
        """One pass over a pool that is not wanted any more: everything of it goes, everywhere."""
        outcome = PoolOutcome()
        async with asyncio.TaskGroup() as group:
            for member in self._clusters.members():
                if namespace not in member.namespaces:
                    continue
                if not member.state(namespace).usable:
                    outcome.away.append(member.name)
                    continue
                group.create_task(
                    self._prune(member, namespace, name, set(), drain_seconds, outcome)
                )
        return outcome

    async def release(self, item: Object) -> None:
        """Take our finalizer off a pool; raises ClusterError."""
        await set_finalizer(self._clusters.hub.api, item, held=False)

    async def _hold(self, item: Object) -> None:
        found = await set_finalizer(self._clusters.hub.api, item, held=True)
        if found is not None:
            self._world.put(found)

    async def _cluster(
        self,
        member: Member,
        here: Sequence[EdgeInputs],
        hub: HubState,
        keep: set[Key],
        outcome: PoolOutcome,
        pool: MiningPool,
        namespace: str,
    ) -> None:
        """One pass over the pool's regions in one cluster; never raises ClusterError."""
        if not here and namespace not in member.namespaces:
            return
        if not member.state(namespace).usable:
            return
        complete = True
        try:
            async with asyncio.timeout(CLUSTER_SECONDS_MAX):
                for each in here:
                    complete &= await self._edge(
                        member, each, hub, keep, outcome.regions[each.region.id]
                    )
                if complete:
                    drain = pool.spec.drain
                    seconds = drain.linger_seconds + drain.reconnect_seconds
                    await self._prune(member, namespace, pool.metadata.name, keep, seconds, outcome)
        except ClusterError as error:
            outcome.failed = error
        except TimeoutError:
            outcome.failed = Unreachable(member.name, "all requests", "they took too long")
        except Exception:
            # Whatever one cluster answers, and a slip of ours too: other regions are seen to.
            metrics.RECONCILE_ERRORS.labels("pool", "Internal").inc()
            log.exception("%s in cluster %s", pool.pool_id, member.name or "hub")
            what = "an answer could not be understood; the operator's log has the trace"
            outcome.failed = Unreachable(member.name, "a request", what)

    async def _edge(
        self,
        member: Member,
        edge: EdgeInputs,
        hub: HubState,
        keep: set[Key],
        outcome: RegionOutcome,
    ) -> bool:
        """Make one region's edges; false when it is not known what to keep."""
        replicas = replicas_of(edge)
        outcome.desired = 0 if edge.region.state == "Off" else replicas.count
        if hub.topics.phase is not Phase.SUCCEEDED and edge.region.state != "Off":
            outcome.waiting.append("the topics of the share log")
            return False
        try:
            items = render_edge(edge)
            keep |= keys_of_relay(edge)
            if self._spooling(member, edge):
                keep |= keys_of_edges(edge)
                outcome.frozen = True
        except (MissingInput, RenderError) as error:
            outcome.waiting.append(str(error))
            return False
        keep |= {key_of(item) for item in items}
        if not items:
            return True
        try:
            return await self._ensure(member, edge, items, outcome)
        except (Forbidden, NotFound, Refused) as error:
            outcome.findings.append(_finding(error, member.name, edge.hub.namespace))
        except (Unreachable, Unauthorized) as error:
            member.failed(error)
            outcome.waiting.append(f"an answer of the cluster: {error}")
            raise
        return True

    async def _ensure(
        self,
        member: Member,
        edge: EdgeInputs,
        items: Sequence[Object],
        outcome: RegionOutcome,
    ) -> bool:
        """Make what one region has; false when it is not known what to keep."""
        namespace = edge.hub.namespace
        view = member.view(namespace)
        anchor = names.edge_name(edge.pool.metadata.name, edge.region.id, "anchor")
        replicas = replicas_of(edge)
        await self._clusters.remember(member.name, namespace)
        if member.name != HUB:
            await view.ensure((edge_status_object(edge.hub),))
        if edge.region.stream is not None:
            await view.ensure((render_anchor(edge),))
            if not await make_relay(view, edge, anchor, outcome):
                return False
        outcome.findings += await self._missing_tls(view, edge)
        if outcome.findings:
            return True
        if outcome.frozen and view.find("Deployment", replicas.deployment) is not None:
            items = without_deployment(items, edge)
        wanted = {replicas.deployment: Wanted(replicas.count, always=replicas.drain)}
        made = await view.ensure(items, anchor=anchor, replicas=wanted)
        outcome.waiting += made.waiting
        return True

    def _spooling(self, member: Member, edge: EdgeInputs) -> bool:
        """Whether shares of the region wait in spools, as far as its edges told."""
        reports = self._reports.get((member.name, edge.hub.namespace))
        if reports is None:
            return False
        told = reports.of(edge.pool.pool_id, edge.region.id, time.monotonic())
        return told.spooling > 0

    async def _missing_tls(self, view: View, edge: EdgeInputs) -> list[Finding]:
        found = []
        for name in tls_secrets_of(edge):
            try:
                await view.api.look(SECRET, view.namespace, name)
            except NotFound:
                text = (
                    f"there is no Secret {name} in namespace {view.namespace} of its cluster; "
                    "issue the certificate of the listeners there (type kubernetes.io/tls)"
                )
                found.append(Finding("SecretMissing", text))
        return found

    async def _prune(
        self,
        member: Member,
        namespace: str,
        name: str,
        keep: set[Key],
        drain_seconds: float,
        outcome: PoolOutcome,
    ) -> None:
        """Remove what is not to be kept in one cluster; never raises ClusterError."""
        place = (namespace, name, member.name)
        now = asyncio.get_running_loop().time()
        since = self._leaving.get(place, now)
        patient = now - since < drain_seconds + DRAIN_MARGIN_SECONDS
        try:
            done = await member.view(namespace).prune(
                names.pool_owner(namespace, name), keep, pods_may_wait=patient
            )
        except ClusterError as error:
            if isinstance(error, Unreachable | Unauthorized):
                member.failed(error)
            outcome.failed = error
            return
        if done.complete:
            self._leaving.pop(place, None)
            return
        self._leaving[place] = since
        where = member.name or "the hub's cluster"
        outcome.leaving += [f"{each} ({where})" for each in done.waiting]


async def set_finalizer(api: ClusterApi, item: Object, *, held: bool) -> Object | None:
    """Put our finalizer on a pool, or take it off; the pool after that, None when as it was.

    Raises ClusterError.
    """
    meta = item["metadata"]
    present = list(meta.get("finalizers") or [])
    if held == (FINALIZER in present) or (held and meta.get("deletionTimestamp")):
        return None
    others = [each for each in present if each != FINALIZER]
    body: Object = {
        "metadata": {
            # The list is others' too: it is only put as it was read.
            "resourceVersion": meta["resourceVersion"],
            "uid": meta["uid"],
            "finalizers": [*others, FINALIZER] if held else others,
        }
    }
    try:
        return await api.merge(MINING_POOL, meta["namespace"], meta["name"], body)
    except NotFound:
        return None


def find_pool(hub: HubState, name: str) -> MiningPool | None:
    """The pool as it is made now: as it is, or by its last good form."""
    found = [each for each in hub.gathered.manifests.pools if each.metadata.name == name]
    return found[0] if found else None


def deletion_age(item: Object, now: datetime) -> float | None:
    """Seconds since a pool was deleted; None when it was not."""
    stamp = item["metadata"].get("deletionTimestamp")
    if not stamp:
        return None
    return (now - datetime.fromisoformat(stamp).astimezone(UTC)).total_seconds()


def spec_regions(item: Object) -> list[Object]:
    """The regions of a pool as they were written, also of one that is bad."""
    regions = (item.get("spec") or {}).get("regions")
    return [each for each in regions if isinstance(each, dict)] if isinstance(regions, list) else []


def _finding(error: ClusterError, cluster: str, namespace: str) -> Finding:
    where = f"cluster {cluster}" if cluster else "the hub's cluster"
    if isinstance(error, NotFound):
        text = f"{error}; install the chart pithead-region in {where} with namespace {namespace}"
        return Finding("NamespaceMissing", text)
    if isinstance(error, Forbidden):
        text = f"{error}; grant it by the chart pithead-region in {where}"
        return Finding("Forbidden", text)
    return Finding("ObjectRefused", f"{error}; remove what stands in its place")
