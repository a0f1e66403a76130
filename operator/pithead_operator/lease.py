"""Answers for which of several operators works: the one that holds the Lease.

As the controllers of Kubernetes do it: the holder renews, the others watch the
Lease by their own clocks and take it when it has not moved for its duration. A
holder that can not renew in time stops being one before anybody else begins.

The elector of the client library is not used: it ends at the first network
error instead of trying until the deadline, and writes local times as UTC.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from pithead_operator import metrics
from pithead_operator.regions.api import ClusterApi
from pithead_operator.regions.errors import ClusterError, Conflict, NotFound
from pithead_operator.regions.kinds import LEASE

log = logging.getLogger(__name__)

Object = dict[str, Any]

NAME = "pithead-operator"
DURATION_SECONDS = 15
"""Without a renewal for this long, another may take it."""
DEADLINE_SECONDS = 10.0
"""Without a renewal for this long, the holder gives up: well before anybody takes it."""
RENEW_SECONDS = 3.0
RETRY_SECONDS = 2.0


class LeaseLost(Exception):
    """Raised when the Lease could not be renewed in time, or another has taken it."""


class Lease:
    """The Lease in the operator's namespace."""

    def __init__(self, api: ClusterApi, namespace: str, identity: str) -> None:
        """`identity` is this process, and no other's."""
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self.held = False

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        log.info("waiting for the Lease %s as %s", NAME, self._identity)
        while not self.held:
            try:
                self.held = await self._try()
            except ClusterError as error:
                log.warning("the Lease can not be taken: %s", error)
            if not self.held:
                await asyncio.sleep(RETRY_SECONDS)
        metrics.LEADER.set(1)
        log.info("the Lease is ours")

    async def keep(self) -> None:
        """Renew the Lease until cancelled; raises LeaseLost."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                async with asyncio.timeout_at(renewed + DEADLINE_SECONDS):
                    asked = loop.time()
                    if not await self._try():
                        raise LeaseLost("another operator has taken the Lease")
                    renewed = asked
            except (ClusterError, TimeoutError) as error:
                log.warning("the Lease was not renewed: %s", str(error) or "no answer in time")
                if loop.time() + RENEW_SECONDS > renewed + DEADLINE_SECONDS:
                    raise LeaseLost("the Lease could not be renewed in time") from error

    async def release(self) -> None:
        """Let another begin at once; errors are of no interest."""
        if not self.held:
            return
        self.held = False
        metrics.LEADER.set(0)
        try:
            found = await self._api.get(LEASE, self._namespace, NAME)
            if found["spec"].get("holderIdentity") == self._identity:
                found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(LEASE, self._namespace, NAME, found)
        except ClusterError as error:
            log.info("the Lease was not released: %s", error)

    async def _try(self) -> bool:
        """Take or renew the Lease; false while it is another's."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        try:
            found = await self._api.get(LEASE, self._namespace, NAME)
        except NotFound:
            return await self._make(now)
        spec = found["spec"]
        holder = spec.get("holderIdentity") or ""
        state = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        clock = asyncio.get_running_loop().time()
        if state != self._seen:
            self._seen, self._seen_at = state, clock
        duration = spec.get("leaseDurationSeconds") or DURATION_SECONDS
        if holder not in ("", self._identity) and clock < self._seen_at + duration:
            return False
        if holder != self._identity:
            if self.held:
                return False
            spec["acquireTime"] = now
            spec["leaseTransitions"] = (spec.get("leaseTransitions") or 0) + 1
        spec |= {
            "holderIdentity": self._identity,
            "renewTime": now,
            "leaseDurationSeconds": DURATION_SECONDS,
        }
        try:
            # It carries the resource version that was read: of two who try, one fails.
            await self._api.replace(LEASE, self._namespace, NAME, found)
        except Conflict:
            return False
        return True

    async def _make(self, now: str) -> bool:
        spec = {
            "holderIdentity": self._identity,
            "acquireTime": now,
            "renewTime": now,
            "leaseDurationSeconds": DURATION_SECONDS,
            "leaseTransitions": 0,
        }
        body: Object = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"name": NAME, "namespace": self._namespace},
            "spec": spec,
        }
        try:
            await self._api.create(LEASE, self._namespace, body)
        except Conflict:
            return False
        return True
