"""Answers for what is told through the API server: status, written when it differs, and Events.

A status is applied when it differs from the one that was applied last; when
only figures differ, at most every half minute. An Event is sent when a condition
changes, not when it is merely still so.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from pithead.manifests.conditions import READY, RECONCILING, STALLED
from pithead_operator.reconcile.status import REASON_WAITING
from pithead_operator.regions.api import MANAGER, ClusterApi
from pithead_operator.regions.errors import ClusterError, NotFound
from pithead_operator.regions.kinds import BY_NAME, EVENT

log = logging.getLogger(__name__)

Object = dict[str, Any]

FIGURES_SECONDS = 30.0
"""Connections and hash rates move all the time; a person looks less often."""
GOOD_WHEN_FALSE = frozenset({STALLED, RECONCILING})
NEWS = {STALLED: "Recovered"}
"""Reasons of Events about a condition that became good; for others, its type."""
QUIET = frozenset({RECONCILING})
"""Conditions that come and go with every change: no Events."""
MESSAGE_MAX = 1024


class Recorder:
    """Writes status and Events into the hub."""

    def __init__(
        self, api: ClusterApi, identity: str, later: Callable[[Object, float], None]
    ) -> None:
        """`later` is told of an object whose figures may be written in so many seconds."""
        self._api = api
        self._identity = identity
        self._later = later
        self._written: dict[str, tuple[str, str, float]] = {}

    async def status(self, item: Object, status: Object) -> None:
        """Write the status of an object of ours, when that is due."""
        uid = item["metadata"]["uid"]
        figures = _digest(status)
        verdict = _digest(_verdict(status))
        now = asyncio.get_running_loop().time()
        before = self._written.get(uid)
        if before is not None:
            if before[0] == figures:
                return
            due = before[2] + FIGURES_SECONDS
            if before[1] == verdict and now < due:
                self._later(item, due - now)
                return
        kind = BY_NAME[item["kind"]]
        meta = item["metadata"]
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": uid},
            "status": status,
        }
        try:
            await self._api.apply(
                kind, meta["namespace"], body, manager=MANAGER, subresource="status"
            )
        except NotFound:
            return
        self._written[uid] = (figures, verdict, now)
        await self._transitions(item, status)

    def forget(self, uid: str) -> None:
        """Of a deleted object."""
        self._written.pop(uid, None)

    async def event(self, item: Object, reason: str, message: str, *, warning: bool) -> None:
        """Send an Event about an object; one that can not be sent is only logged."""
        meta = item["metadata"]
        now = datetime.now(UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        body: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name'][:200]}.{now.timestamp():.6f}".replace(".", "-"),
                "namespace": meta["namespace"],
            },
            "involvedObject": {
                "apiVersion": item["apiVersion"],
                "kind": item["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message[:MESSAGE_MAX],
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": self._identity[:128],
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        log.info("%s %s/%s: %s: %s", item["kind"], meta["namespace"], meta["name"], reason, message)
        try:
            await self._api.create(EVENT, meta["namespace"], body)
        except ClusterError as error:
            log.warning("an Event was not sent: %s", error)

    async def _transitions(self, item: Object, status: Object) -> None:
        before = _states(item.get("status") or {})
        sent: set[tuple[str, str]] = set()
        stalled = any(
            each["type"] == STALLED and each["status"] == "True"
            for each in status.get("conditions") or []
        )
        for place, (now_is, condition) in _states(status).items():
            kind = place[-1]
            old = before.get(place)
            if kind in QUIET or (old is not None and old[0] == now_is):
                continue
            good = (condition["status"] == "False") == (kind in GOOD_WHEN_FALSE)
            passing = condition["status"] == "Unknown" or condition["reason"] == REASON_WAITING
            began = good and (old is None or old[0][0] == "Unknown")
            if passing or began or (kind == READY and not good and stalled):
                # A beginning is no news unless a bad one, and one cause is told once.
                continue
            where = f"region {place[0]}: " if len(place) > 1 else ""
            text = condition.get("message") or f"{kind} is {condition['status']}"
            reason = NEWS.get(kind, kind) if good else condition["reason"]
            if (reason, f"{where}{text}") in sent:
                continue
            sent.add((reason, f"{where}{text}"))
            await self.event(item, reason, f"{where}{text}", warning=not good)


def _states(status: Object) -> dict[tuple[str, ...], tuple[tuple[str, str], Object]]:
    """Conditions by place, with what makes a transition of each."""
    found: dict[tuple[str, ...], tuple[tuple[str, str], Object]] = {}
    for each in status.get("conditions") or []:
        found[each["type"],] = ((each["status"], each["reason"]), each)
    for region in status.get("regions") or []:
        for each in region.get("conditions") or []:
            found[region["id"], each["type"]] = ((each["status"], each["reason"]), each)
    return found


def _verdict(status: Object) -> Object:
    """What of a status is written at once: all but the figures."""
    regions = [
        {key: each.get(key) for key in ("id", "ready", "desired", "addresses", "conditions")}
        for each in status.get("regions") or []
    ]
    keys = ("observedGeneration", "poolId", "regionsReady", "conditions", "usedBy", "revisions")
    return {key: status.get(key) for key in keys} | {"regions": regions}


def _digest(value: Object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
