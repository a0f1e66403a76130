"""Answers for Jobs whose work a later one of their kind undoes: they end before it begins.

A databases Job sets passwords, a schemes Job tells fees. When a manifest is
changed and changed back, what the first Job told is no proof of what stands now,
and one that still works may act after the one that is right. So what is left of
earlier Jobs goes first, pods included; then their results no longer count as
done; then the present Job is made. Killed between any two of these, the next
pass goes on.
"""

from collections.abc import Mapping
from typing import Any

from pithead_operator.desired import names
from pithead_operator.regions.errors import Conflict, NotFound
from pithead_operator.regions.kinds import JOB, POD
from pithead_operator.regions.view import View
from pithead_operator.wiring.jobs import HASH_DIGITS, WireJob

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
UNDOING = ("databases", "schemes")
"""Kinds whose work a later Job undoes; the others only ask, or only add."""
EARLIER = "earlier"
"""Stands for the hash where a result is kept as a fact, and is no Job's any more."""

Results = dict[str, Mapping[str, Any]]


async def end_earlier(view: View, job: WireJob) -> list[str]:
    """Remove earlier Jobs of the kind; what of them is still there. Raises ClusterError."""
    if job.kind not in UNDOING:
        return []
    stem, owner = job.name[:-HASH_DIGITS], names.hub_owner(view.namespace)

    def is_earlier(name: str) -> bool:
        return name != job.name and name[:-HASH_DIGITS] == stem

    left = []
    for seen in list(view.of(owner).values()):
        if seen.kind != JOB.name or not is_earlier(seen.name):
            continue
        left.append(f"Job {seen.name} to be gone")
        if not seen.deleting:
            try:
                await view.api.delete(JOB, view.namespace, seen.name, seen.uid)
            except (NotFound, Conflict):
                continue
    # Pods outlive a Job that was deleted, for as long as their machine takes to end them.
    selector = f"{names.OWNER_LABEL}={owner},{names.COMPONENT_LABEL}=wiring"
    pods, _ = await view.api.list(POD, view.namespace, selector, metadata_only=True)
    made_by = {(pod["metadata"].get("labels") or {}).get(JOB_NAME_LABEL, "") for pod in pods}
    return left or [
        f"pods of Job {each} to be gone" for each in sorted(made_by) if is_earlier(each)
    ]


def without_earlier(results: Results, job: WireJob) -> Results:
    """The results with those of earlier Jobs of the kind kept as one fact that is no Job's."""
    if job.kind not in UNDOING:
        return results
    stem = job.name[:-HASH_DIGITS]
    fact = f"{stem}{EARLIER}"
    found = [each for each in results if each[:-HASH_DIGITS] == stem and each != job.name]
    kept = {name: told for name, told in results.items() if name not in found}
    for name in found:
        kept[fact] = results[name]
    return kept
