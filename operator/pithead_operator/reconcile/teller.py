"""Answers for gathering what status tells: what was made, what is seen, what edges told.

Between the reconcilers, which act, and `status`, which computes.
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pithead.manifests.conditions import (
    ANALYTICS_READY,
    PAYOUTS_READY,
    RELAYED,
    STREAM_READY,
    WALLET_READY,
)
from pithead_operator.desired import names
from pithead_operator.reconcile.gather import Finding
from pithead_operator.reconcile.hub import HubState
from pithead_operator.reconcile.outcome import PoolOutcome, RegionOutcome
from pithead_operator.reconcile.pool import find_pool, spec_regions
from pithead_operator.reconcile.recorder import Recorder
from pithead_operator.reconcile.reports import NOTHING, Reports
from pithead_operator.reconcile.status import (
    REASON_WAITING,
    HubView,
    Mark,
    RegionView,
    endpoint_status,
    pool_status,
    scheme_status,
    stream_mark,
)
from pithead_operator.reconcile.world import World
from pithead_operator.regions.clusters import HUB, Clusters
from pithead_operator.regions.kinds import COIN_ENDPOINT, MINING_POOL, REWARD_SCHEME
from pithead_operator.regions.member import Health
from pithead_operator.regions.seen import Seen
from pithead_operator.wiring.results import JobState, Phase

Object = dict[str, Any]


class Teller:
    """Writes the status of all three kinds."""

    def __init__(
        self,
        clusters: Clusters,
        world: World,
        recorder: Recorder,
        reports: Mapping[tuple[str, str], Reports],
    ) -> None:
        """`reports` are kept by cluster and namespace."""
        self._clusters = clusters
        self._world = world
        self._recorder = recorder
        self._reports = reports

    async def pool(self, item: Object, hub: HubState, outcome: PoolOutcome) -> None:
        """Write the status of a pool after a pass; raises ClusterError."""
        name = item["metadata"]["name"]
        model = find_pool(hub, name)
        regions = [
            self._region(item, region, outcome.regions.get(region.get("id", "")), model)
            for region in spec_regions(item)
        ]
        findings = hub.gathered.findings.get(f"MiningPool/{name}", ())
        status = pool_status(
            item,
            model if hub.gathered.good(name) else None,
            findings,
            self._hub(item, hub, regions),
            regions,
            datetime.now(UTC),
        )
        await self._recorder.status(self._present(item), status)

    async def refused(self, item: Object, home: Health) -> None:
        """Tell that the operator may not work in a pool's namespace; raises ClusterError."""
        finding = Finding(home.reason, home.message)
        status = pool_status(item, None, [finding], HubView(), [], datetime.now(UTC))
        await self._recorder.status(item, status)

    async def endpoints_and_schemes(self, namespace: str, hub: HubState) -> None:
        """Write the status of the other two kinds of a namespace; raises ClusterError."""
        manifests, findings = hub.gathered.manifests, hub.gathered.findings
        pools = self._world.of(MINING_POOL, namespace)
        now = datetime.now(UTC)
        for name, item in self._world.of(COIN_ENDPOINT, namespace).items():
            ids = [
                pool.pool_id for pool in manifests.pools if pool.spec.coin_endpoint_ref.name == name
            ]
            told = [
                node
                for (_, where), reports in self._reports.items()
                if where == namespace
                for node in reports.nodes(ids, time.monotonic())
            ]
            status = endpoint_status(
                item,
                manifests.endpoints.get(name),
                findings.get(f"CoinEndpoint/{name}", ()),
                _wallet(hub.wallets.get(name), used=bool(ids)),
                told,
                now,
            )
            await self._recorder.status(item, status)
        slots = hub.inputs.facts.slots if hub.inputs is not None else {}
        for name, item in self._world.of(REWARD_SCHEME, namespace).items():
            users = [
                pool
                for pool, value in pools.items()
                if any(
                    each.get("name") == name
                    for each in (value.get("spec") or {}).get("schemes") or []
                )
            ]
            status = scheme_status(
                item,
                manifests.schemes.get(name),
                findings.get(f"RewardScheme/{name}", ()),
                users,
                slots,
                now,
            )
            await self._recorder.status(item, status)

    def _present(self, item: Object) -> Object:
        """The object as last seen: its status may be younger than the pass."""
        meta = item["metadata"]
        return self._world.get(MINING_POOL, meta["namespace"], meta["name"]) or item

    def _region(
        self, item: Object, region: Object, outcome: RegionOutcome | None, model: Any
    ) -> RegionView:
        namespace, pool = item["metadata"]["namespace"], item["metadata"]["name"]
        cluster, identity = region.get("cluster") or HUB, region.get("id", "")
        health = self._clusters.state(cluster, namespace)
        member = self._clusters.member(cluster)
        edges: Seen | None = None
        service: Seen | None = None
        relay: Seen | None = None
        if member is not None and namespace in member.namespaces:
            view = member.view(namespace)
            name = names.edge_name(pool, identity)
            edges, service = view.find("Deployment", name), view.find("Service", name)
            relay = view.find("Deployment", names.edge_name(pool, identity, "relay"))
        pods = edges.pods if edges is not None else None
        earlier: Object = _earlier(item, identity) if edges is None and not health.usable else {}
        state = region.get("state", "Active")
        wanted = int(region.get("replicas", 1)) if state == "Active" else 0
        # An autoscaler may have taken the count over.
        desired = pods.desired if pods is not None else int(earlier.get("desired", wanted))
        ready = pods.ready if pods is not None else int(earlier.get("ready", 0))
        waiting = list(outcome.waiting) if outcome is not None else []
        settled = health.usable and outcome is not None and not waiting
        if state == "Active" and settled and ready < desired:
            waiting.append(f"edges to be ready, {ready} of {desired} are")
        told = NOTHING
        reports = self._reports.get((cluster, namespace))
        if reports is not None and model is not None:
            told = reports.of(model.pool_id, identity, time.monotonic())
        return RegionView(
            id=identity,
            cluster=region.get("cluster"),
            health=health,
            desired=desired,
            ready=ready,
            addresses=service.addresses
            if service is not None
            else tuple(earlier.get("addresses") or ()),
            hostname=next(iter(region.get("hostnames") or []), None),
            told=told,
            findings=tuple(outcome.findings) if outcome is not None else (),
            waiting=tuple(waiting),
            active=state == "Active",
            relay=_relay(relay, health) if region.get("stream") else None,
        )

    def _hub(self, item: Object, hub: HubState, regions: list[RegionView]) -> HubView:
        name = item["metadata"]["name"]
        known = find_pool(hub, name) is not None
        return HubView(
            waiting=hub.waiting if known else (),
            findings=hub.findings if known else (),
            stream=_stream(hub.topics, regions) if known else None,
            payouts=self._payouts(item, hub) if known else None,
            analytics=self._analytics(item, hub),
        )

    def _analytics(self, item: Object, hub: HubState) -> Mark | None:
        if hub.analytics is None:
            return None
        told = hub.analytics
        if told.phase is Phase.FAILED:
            return Mark(ANALYTICS_READY, "False", "AnalyticsJobFailed", told.message)
        if told.phase is not Phase.SUCCEEDED:
            text = told.message or "the tables of charts are being made"
            return Mark(ANALYTICS_READY, "Unknown", REASON_WAITING, text)
        name = names.service_name("analytics")
        seen = self._clusters.hub.view(item["metadata"]["namespace"]).find("Deployment", name)
        if seen is None or seen.pods is None or not seen.pods.ready:
            text = (
                f"Deployment {name} has no ready pod; its log says why. Charts wait, and nothing "
                "else does"
            )
            return Mark(ANALYTICS_READY, "False", "AnalyticsAway", text)
        return Mark(ANALYTICS_READY, "True", "Filling", "shares arrive in ClickHouse")

    def _payouts(self, item: Object, hub: HubState) -> Mark:
        spec = item.get("spec") or {}
        view = self._clusters.hub.view(item["metadata"]["namespace"])
        cron = names.payouts_name((spec.get("coinEndpointRef") or {}).get("name", ""))
        if view.find("CronJob", cron) is None:
            return Mark(PAYOUTS_READY, "Unknown", REASON_WAITING, f"CronJob {cron} is not made yet")
        del hub
        runs = [
            each
            for each in view.of(names.hub_owner(item["metadata"]["namespace"])).values()
            if each.kind == "Job" and each.finished and re.fullmatch(rf"{cron}-\d+", each.name)
        ]
        last = max(runs, key=lambda each: int(each.name.rpartition("-")[2]), default=None)
        if last is not None and last.failed:
            text = f"the last run, Job {last.name}, failed; its log says why"
            return Mark(PAYOUTS_READY, "False", "LastRunFailed", text)
        if (spec.get("payouts") or {}).get("paused"):
            text = "no new payout is made until spec.payouts.paused is false"
            return Mark(PAYOUTS_READY, "True", "Paused", text)
        if last is None:
            return Mark(PAYOUTS_READY, "True", "Scheduled", "no run was due yet")
        return Mark(PAYOUTS_READY, "True", "LastRunSucceeded", "the last run did its work")


