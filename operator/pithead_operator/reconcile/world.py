"""Answers for the three kinds as last read from the hub: events put them in, reconciles read them.

Keeps the objects without what only the API server needs, by namespace and name.
A list of all of them, taken again and again, mends whatever an event missed.
"""

from collections.abc import Iterable
from typing import Any

from pithead_operator.regions.kinds import OUR_KINDS, Kind
from pithead_operator.regions.seen import newer

Object = dict[str, Any]

DROPPED = ("managedFields", "selfLink")


class World:
    """MiningPools, CoinEndpoints and RewardSchemes of all namespaces."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {
            kind.name: {} for kind in OUR_KINDS
        }

    def put(self, item: Object) -> bool:
        """Take in an object; False when nothing but its status or version changed."""
        meta = item["metadata"]
        slim = item | {"metadata": {k: v for k, v in meta.items() if k not in DROPPED}}
        known = self._objects[item["kind"]]
        key = (meta["namespace"], meta["name"])
        before = known.get(key)
        if before is not None:
            old = before["metadata"]
            same = old["uid"] == meta["uid"]
            if same and not newer(meta["resourceVersion"], old["resourceVersion"]):
                return False
        known[key] = slim
        return before is None or _essence(before) != _essence(slim)

    def drop(self, item: Object) -> bool:
        """Take out a deleted object; False when another stands there already."""
        meta = item["metadata"]
        known = self._objects[item["kind"]]
        key = (meta["namespace"], meta["name"])
        if key not in known or known[key]["metadata"]["uid"] != meta["uid"]:
            return False
        del known[key]
        return True

    def replace(self, kind: Kind, items: Iterable[Object], version: str) -> set[str]:
        """Make a list's result what is known of a kind; the namespaces that were wrong before."""
        wrong: set[str] = set()
        present: set[tuple[str, str]] = set()
        for item in items:
            complete: Object = {"apiVersion": kind.api_version, "kind": kind.name} | item
            meta = complete["metadata"]
            present.add((meta["namespace"], meta["name"]))
            if self.put(complete):
                wrong.add(meta["namespace"])
        known = self._objects[kind.name]
        for key, item in list(known.items()):
            # An object that came while the list was on its way is not in it.
            if key not in present and not newer(item["metadata"]["resourceVersion"], version):
                del known[key]
                wrong.add(key[0])
        return wrong

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object."""
        return self._objects[kind.name].get((namespace, name))

    def of(self, kind: Kind, namespace: str) -> dict[str, Object]:
        """All objects of a kind in a namespace, by name."""
        known = self._objects[kind.name]
        return {name: item for (where, name), item in known.items() if where == namespace}

    def namespaces(self) -> set[str]:
        """Namespaces with an object of any kind."""
        return {where for known in self._objects.values() for where, _ in known}


def _essence(item: Object) -> tuple[object, ...]:
    """What a reconcile depends on: all but the status, which we write ourselves."""
    meta = item["metadata"]
    return (
        meta["uid"],
        meta.get("generation", 0),
        meta.get("deletionTimestamp"),
        meta.get("finalizers"),
        meta.get("annotations"),
        item.get("spec"),
    )
