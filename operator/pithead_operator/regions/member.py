"""Answers for one cluster: whether it answers, whether it is the one we know, what we see of it.

A probe asks every few seconds. Some failures in a row make the cluster
unreachable: then nothing is asked of it but the probe, and what was last seen
stays. A credential that is refused is told at once, since waiting does not help.
At first contact and after each absence the UID of its kube-system namespace is
compared with the one that is bound to its name.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pithead_operator import metrics
from pithead_operator.regions.api import ClusterApi
from pithead_operator.regions.errors import ClusterError, Forbidden, Unauthorized, Unreachable
from pithead_operator.regions.kinds import EDGE_KINDS, HUB_KINDS
from pithead_operator.regions.kubeconfig import Access, expired_text
from pithead_operator.regions.seen import Seen
from pithead_operator.regions.view import View

log = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
IDENTITY_PROBES = 12
"""Probes between two looks at who answers: an address can be given to another cluster."""
FAILURES_MAX = 3
"""Probes in a row that fail before a cluster counts as unreachable: one lost packet is none."""

Status = Literal["Connecting", "Reachable", "Unreachable", "Refused"]


@dataclass(frozen=True)
class Health:
    """What was last found out about a cluster."""

    status: Status = "Connecting"
    reason: str = "Connecting"
    """For conditions: Reachable, Connecting, Unreachable, Unauthorized, Forbidden, ClusterChanged,
    ClusterKnown, BadKubeconfig, ClusterUnknown."""
    message: str = "the cluster is being contacted for the first time"

    @property
    def usable(self) -> bool:
        """True when objects may be written there."""
        return self.status == "Reachable"


Bind = Callable[[str, str], Awaitable[Health | None]]
"""Given a cluster's name and UID: why it can not be used under this name; None binds the two."""
Moved = Callable[[str], None]
"""Told the name of a cluster whose health changed."""
Touched = Callable[[str, str, Seen | None, Seen | None], None]
"""Told cluster, namespace, and an object of ours before and after."""


@dataclass(frozen=True)
class Context:
    """What all members share."""

    hub_uid: str
    bind: Bind
    moved: Moved
    touched: Touched
    probe_seconds: float = PROBE_SECONDS


class Member:
    """One cluster; the hub's own has an empty name."""

    def __init__(
        self, name: str, api: ClusterApi, context: Context, access: Access | None = None
    ) -> None:
        self.name = name
        self.api = api
        self.access = access
        self.health = Health()
        self._context = context
        self._views: dict[str, View] = {}
        self._group: asyncio.TaskGroup | None = None
        self._failures = 0
        self._probes = 0
        self._probe_now = asyncio.Event()

    async def run(self) -> None:
        """Watch the cluster until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for view in self._views.values():
                group.create_task(view.run())
            try:
                await self._probe_forever()
            finally:
                self._group = None

    def view(self, namespace: str) -> View:
        """What we know of a namespace; it is watched from the first question on."""
        found = self._views.get(namespace)
        if found is None:

            def touched(before: Seen | None, after: Seen | None) -> None:
                self._context.touched(self.name, namespace, before, after)

            kinds = EDGE_KINDS if self.name else HUB_KINDS
            found = View(self.api, namespace, self._context.hub_uid, kinds, touched)
            self._views[namespace] = found
            if self._group is not None:
                self._group.create_task(found.run())
        return found

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Namespaces that are watched here."""
        return tuple(self._views)

    def failed(self, error: ClusterError) -> None:
        """Told of a request that failed on the way: the next probe shall not wait."""
        if isinstance(error, Unreachable | Unauthorized):
            self._probe_now.set()

    def state(self, namespace: str) -> Health:
        """The cluster's health as far as this namespace is concerned."""
        if not self.health.usable:
            return self.health
        view = self.view(namespace)
        if isinstance(view.error, Forbidden):
            remedy = (
                f"install the chart pithead-region there with the namespace {namespace}"
                if self.name
                else f"add {namespace} to the namespaces of the chart pithead"
            )
            return Health("Refused", "Forbidden", f"{view.error}; {remedy}")
        if not view.synced:
            return Health("Connecting", "Connecting", "the objects there are being listed")
        return self.health

    async def _probe_forever(self) -> None:
        while True:
            await self._probe()
            self._probe_now.clear()
            pause = self._context.probe_seconds
            if 0 < self._failures < FAILURES_MAX:
                pause /= 2
            try:
                async with asyncio.timeout(pause):
                    await self._probe_now.wait()
                # Whoever asks for a probe does so on failing; not more than once a second.
                await asyncio.sleep(min(1.0, pause))
            except TimeoutError:
                pass

    async def _probe(self) -> None:
        try:
            await self.api.probe()
            self._probes += 1
            if not self.health.usable or self._probes % IDENTITY_PROBES == 0:
                await self._identify()
        except Unauthorized as error:
            self._failures = FAILURES_MAX
            self._set(Health("Refused", "Unauthorized", self._unauthorized(error)))
        except Forbidden as error:
            self._failures = FAILURES_MAX
            self._set(Health("Refused", "Forbidden", f"{error}; grant it to this credential"))
        except ClusterError as error:
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                message = f"{error}; what runs there goes on, and is seen to when it answers again"
                self._set(Health("Unreachable", "Unreachable", message))
        else:
            self._failures = 0

    async def _identify(self) -> None:
        uid = await self.api.uid()
        refusal = await self._context.bind(self.name, uid)
        if refusal is not None:
            self._set(refusal)
            return
        self._set(Health("Reachable", "Reachable", "its API server answers"))

    def _unauthorized(self, error: Unauthorized) -> str:
        why = expired_text(self.access, datetime.now(UTC)) if self.access is not None else ""
        return f"{error}: {why or 'its credential is not accepted'}; put a new one into its Secret"

    def _set(self, health: Health) -> None:
        metrics.REACHABLE.labels(self.name).set(1 if health.usable else 0)
        if replace(health, message="") == replace(self.health, message=""):
            self.health = health
            return
        log.info("cluster %s: %s: %s", self.name or "hub", health.reason, health.message)
        self.health = health
        self._context.moved(self.name)
