"""Answers for one namespace of one cluster: what of ours is there, and making it as desired.

Holds the namespace's informers and what was last applied, and acts on what
`plan` decides. Acts are idempotent and each is safe to be the last one: whoever
comes next sees what is there and goes on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pithead_operator import metrics
from pithead_operator.regions import plan
from pithead_operator.regions.api import MANAGER, REPLICAS_MANAGER, ClusterApi, Object
from pithead_operator.regions.errors import ClusterError, Conflict, NotFound
from pithead_operator.regions.informer import Informer
from pithead_operator.regions.kinds import BY_NAME, CONFIG_MAP, DEPLOYMENT, POD, Kind
from pithead_operator.regions.plan import Applied, Key
from pithead_operator.regions.seen import (
    COMPONENT_LABEL,
    HUB_LABEL,
    MANAGED_BY_LABEL,
    OWNER_LABEL,
    REPLICAS_ANNOTATION,
    STATUS_COMPONENT,
    Seen,
)

log = logging.getLogger(__name__)

WITH_STATUS = frozenset({"Deployment", "Service", "Job"})
"""Kinds that are read whole, because their status says something; of others, metadata alone."""

EDGES = "stratum"
"""The component whose pods hold miners."""

Touched = Callable[[Seen | None, Seen | None], None]


@dataclass(frozen=True)
class Wanted:
    """How many pods a Deployment has, set under the second manager."""

    count: int
    always: bool = False
    """True: set whatever stands there; else only when this count was not set before."""


@dataclass
class Outcome:
    """What an act did."""

    written: int = 0
    deleted: int = 0
    waiting: list[str] = field(default_factory=list)
    """What it waits for, as words: objects on their way out, pods that drain."""

    @property
    def complete(self) -> bool:
        """True when nothing is left to be done."""
        return not self.waiting


class View:
    """One namespace of one cluster."""

    def __init__(
        self,
        api: ClusterApi,
        namespace: str,
        hub_uid: str,
        kinds: Sequence[Kind],
        touched: Touched,
    ) -> None:
        """`touched` is told of each change that is not our own."""
        self.api = api
        self.namespace = namespace
        self._hub_uid = hub_uid
        self._touched = touched
        self._applied: dict[Key, Applied] = {}
        self._owners: dict[str, dict[Key, Seen]] = {}
        self._informers: dict[tuple[str, bool], Informer] = {}
        ours = f"{MANAGED_BY_LABEL}={MANAGER},{HUB_LABEL}={hub_uid}"
        for kind in kinds:
            selector = ours
            if kind == CONFIG_MAP:
                reports = f"{ours},{COMPONENT_LABEL}={STATUS_COMPONENT}"
                self._informers[kind.name, True] = Informer(
                    api, kind, namespace, reports, self._changed, metadata_only=False
                )
                selector = f"{ours},{COMPONENT_LABEL}!={STATUS_COMPONENT}"
            self._informers[kind.name, False] = Informer(
                api,
                kind,
                namespace,
                selector,
                self._changed,
                metadata_only=kind.name not in WITH_STATUS,
            )

    async def run(self) -> None:
        """Keep the view up to date until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())

    @property
    def synced(self) -> bool:
        """True when every kind was listed once."""
        return all(informer.synced.is_set() for informer in self._informers.values())

    @property
    def error(self) -> ClusterError | None:
        """Why some kind can not be seen at present."""
        return next((each.error for each in self._informers.values() if each.error), None)

    def owners(self) -> Iterable[tuple[str, str]]:
        """Owner label and pool label of everything here."""
        return {
            (owner, next(iter(items.values())).pool)
            for owner, items in self._owners.items()
            if items
        }

    def of(self, owner: str) -> dict[Key, Seen]:
        """What is here of an owner."""
        return self._owners.get(owner, {})

    def find(self, kind: str, name: str) -> Seen | None:
        """One object of ours."""
        for report in (False, True):
            informer = self._informers.get((kind, report))
            if informer is not None and name in informer.items:
                return informer.items[name]
        return None

    def reports(self) -> dict[str, str]:
        """What edges here told last, by pod."""
        found: dict[str, str] = {}
        for each in self._informers["ConfigMap", True].items.values():
            found |= each.data
        return found

    async def ensure(
        self,
        items: Sequence[Object],
        *,
        anchor: str = "",
        replicas: Mapping[str, Wanted] | None = None,
    ) -> Outcome:
        """Make these objects exist as rendered, in their order; raises ClusterError.

        `anchor` names the ConfigMap that owns them: one of them, the first, or
        one that is there. While it is on its way out nothing else is made.
        """
        outcome = Outcome()
        for item in items:
            owner: Seen | None = None
            if anchor and plan.key_of(item) != ("ConfigMap", anchor):
                owner = self.find("ConfigMap", anchor)
                if owner is None or owner.deleting:
                    outcome.waiting.append(f"ConfigMap {anchor} to be made anew")
                    return outcome
            observed = await self._write(item, owner, outcome)
            wanted = (replicas or {}).get(item["metadata"]["name"])
            if item["kind"] == "Deployment" and wanted is not None and observed is not None:
                await self._scale(item, observed, wanted, outcome)
        return outcome

    async def prune(self, owner: str, keep: set[Key], *, pods_may_wait: bool) -> Outcome:
        """Delete what `owner` has here beside `keep`; what miners are reached by goes last.

        While pods of a deleted Deployment are still there the rest waits, unless
        `pods_may_wait` is false.
        """
        outcome = Outcome()
        gone = plan.removal(self.of(owner).values(), keep)
        for each in gone.now:
            await self._delete(each, outcome)
        if not gone.later:
            return outcome
        regions = {each.region for each in (*gone.now, *gone.later)}
        kept = {
            each.region
            for each in self.of(owner).values()
            if each.key in keep and each.kind == DEPLOYMENT.name and each.component == EDGES
        }
        if pods_may_wait and not regions & kept and await self._has_pods(owner, regions):
            outcome.waiting.append("pods that let their miners go")
            return outcome
        for each in gone.later:
            await self._delete(each, outcome)
        return outcome

    async def _write(self, item: Object, owner: Seen | None, outcome: Outcome) -> Seen | None:
        key = plan.key_of(item)
        complete, digest = plan.stamped(plan.owned(item, owner))
        observed = self.find(*key)
        if observed is not None and observed.deleting:
            outcome.waiting.append(f"{key[0]} {key[1]} to be gone")
            return observed
        if not plan.must_write(digest, observed, self._applied.get(key)):
            metrics.SKIPPED.labels(self.api.cluster).inc()
            return observed
        kind = BY_NAME[key[0]]
        answer = await self.api.apply(kind, self.namespace, complete, manager=MANAGER)
        metrics.APPLIED.labels(self.api.cluster, kind.name).inc()
        outcome.written += 1
        return self._record(kind, answer, item, digest)

    def _record(self, kind: Kind, answer: Object, item: Object, digest: str) -> Seen:
        """Take in the answer of a write."""
        key = (kind.name, answer["metadata"]["name"])
        report = kind == CONFIG_MAP and _component(item) == STATUS_COMPONENT
        informer = self._informers[kind.name, report]
        # Noted before the informer tells of it: our own writes are no drift.
        made = informer.read(answer)
        self._applied[key] = Applied(digest, made.mark)
        informer.assume(made)
        return made

    async def _scale(self, item: Object, observed: Seen, wanted: Wanted, outcome: Outcome) -> None:
        count = str(wanted.count)
        stands = observed.pods.desired if observed.pods is not None else None
        if observed.replicas == count and not (wanted.always and stands != wanted.count):
            return
        body = {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.name,
            "metadata": {
                "name": item["metadata"]["name"],
                "uid": observed.uid,
                "annotations": {REPLICAS_ANNOTATION: count},
            },
            "spec": {"replicas": wanted.count},
        }
        answer = await self.api.apply(DEPLOYMENT, self.namespace, body, manager=REPLICAS_MANAGER)
        outcome.written += 1
        before = self._applied.get(observed.key)
        if before is not None:
            self._record(DEPLOYMENT, answer, item, before.digest)

    async def _delete(self, each: Seen, outcome: Outcome) -> None:
        self._applied.pop(each.key, None)
        outcome.waiting.append(f"{each.kind} {each.name} to be gone")
        if each.deleting:
            return
        try:
            await self.api.delete(BY_NAME[each.kind], self.namespace, each.name, each.uid)
        except (NotFound, Conflict):
            # Gone already, or another stands there: its event tells of it.
            for informer in self._informers.values():
                if informer.kind.name == each.kind:
                    informer.forget(each.name, each.uid)
            return
        outcome.deleted += 1
        metrics.PRUNED.labels(self.api.cluster, each.kind).inc()

    async def _has_pods(self, owner: str, regions: set[str]) -> bool:
        edges = f"{OWNER_LABEL}={owner},{COMPONENT_LABEL}={EDGES}"
        found, _ = await self.api.list(POD, self.namespace, edges, metadata_only=True)
        return any(
            (pod["metadata"].get("labels") or {}).get("pithead.dev/region", "") in regions
            for pod in found
        )

    def _changed(self, before: Seen | None, after: Seen | None) -> None:
        for each in (before, after):
            if each is not None:
                self._owners.setdefault(each.owner, {})
        if before is not None and (after is None or after.owner != before.owner):
            items = self._owners[before.owner]
            items.pop(before.key, None)
            if not items:
                del self._owners[before.owner]
        if after is not None:
            self._owners[after.owner][after.key] = after
            applied = self._applied.get(after.key)
            own = applied is not None and applied.mark == after.mark
            if own and before is not None and _same_status(before, after):
                return
        self._touched(before, after)


def _same_status(before: Seen, after: Seen) -> bool:
    """Whether what status is made of is as before."""
    return (before.pods, before.addresses, before.finished, before.data, before.deleting) == (
        after.pods,
        after.addresses,
        after.finished,
        after.data,
        after.deleting,
    )


def _component(item: Object) -> str:
    labels = item["metadata"].get("labels") or {}
    return str(labels.get(COMPONENT_LABEL, ""))
