"""Answers for what the namespaces of one cluster must not share: the books of their pools.

A poolId names topics of the share log, a database holds the books of one
namespace. Who was first has them, by the time that the API server wrote on the
object, so that nobody takes over what runs by making a pool beside it. Claims
are read from objects as they were written, sound or not: the answer depends on
nothing but what the API server holds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pithead.manifests.checks import CONFLICT
from pithead.manifests.errors import Problem, path_text

PORT = 5432


@dataclass(frozen=True)
class Claim:
    """What one pool keeps to itself."""

    namespace: str
    pool: str
    since: str
    """When it was made, as the API server writes times: earlier ones sort first."""
    pool_id: str
    database: tuple[str, str, str] | None
    """Host, port and name; None when it names no database."""


def claim_of(item: Mapping[str, Any]) -> Claim:
    """What a MiningPool claims, as the API server gave it."""
    meta, spec = item["metadata"], _mapping(item.get("spec"))
    namespace, name = str(meta["namespace"]), str(meta["name"])
    found = _mapping(spec.get("database"))
    database = (
        # Names of hosts are the same in any case.
        str(found.get("host")).lower(),
        str(found.get("port", PORT)),
        str(found.get("name")),
    )
    return Claim(
        namespace=namespace,
        pool=name,
        since=str(meta.get("creationTimestamp", "")),
        pool_id=str(spec.get("poolId") or f"{namespace}.{name}"),
        database=database if found else None,
    )


def check_hubs(namespace: str, claims: Iterable[Claim]) -> list[Problem]:
    """Problems of the pools of a namespace with those of others; `claims` holds all of them."""
    ids: dict[str, Claim] = {}
    databases: dict[tuple[str, str, str] | None, Claim] = {}
    ordered = sorted(claims, key=lambda each: (each.since, each.namespace, each.pool))
    for each in ordered:
        ids.setdefault(each.pool_id, each)
        databases.setdefault(each.database, each)
    found = []
    for each in ordered:
        if each.namespace != namespace:
            continue
        label = f"MiningPool/{each.pool}"
        first = ids[each.pool_id]
        if first.namespace != namespace:
            what = (
                f"{each.pool_id} is the poolId of {first.pool} in namespace {first.namespace} "
                "too; each pool has books of its own: give another"
            )
            found.append(Problem("", 0, label, "spec.poolId", what, CONFLICT))
        holder = databases[each.database].namespace
        if each.database is not None and holder != namespace:
            what = (
                f"the pools of namespace {holder} use this database too; each namespace has one "
                "of its own: give another"
            )
            path = path_text(("spec", "database", "name"))
            found.append(Problem("", 0, label, path, what, CONFLICT))
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
