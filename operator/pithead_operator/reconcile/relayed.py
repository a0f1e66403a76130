"""Answers for a region that has a Kafka of its own: its topics, and the relay to the hub.

    Secret and account -> Job: topics, in the region -> edges; relay, once the hub's intake is known

What the region made stays while it can not be rendered: shares that the relay
did not bring yet are worth money.
"""

from pithead.config.places import RenderError
from pithead_operator.desired.inputs import EdgeInputs, MissingInput
from pithead_operator.desired.relay import relay_name, render_relay, render_relay_base
from pithead_operator.reconcile.gather import Finding
from pithead_operator.reconcile.jobs import made_again, read_state
from pithead_operator.reconcile.outcome import RegionOutcome
from pithead_operator.regions.plan import Key, key_of
from pithead_operator.regions.view import View
from pithead_operator.wiring.jobs import WireJob, region_topics_job
from pithead_operator.wiring.results import Phase


def keys_of_relay(edge: EdgeInputs) -> set[Key]:
    """All that belongs to the relay of a region; raises MissingInput, RenderError."""
    if edge.region.stream is None:
        return set()
    later: set[Key] = {("ConfigMap", relay_name(edge)), ("Deployment", relay_name(edge))}
    made = (*render_relay_base(edge), *region_topics_job(edge).objects)
    return later | {key_of(item) for item in made}


async def make_relay(view: View, edge: EdgeInputs, anchor: str, outcome: RegionOutcome) -> bool:
    """One pass over the relay of a region; false while edges have nowhere to write to.

    Raises ClusterError, MissingInput, RenderError.
    """
    base, topics = render_relay_base(edge), region_topics_job(edge)
    outcome.waiting += (await view.ensure(base, anchor=anchor)).waiting
    if not await _topics_made(view, topics, anchor, outcome):
        return False
    try:
        relay = render_relay(edge)
    except (MissingInput, RenderError) as error:
        # Edges need no relay to go on.
        outcome.waiting.append(str(error))
        return True
    outcome.waiting += (await view.ensure(relay, anchor=anchor)).waiting
    return True


async def _topics_made(view: View, job: WireJob, anchor: str, outcome: RegionOutcome) -> bool:
    seen = view.find("Job", job.name)
    if seen is not None and seen.finished and not seen.failed and not seen.deleting:
        # What it told is not asked for, so it may have lost its pod.
        return True
    outcome.waiting += (await view.ensure(job.objects, anchor=anchor)).waiting
    state = await read_state(view, job)
    what = f"Job {job.name}"
    if state.phase is Phase.SUCCEEDED:
        return True
    if state.phase is Phase.FAILED:
        outcome.findings.append(Finding("TopicsJobFailed", f"{what}: {state.message}"))
        await made_again(view, job, state)
    else:
        outcome.waiting.append(f"{what}: {state.message}" if state.message else what)
    return False
