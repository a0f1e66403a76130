"""Answers for status conditions: their shape and the one way to set them.

Conditions follow the Kubernetes convention, so that `kubectl wait` and kstatus
understand them. Time is an argument.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pithead.manifests.base import Shape
from pithead.manifests.fields import Generation, Text

READY = "Ready"
"""True when the object does what its spec says."""
RECONCILING = "Reconciling"
"""True while a change is being carried out."""
STALLED = "Stalled"
"""True when only a change of the spec or of its surroundings can help; the message says which."""
SYNCED = "Synced"
"""Of a CoinEndpoint: an active node has the whole chain."""
NODES_HEALTHY = "NodesHealthy"
"""Of a CoinEndpoint: every node answers and follows the chain."""
WALLET_READY = "WalletReady"
"""Of a CoinEndpoint: the wallet is there and has given its script."""
STREAM_READY = "StreamReady"
"""Of a MiningPool: topics are there, edges can write to them, and relays bring them on."""
PAYOUTS_READY = "PayoutsReady"
"""Of a MiningPool: the last payout run did what it was to do."""
ANALYTICS_READY = "AnalyticsReady"
"""Of a MiningPool with analytics: shares arrive in ClickHouse, and charts can be asked for."""
REACHABLE = "Reachable"
"""Of a region: the API server of its cluster answers."""
DEGRADED = "Degraded"
"""Of a region: shares wait in spools of its edges, so its pods are left alone."""
RELAYED = "Relayed"
"""Of a region with a stream of its own: its relay brings shares to the hub."""

MESSAGE_LENGTH_MAX = 1024


class Condition(Shape):
    """One observation about an object."""

    LIST_KEY = "type"

    type: Annotated[str, Text(r"^[A-Z][A-Za-z0-9]{0,62}$", 63, "a CamelCase word")]
    """What is observed, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Annotated[str, Text(r"^[A-Z][A-Za-z0-9]{0,126}$", 127, "a CamelCase word")]
    """One CamelCase word for programs."""
    message: Annotated[
        str, Text(r"^[\s\S]*$", MESSAGE_LENGTH_MAX, f"at most {MESSAGE_LENGTH_MAX} characters")
    ] = ""
    """One sentence for people: what is wrong, and the remedy."""
    last_transition_time: Annotated[
        str,
        Text(
            r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
            20,
            "a time such as 2026-01-31T12:00:00Z",
        ),
    ]
    """When status last changed, UTC."""
    observed_generation: Generation = 0
    """Generation of the spec that was observed."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16)]


def set_condition(
    conditions: tuple[Condition, ...],
    *,
    type: str,
    status: Literal["True", "False", "Unknown"],
    reason: str,
    message: str,
    now: datetime,
    generation: int,
) -> tuple[Condition, ...]:
    """Return `conditions` with this one set, ordered by type.

    The transition time is kept unless `status` differs from before; the
    message is cut to its bound. `now` is any aware time.
    """
    before = {condition.type: condition for condition in conditions}
    old = before.get(type)
    if old is not None and old.status == status:
        stamp = old.last_transition_time
    else:
        stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before[type] = Condition(
        type=type,
        status=status,
        reason=reason,
        message=message[:MESSAGE_LENGTH_MAX],
        last_transition_time=stamp,
        observed_generation=generation,
    )
    return tuple(before[key] for key in sorted(before))


def conditions_of(value: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions in the status of an object from the API server.

    What another release wrote and this one cannot read is left out.
    """
    status = value.get("status")
    given = status.get("conditions") if isinstance(status, Mapping) else None
    found = []
    for each in given if isinstance(given, list) else ():
        try:
            found.append(Condition.model_validate(each, by_alias=True, by_name=False))
        except ValidationError:
            continue
    return tuple(found)
