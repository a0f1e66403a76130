"""Answers for the state of a wiring Job in a cluster, and for making one again that gave up."""

from datetime import UTC, datetime

from pithead_operator.reconcile.superseded import JOB_NAME_LABEL
from pithead_operator.regions.errors import Conflict, NotFound
from pithead_operator.regions.kinds import JOB, POD
from pithead_operator.regions.view import View
from pithead_operator.wiring.jobs import WireJob
from pithead_operator.wiring.results import JobState, Phase, read_job

RETRY_SECONDS = 60.0
"""After a Job gave up for a reason that may pass."""
RETRY_UNUSABLE_SECONDS = 600.0
"""After a Job said that only a change helps: the change may be where we do not see it."""


async def read_state(view: View, job: WireJob) -> JobState:
    """What is known of a Job; raises ClusterError."""
    try:
        found = await view.api.get(JOB, view.namespace, job.name)
    except NotFound:
        return JobState(Phase.PENDING)
    pods, _ = await view.api.list(POD, view.namespace, f"{JOB_NAME_LABEL}={job.name}")
    return read_job(found, pods)


async def made_again(view: View, job: WireJob, state: JobState) -> None:
    """Remove a Job that gave up, after a while, so that it is made and tried again."""
    seen = view.find("Job", job.name)
    if seen is None or seen.deleting:
        return
    try:
        found = await view.api.get(JOB, view.namespace, job.name)
        ended = [
            each["lastTransitionTime"]
            for each in (found.get("status") or {}).get("conditions") or []
            if each.get("type") in ("Failed", "Complete") and each.get("status") == "True"
        ]
        age = (datetime.now(UTC) - datetime.fromisoformat(min(ended))).total_seconds()
        if age > (RETRY_SECONDS if state.retryable else RETRY_UNUSABLE_SECONDS):
            await view.api.delete(JOB, view.namespace, job.name, seen.uid)
    except (NotFound, Conflict, ValueError):
        return
