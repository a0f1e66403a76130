"""Answers for one hub namespace: the services that all its pools share, phase by phase.

    judge the objects -> minted Secrets -> base -> Jobs: databases, topics, wallets
        -> ledger, rewards -> Job: schemes -> shares, CronJobs; Job: analytics -> analytics
        -> prune

A phase that waits does not hold back what earlier ones made. What Jobs told is
kept in a ConfigMap, so a Job is asked once. The outcome is what the pools of
the namespace work with.
"""

import base64
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pithead.config import SlotSettings
from pithead.config.cluster import ClusterPlaces
from pithead.config.places import RenderError
from pithead.manifests import Claim, Manifests, check_hubs, claim_of, wanted_secrets
from pithead_operator.desired import hub as desired
from pithead_operator.desired import names
from pithead_operator.desired.edge import edge_status_object
from pithead_operator.desired.inputs import Facts, HubInputs, HubService, MissingInput, Release
from pithead_operator.reconcile import accepted
from pithead_operator.reconcile.gather import Finding, Gathered, gather
from pithead_operator.reconcile.jobs import made_again, read_state
from pithead_operator.reconcile.minted import minted_secrets
from pithead_operator.reconcile.superseded import end_earlier, without_earlier
from pithead_operator.reconcile.world import World
from pithead_operator.regions.clusters import HUB, Clusters
from pithead_operator.regions.errors import NotFound
from pithead_operator.regions.kinds import CONFIG_MAP, MINING_POOL, OUR_KINDS, SECRET
from pithead_operator.regions.plan import Key, key_of
from pithead_operator.regions.view import Outcome, View
from pithead_operator.wiring.facts import facts_object, read_facts
from pithead_operator.wiring.jobs import (
    WireJob,
    analytics_job,
    databases_job,
    schemes_job,
    topics_job,
    wallet_jobs,
)
from pithead_operator.wiring.minting import digest_key
from pithead_operator.wiring.results import (
    BadResult,
    JobState,
    Phase,
    scripts_of,
    slots_of,
)

log = logging.getLogger(__name__)

Object = dict[str, Any]


