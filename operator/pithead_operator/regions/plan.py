"""Answers for what must be written to make a namespace equal to what is desired.

Decides and does nothing. An object is written when it is absent, when its
desired form is not the one that we applied last, or when somebody changed it
since; else it is left alone. What is ours and no longer desired goes, in an
order in which miners are let go before their address is.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pithead_operator.regions.seen import HASH_ANNOTATION, Seen

Object = dict[str, Any]
Key = tuple[str, str]
"""Kind and name of an object of the namespace."""


@dataclass(frozen=True)
class Applied:
    """What we know of our last write of an object."""

    digest: str
    mark: str


@dataclass(frozen=True)
class Removal:
    """What goes, in two steps."""

    now: tuple[Seen, ...]
    later: tuple[Seen, ...]
    """Only when the pods of `now`'s Deployments are gone, in this order."""


FIRST_TO_GO = ("PodDisruptionBudget", "CronJob", "Deployment", "Job")
"""Whatever runs pods. The Service stays until they are gone: they answer miners to the end."""
LAST_TO_GO = (
    "Service",
    "NetworkPolicy",
    "RoleBinding",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
)


def key_of(item: Object) -> Key:
    """Kind and name of a rendered object."""
    return (item["kind"], item["metadata"]["name"])


def owned(item: Object, anchor: Seen | None) -> Object:
    """The object with its owner: the anchor beside it, whose end ends it."""
    if anchor is None:
        return item
    reference = {
        "apiVersion": "v1",
        "kind": anchor.kind,
        "name": anchor.name,
        "uid": anchor.uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }
    return item | {"metadata": item["metadata"] | {"ownerReferences": [reference]}}


def stamped(item: Object) -> tuple[Object, str]:
    """The object with the hash of its desired form in an annotation, and that hash."""
    digest = hashlib.sha256(msgspec.json.encode(item, order="sorted")).hexdigest()[:32]
    meta = item["metadata"]
    annotations = (meta.get("annotations") or {}) | {HASH_ANNOTATION: digest}
    return item | {"metadata": meta | {"annotations": annotations}}, digest


def must_write(digest: str, observed: Seen | None, applied: Applied | None) -> bool:
    """Whether an object must be applied: the skip rule."""
    if observed is None or applied is None:
        return True
    return applied.digest != digest or applied.mark != observed.mark


def removal(observed: Iterable[Seen], desired: Mapping[Key, object] | set[Key]) -> Removal:
    """What of `observed` is not desired, in the order in which it goes."""
    extra = [each for each in observed if each.key not in desired and not each.controlled]
    ranks = {kind: rank for rank, kind in enumerate((*FIRST_TO_GO, *LAST_TO_GO))}

    def rank(each: Seen) -> tuple[int, bool, str]:
        # An anchor's end would end its siblings by garbage collection, in any order.
        return (ranks.get(each.kind, -1), each.component == "anchor", each.name)

    extra.sort(key=rank)
    first = {*FIRST_TO_GO}
    runs_pods = [each for each in extra if each.kind in first or each.kind not in ranks]
    later = [each for each in extra if each.kind in ranks and each.kind not in first]
    return Removal(tuple(runs_pods), tuple(later))
