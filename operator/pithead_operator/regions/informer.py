"""Answers for what one kind of ours looks like in one namespace of one cluster, kept up to date.

List, then watch from the list's version; a watch that ended goes on where it
stood, one that is too old (410) lists again. Whatever fails is tried again with
a growing pause, and the last known state is kept meanwhile: a member that is
away must not look like a member that is empty. What we wrote ourselves is taken
in at once from the answer (`assume`), so that the next reconcile does not judge
by what was before.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from pithead_operator import metrics
from pithead_operator.regions.api import ClusterApi, Object
from pithead_operator.regions.errors import ClusterError, Expired
from pithead_operator.regions.kinds import Kind
from pithead_operator.regions.seen import Seen, newer, seen

log = logging.getLogger(__name__)

PAUSE_SECONDS_MIN = 0.5
PAUSE_SECONDS_MAX = 20.0
GONE_MAX = 4096
"""Deletions that are remembered, so that a late event does not bring an object back."""

Changed = Callable[[Seen | None, Seen | None], None]
"""Told (before, after); None means absent."""


class Informer:
    """One kind in one namespace, filtered by labels."""

    def __init__(
        self,
        api: ClusterApi,
        kind: Kind,
        namespace: str,
        selector: str,
        changed: Changed,
        *,
        metadata_only: bool,
    ) -> None:
        self._api = api
        self.kind = kind
        self._namespace = namespace
        self._selector = selector
        self._metadata_only = metadata_only
        self._changed = changed
        self._gone: dict[str, None] = {}
        self.items: dict[str, Seen] = {}
        self.synced = asyncio.Event()
        self.error: ClusterError | None = None
        """Why it can not list or watch at present."""

    async def run(self) -> None:
        """Keep `items` up to date until cancelled."""
        pause = PAUSE_SECONDS_MIN
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                async for kind, item in self._api.watch(
                    self.kind,
                    self._namespace,
                    self._selector,
                    version,
                    metadata_only=self._metadata_only,
                ):
                    version = item["metadata"]["resourceVersion"]
                    self._take(kind, item)
                    pause = PAUSE_SECONDS_MIN
                self.error = None
                # A server that ends each watch at once must not be asked without a pause.
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS_MIN))  # noqa: S311
            except Expired:
                version = ""
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS_MIN))  # noqa: S311
            except ClusterError as error:
                if self.error is None or str(self.error) != str(error):
                    log.info("%s", error)
                self.error = error
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    def read(self, item: Object) -> Seen:
        """What is kept of an object of this kind."""
        return seen(self.kind, item)

    def assume(self, after: Seen) -> None:
        """Take in what a write answered; an event that is older changes nothing after it."""
        self._put(after)

    def forget(self, name: str, uid: str) -> None:
        """Take out what was found to be gone."""
        before = self.items.get(name)
        if before is not None and before.uid == uid:
            self._remove(before)

    async def _list(self) -> str:
        metrics.LISTS.labels(self._api.cluster, self.kind.name).inc()
        found, version = await self._api.list(
            self.kind, self._namespace, self._selector, metadata_only=self._metadata_only
        )
        present = {item["metadata"]["name"] for item in found}
        for item in found:
            self._put(self.read(item))
        for name, before in list(self.items.items()):
            # What was written while the list was on its way is not in it.
            if name not in present and not newer(before.version, version):
                self._remove(before)
        self.error = None
        self.synced.set()
        return version

    def _take(self, kind: str, item: Object) -> None:
        if kind in ("ADDED", "MODIFIED"):
            self._put(self.read(item))
        elif kind == "DELETED":
            self.forget(item["metadata"]["name"], item["metadata"]["uid"])
            self._bury(item["metadata"]["uid"])

    def _put(self, after: Seen) -> None:
        before = self.items.get(after.name)
        if after.uid in self._gone:
            return
        same = before is not None and before.uid == after.uid
        if before is not None and same and not newer(after.version, before.version):
            return
        self.items[after.name] = after
        self._changed(before, after)

    def _remove(self, before: Seen) -> None:
        del self.items[before.name]
        self._bury(before.uid)
        self._changed(before, None)

    def _bury(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > GONE_MAX:
            self._gone.pop(next(iter(self._gone)))