@dataclass(frozen=True)
class HubState:
    """A hub namespace, as its pools need it."""

    gathered: Gathered
    inputs: HubInputs | None = None
    """With the facts that are known; None until something could be rendered."""
    waiting: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What keeps the hub from being as wanted, that a person must see to."""
    topics: JobState = field(default_factory=lambda: JobState(Phase.PENDING))
    wallets: Mapping[str, JobState] = field(default_factory=dict)
    """By CoinEndpoint."""
    analytics: JobState | None = None
    """Of the Job that makes tables for charts; None without analytics. Nothing waits for it."""


@dataclass
class _Pass:
    """One pass over a namespace."""

    inputs: HubInputs
    results: dict[str, Mapping[str, Any]]
    waiting: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    keep: set[Key] = field(default_factory=set)
    jobs: list[WireJob] = field(default_factory=list)
    complete: bool = True
    """False when some phase was not rendered: then nothing is pruned."""


class HubReconciler:
    """Reconciles hub namespaces."""

    def __init__(self, clusters: Clusters, world: World, release: Release) -> None:
        self._clusters = clusters
        self._world = world
        self._release = release
        self.states: dict[str, HubState] = {}
        """By namespace, of the last pass."""

    async def reconcile(self, namespace: str) -> HubState:
        """One pass over a namespace that has pools; raises ClusterError."""
        view = self._clusters.hub.view(namespace)
        gathered, secrets = await self._gather(namespace, view)
        if not gathered.manifests.pools:
            state = HubState(gathered)
        elif gathered.lost:
            state = self._frozen(namespace, gathered, secrets)
        else:
            state = await self._phases(namespace, view, gathered, secrets)
        self.states[namespace] = state
        return state

    async def end(self, namespace: str) -> Outcome:
        """Remove what the pools of a namespace shared, in all clusters; none is left."""
        total = Outcome()
        self.states.pop(namespace, None)
        for member in self._clusters.members():
            if namespace not in member.namespaces or not member.state(namespace).usable:
                continue
            outcome = await member.view(namespace).prune(
                names.hub_owner(namespace), set(), pods_may_wait=False
            )
            total.waiting += outcome.waiting
            total.deleted += outcome.deleted
        return total

    async def tidy(self, namespace: str) -> None:
        """Remove what the pools shared in clusters that none of them names any more."""
        named = {
            region.get("cluster", HUB)
            for pool in self._world.of(MINING_POOL, namespace).values()
            for region in (pool.get("spec") or {}).get("regions") or []
        }
        for member in self._clusters.members():
            if member.name in named or member.name == HUB or namespace not in member.namespaces:
                continue
            if not member.state(namespace).usable:
                continue
            view = member.view(namespace)
            owner = names.hub_owner(namespace)
            if {each for each, _ in view.owners()} - {owner}:
                continue
            if (await view.prune(owner, set(), pods_may_wait=False)).complete:
                await self._clusters.forget(member.name, namespace)

    async def _gather(self, namespace: str, view: View) -> tuple[Gathered, dict[str, Object]]:
        objects = [item for kind in OUR_KINDS for item in self._world.of(kind, namespace).values()]
        secrets = await self._secrets(view, wanted_secrets(objects), {})
        clashes = check_hubs(namespace, self._claims())
        found = gather(namespace, objects, secrets.values(), {}, clashes)
        bad = [
            item["metadata"]["name"]
            for item in objects
            if item["kind"] == "MiningPool" and not found.good(item["metadata"]["name"])
        ]
        earlier = await accepted.earlier(view, bad)
        for forms in earlier.values():
            secrets = await self._secrets(view, wanted_secrets(forms), secrets)
        if earlier:
            found = gather(namespace, objects, secrets.values(), earlier, clashes)
        return found, secrets

    async def _secrets(
        self, view: View, wanted: Iterable[str], known: Mapping[str, Object]
    ) -> dict[str, Object]:
        """The Secrets of these names that are there, beside those that were read already."""
        secrets = dict(known)
        for name in wanted:
            if name in secrets:
                continue
            try:
                secrets[name] = await view.api.get(SECRET, view.namespace, name)
            except NotFound:
                continue
        return secrets

    def _claims(self) -> list[Claim]:
        """Of all pools, but for namespaces where we have no rights: pools are not made there."""
        hub = self._clusters.hub
        return [
            claim_of(item)
            for where in self._world.namespaces()
            if hub.state(where).status != "Refused"
            for item in self._world.of(MINING_POOL, where).values()
        ]

    def _frozen(
        self, namespace: str, gathered: Gathered, secrets: Mapping[str, Object]
    ) -> HubState:
        """Nothing is changed at the hub while a pool that it accounts for can not be rendered."""
        before = self.states.get(namespace)
        lost = ", ".join(sorted(gathered.lost))
        finding = Finding(
            "HubHeld",
            f"the hub's services stay as they are, because MiningPool {lost} can not be read; "
            "mend or delete it",
        )
        if before is None or before.inputs is None:
            return HubState(gathered, findings=(finding,))
        inputs = replace(before.inputs, manifests=gathered.manifests)
        return replace(before, gathered=gathered, inputs=inputs, findings=(finding,))

    async def _phases(
        self,
        namespace: str,
        view: View,
        gathered: Gathered,
        found: Mapping[str, Object],
    ) -> HubState:
        await self._clusters.remember(HUB, namespace)
        secrets = {name: _contents(secret) for name, secret in found.items()}
        manifests, uid = gathered.manifests, self._clusters.hub_uid
        intake = _intake(view, manifests)
        now = datetime.now(UTC)
        minted = await minted_secrets(view, namespace, uid, manifests, now, intake)
        secrets |= {name: dict(values) for name, values in minted.contents.items()}
        inputs = HubInputs(
            namespace=namespace,
            hub_uid=uid,
            manifests=manifests,
            release=self._release,
            secrets=secrets,
            digest_key=digest_key(secrets[names.CA]),
            intake=intake,
        )
        this = _Pass(inputs, await self._stored(view, namespace))
        # Without an owner: who deletes the anchor by hand shall not take keys and passwords along.
        await self._ensure(view, this, (*minted.objects, edge_status_object(inputs)), anchor="")
        await self._ensure(view, this, desired.render_base(inputs))
        topics, wallets = await self._wire(view, this)
        analytics = await self._analytics(view, this)
        if this.complete:
            await self._prune(view, this)
        return HubState(
            gathered=gathered,
            inputs=this.inputs,
            waiting=tuple(this.waiting),
            findings=tuple(this.findings),
            topics=topics,
            wallets=wallets,
            analytics=analytics,
        )

    async def _wire(self, view: View, this: _Pass) -> tuple[JobState, dict[str, JobState]]:
        """All phases after the base; each goes as far as it can."""
        databases = await self._job(view, this, databases_job(this.inputs))
        topics = await self._job(view, this, topics_job(this.inputs))
        wallets: dict[str, JobState] = {}
        ready = databases.phase is Phase.SUCCEEDED
        for job in wallet_jobs(this.inputs):
            # The wallet's address is kept in the database, so that comes first.
            if ready or job.name in this.results:
                wallets[job.endpoint] = await self._job(view, this, job)
            else:
                this.keep |= {key_of(item) for item in job.objects}
                wallets[job.endpoint] = JobState(Phase.PENDING)
                this.complete = False
        scripts = _scripts(this, wallets)
        earlier = self._earlier_facts(view.namespace, this)
        facts = replace(earlier, scripts={**earlier.scripts, **scripts})
        this.inputs = replace(this.inputs, facts=facts)
        if len(scripts) < len(wallets) or not ready:
            this.complete = False
            return topics, wallets
        await self._try(view, this, lambda: desired.render_money(this.inputs))
        schemes = schemes_job(this.inputs)
        if schemes.name in this.results or self._is_ready(view, "rewards", this):
            told = await self._job(view, this, schemes)
            if told.phase is Phase.SUCCEEDED:
                slots = {**this.inputs.facts.slots, **_slots(this, told)}
                this.inputs = replace(this.inputs, facts=replace(this.inputs.facts, slots=slots))
        else:
            this.complete = False
        await self._try(view, this, lambda: desired.render_shares(this.inputs))
        await self._try(view, this, lambda: desired.render_payouts(this.inputs))
        services: tuple[HubService, ...] = ("ledger", "shares")
        for service in services:
            self._is_ready(view, service, this)
        return topics, wallets

    async def _analytics(self, view: View, this: _Pass) -> JobState | None:
        """Charts: whatever is wrong with them holds up and stalls nothing else."""
        # Its own books, so that it neither waits for us nor we for it.
        apart = _Pass(this.inputs, this.results)
        try:
            job, items = analytics_job(this.inputs), desired.render_analytics(this.inputs)
        except MissingInput as error:
            this.complete = False
            return JobState(Phase.PENDING, message=str(error))
        this.keep |= {key_of(item) for item in items}
        if job is None:
            return None
        this.jobs.append(job)
        state = await self._job(view, apart, job)
        if state.phase is Phase.SUCCEEDED:
            await self._ensure(view, apart, items)
        return state

    def _earlier_facts(self, namespace: str, this: _Pass) -> Facts:
        """What earlier Jobs told, so that edges are kept in shape while new ones run.

        A pool's table of slots only grows, so its longest is its newest.
        """
        before = self.states.get(namespace)
        known = before.inputs.facts if before is not None and before.inputs else Facts()
        slots = dict(known.slots)
        for name, result in this.results.items():
            if not name.startswith("pithead-wire-schemes-"):
                continue
            try:
                tables = slots_of(result)
            except BadResult:
                continue
            for pool, table in tables.items():
                if len(table) > len(slots.get(pool, ())):
                    slots[pool] = table
        return Facts(scripts=known.scripts, slots=slots)

    async def _try(self, view: View, this: _Pass, render: Callable[[], Sequence[Object]]) -> None:
        """Make what a phase renders, when its facts are known."""
        try:
            items = render()
        except (MissingInput, RenderError) as error:
            this.waiting.append(str(error))
            this.complete = False
            return
        await self._ensure(view, this, items)

    async def _ensure(
        self,
        view: View,
        this: _Pass,
        items: Sequence[Object],
        anchor: str = names.HUB_ANCHOR,
    ) -> None:
        this.keep |= {key_of(item) for item in items}
        outcome = await view.ensure(items, anchor=anchor)
        this.waiting += outcome.waiting

    def _is_ready(self, view: View, service: HubService, this: _Pass) -> bool:
        name = names.service_name(service)
        seen = view.find("Deployment", name)
        if seen is not None and seen.pods is not None and seen.pods.current and seen.pods.ready:
            return True
        this.waiting.append(f"Deployment {name} to be ready")
        return False

    async def _stored(self, view: View, namespace: str) -> dict[str, Mapping[str, Any]]:
        if view.find("ConfigMap", names.FACTS) is None:
            return {}
        try:
            return read_facts(await view.api.get(CONFIG_MAP, namespace, names.FACTS))
        except NotFound:
            return {}

    async def _job(self, view: View, this: _Pass, job: WireJob) -> JobState:
        """What a Job told, making it when it is not there; a result that is stored is enough."""
        this.jobs.append(job)
        if job.name in this.results:
            return JobState(Phase.SUCCEEDED, result=this.results[job.name])
        this.keep |= {key_of(item) for item in job.objects}
        if left := await end_earlier(view, job):
            this.complete = False
            this.waiting += left
            return JobState(Phase.PENDING)
        await self._forget_earlier(view, this, job)
        await self._ensure(view, this, job.objects)
        state = await read_state(view, job)
        what = f"Job {job.name}"
        if state.phase is Phase.SUCCEEDED:
            await self._store(view, this, job, state)
        elif state.phase is Phase.FAILED:
            this.complete = False
            this.findings.append(
                Finding(f"{job.kind.capitalize()}JobFailed", f"{what}: {state.message}")
            )
            await made_again(view, job, state)
        else:
            this.complete = False
            this.waiting.append(f"{what}: {state.message}" if state.message else what)
        return state

    async def _forget_earlier(self, view: View, this: _Pass, job: WireJob) -> None:
        """Write down that what earlier Jobs of the kind did may be undone from now on."""
        results = without_earlier(this.results, job)
        if results.keys() != this.results.keys():
            this.results = results
            await self._ensure(view, this, (facts_object(this.inputs, results),))

    async def _store(self, view: View, this: _Pass, job: WireJob, state: JobState) -> None:
        """Write a result down; those of superseded Jobs go once all present ones are known."""
        this.results[job.name] = state.result
        item = facts_object(this.inputs, this.results)
        await self._ensure(view, this, (item,))

    async def _prune(self, view: View, this: _Pass) -> None:
        present = {job.name for job in this.jobs}
        results = {name: told for name, told in this.results.items() if name in present}
        await self._ensure(view, this, (facts_object(this.inputs, results),))
        owner = names.hub_owner(this.inputs.namespace)
        # Jobs that were read are kept while they are the present ones: a person may look at them.
        for job in this.jobs:
            this.keep |= {key_of(item) for item in job.objects}
        await view.prune(owner, this.keep, pods_may_wait=False)


def _intake(view: View, manifests: Manifests) -> tuple[str, ...]:
    """Names and addresses by which relays may dial: those that pools give, then the Service's."""
    if ClusterPlaces(manifests).intake() is None:
        return ()
    service = view.find("Service", names.INTAKE_SERVICE)
    seen = service.addresses if service is not None else ()
    return tuple(dict.fromkeys((*manifests.pools[0].spec.relay.hostnames, *seen)))


def _scripts(this: _Pass, wallets: Mapping[str, JobState]) -> dict[str, bytes]:
    told = {
        endpoint: state.result
        for endpoint, state in wallets.items()
        if state.phase is Phase.SUCCEEDED
    }
    scripts: dict[str, bytes] = {}
    for endpoint, result in told.items():
        try:
            scripts |= scripts_of({endpoint: result})
        except BadResult as error:
            this.findings.append(Finding("WalletJobFailed", str(error)))
    return scripts


def _slots(this: _Pass, told: JobState) -> dict[str, tuple[SlotSettings, ...]]:
    try:
        return slots_of(told.result)
    except BadResult as error:
        this.findings.append(Finding("SchemesJobFailed", str(error)))
        return {}


def _contents(secret: Object) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