def _earlier(item: Object, region: str) -> Object:
    """What was last told of a region, for as long as it can not be seen."""
    regions = (item.get("status") or {}).get("regions") or []
    return next((each for each in regions if each.get("id") == region), {})


def _stream(topics: JobState, regions: list[RegionView]) -> Mark:
    if topics.phase is Phase.FAILED:
        return Mark(STREAM_READY, "False", "TopicsJobFailed", topics.message)
    if topics.phase is not Phase.SUCCEEDED:
        text = topics.message or "the topics are being made"
        return Mark(STREAM_READY, "Unknown", REASON_WAITING, text)
    return stream_mark(regions)


def _relay(seen: Seen | None, health: Health) -> Mark:
    """Whether the relay of a region brings shares to the hub, by its own readiness."""
    if not health.usable:
        return Mark(RELAYED, "Unknown", health.reason, health.message)
    if seen is None or seen.pods is None:
        return Mark(RELAYED, "Unknown", REASON_WAITING, "the relay is not made yet")
    if seen.pods.ready:
        return Mark(RELAYED, "True", "RelayReady", "the relay brings shares to the hub")
    text = (
        f"Deployment {seen.name} has no ready pod: it reaches the hub or the region's Kafka not, "
        "or is far behind; its log says which. Edges go on, and nothing is lost meanwhile"
    )
    return Mark(RELAYED, "False", "RelayAway", text)


def _wallet(state: JobState | None, *, used: bool) -> Mark:
    if not used:
        return Mark(WALLET_READY, "Unknown", "NotUsed", "no sound MiningPool mines on it")
    if state is None or state.phase in (Phase.PENDING, Phase.RUNNING):
        text = (state.message if state is not None else "") or "the wallet is being asked"
        return Mark(WALLET_READY, "Unknown", REASON_WAITING, text)
    if state.phase is Phase.FAILED:
        return Mark(WALLET_READY, "False", "WalletJobFailed", state.message)
    return Mark(WALLET_READY, "True", "AddressKnown", "the wallet has given its address")
