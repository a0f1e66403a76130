"""What this edge knows of its coin nodes, for reports and metrics. Pure but for the metrics."""

from collections.abc import Sequence

import msgspec

from pithead.coins.nodeset import NodeHealth
from pithead.stratum import metrics

REACHABLE_MS = 10_000
"""Since a node's last answer: three polls that were each waited for."""
ERROR_CHARACTERS_MAX = 200


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One coin node as this edge sees it."""

    name: str
    reachable: bool
    """It answered a short while ago, whatever it said."""
    active: bool
    """Work comes from it."""
    height: int
    latency_ms: int
    """Of the last answer to a poll."""
    error: str | None
    """Why no work is taken from it, with the remedy; None when it is healthy."""


def node_facts(nodes: Sequence[NodeHealth], active: str, now_ms: int) -> tuple[NodeFacts, ...]:
    """Return the facts of all nodes; `active` is the name of the one to ask for work."""
    return tuple(
        NodeFacts(
            name=node.name,
            reachable=node.answered_ms > 0 and now_ms - node.answered_ms <= REACHABLE_MS,
            active=node.healthy and node.name == active,
            height=node.height,
            latency_ms=node.latency_ms,
            error=node.trouble[:ERROR_CHARACTERS_MAX] or None,
        )
        for node in nodes
    )


def show(facts: Sequence[NodeFacts]) -> None:
    """Bring the metrics up to date."""
    for node in facts:
        metrics.NODE_REACHABLE.labels(node.name).set(node.reachable)
        metrics.NODE_ACTIVE.labels(node.name).set(node.active)
        metrics.NODE_HEIGHT.labels(node.name).set(node.height)
        metrics.NODE_LATENCY_SECONDS.labels(node.name).set(node.latency_ms / 1000)
