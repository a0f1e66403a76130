"""Answers for the last good form of each pool, kept in a ConfigMap of the hub beside it.

The form is the pool with its endpoint and schemes, as they were when the pool
was last made from them. It is read only when the pool is bad, to keep the
hub's services accounting for what still runs.
"""

import json
from collections.abc import Iterable
from typing import Any

from pithead_operator.desired import names
from pithead_operator.reconcile.gather import essential, referred
from pithead_operator.reconcile.world import World
from pithead_operator.regions.errors import NotFound
from pithead_operator.regions.kinds import BY_NAME, CONFIG_MAP
from pithead_operator.regions.view import View

Object = dict[str, Any]

FORM_KEY = "objects.json"


def name_of(pool: str) -> str:
    """Name of the ConfigMap."""
    return names.joined("pithead-accepted", pool)


def form_object(world: World, pool: Object, hub_uid: str) -> Object:
    """The ConfigMap for a pool that is good now."""
    namespace, name = pool["metadata"]["namespace"], pool["metadata"]["name"]
    found = [pool]
    for kind, each in referred(pool):
        item = world.get(BY_NAME[kind], namespace, each)
        if item is not None:
            found.append(item)
    text = json.dumps([essential(item) for item in found], sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name_of(name),
            "namespace": namespace,
            "labels": names.minted_labels(namespace, hub_uid)
            | {
                names.OWNER_LABEL: names.pool_owner(namespace, name),
                names.POOL_LABEL: name,
            },
        },
        "data": {FORM_KEY: text},
    }


async def earlier(view: View, pools: Iterable[str]) -> dict[str, tuple[Object, ...]]:
    """Last good forms of those of the pools that have one; raises ClusterError."""
    found: dict[str, tuple[Object, ...]] = {}
    for name in pools:
        if view.find("ConfigMap", name_of(name)) is None:
            continue
        try:
            stored = await view.api.get(CONFIG_MAP, view.namespace, name_of(name))
            forms = json.loads((stored.get("data") or {}).get(FORM_KEY, "[]"))
        except (NotFound, ValueError):
            continue
        if forms:
            found[name] = tuple(forms)
    return found
