"""Answers for what the objects of a namespace mean together, and for what stands in for bad ones.

Only computes. The judgement itself is `pithead.manifests.served`'s. A pool that
worked before and is bad now must not vanish from the hub's services, which
account for its shares: its last good form stands in for it there. Where even
that can not be (its Secret is gone), the hub's services stay as they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pithead.manifests import Manifests, Problem, manifests_from_objects

Object = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an object."""

    reason: str
    message: str


@dataclass(frozen=True)
class Gathered:
    """A namespace, judged."""

    manifests: Manifests
    """Of all pools that are good, or stand in by their last good form."""
    findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    """What is wrong, by kind/name; objects that are good as they are now are absent."""
    standing_in: frozenset[str] = frozenset()
    """Names of pools in `manifests` by their last good form."""
    lost: frozenset[str] = frozenset()
    """Names of pools that worked before, and that nothing can stand in for now."""

    def good(self, pool: str) -> bool:
        """True when the pool is good as it is now."""
        return f"MiningPool/{pool}" not in self.findings


def gather(
    namespace: str,
    objects: Iterable[Object],
    secrets: Iterable[Object],
    accepted: Mapping[str, tuple[Object, ...]],
    clashes: Iterable[Problem] = (),
) -> Gathered:
    """Judge the objects of a namespace.

    `accepted` holds, by pool, the last good pool, endpoint and schemes of pools
    that worked before; `clashes` are problems with other namespaces.
    """
    found, hidden = list(objects), list(secrets)
    clashing: dict[str, tuple[Problem, ...]] = {}
    for problem in clashes:
        clashing[problem.object] = (*clashing.get(problem.object, ()), problem)
    served = manifests_from_objects(
        namespace, [each for each in found if _label(each) not in clashing], hidden
    )
    problems = {**served.problems, **clashing}
    bad = {name for name in accepted if f"MiningPool/{name}" in problems}
    manifests = served.manifests
    if bad:
        sound = {_label(each): each for each in found if _label(each) not in problems}
        for name in sorted(bad):
            for each in accepted[name]:
                before = sound.get(_label(each))
                # A good object of now is right; of two earlier forms the later one.
                if before is None or (_label(before) in problems and _age(each) > _age(before)):
                    sound[_label(each)] = each
        manifests = manifests_from_objects(namespace, sound.values(), hidden).manifests
    names = {pool.metadata.name for pool in manifests.pools}
    return Gathered(
        manifests=manifests,
        findings={label: tuple(map(_finding, each)) for label, each in problems.items()},
        standing_in=frozenset(bad & names),
        lost=frozenset(bad - names),
    )


def referred(pool: Object) -> tuple[tuple[str, str], ...]:
    """Kind and name of what a pool refers to."""
    spec = pool.get("spec") or {}
    endpoint = (spec.get("coinEndpointRef") or {}).get("name", "")
    schemes = [each.get("name", "") for each in spec.get("schemes") or []]
    return (("CoinEndpoint", endpoint), *(("RewardScheme", name) for name in schemes))


def essential(item: Object) -> Object:
    """An object without what changes by itself: what is kept of a good form."""
    meta = item["metadata"]
    kept = ("name", "namespace", "generation", "creationTimestamp")
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": item.get("spec") or {},
    }


def _finding(problem: Problem) -> Finding:
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    return Finding(problem.reason, text)


def _label(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def _age(item: Object) -> int:
    return int(item["metadata"].get("generation", 0))
