"""Answers for status: from what was observed to the status object of each kind.

Only computes; time is an argument. Conditions are set in one place and keep
their transition times. Numbers are cut to what a person reads, so that a status
moves when something happened and not with every share.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pithead.config import SlotSettings
from pithead.manifests import (
    CoinEndpoint,
    Condition,
    MiningPool,
    RewardScheme,
    canonical_parameters,
    conditions_of,
    hashrate_text,
    revision_of,
    set_condition,
)
from pithead.manifests.conditions import (
    DEGRADED,
    NODES_HEALTHY,
    PAYOUTS_READY,
    REACHABLE,
    READY,
    RECONCILING,
    STALLED,
    STREAM_READY,
    SYNCED,
)
from pithead_operator.reconcile.gather import Finding
from pithead_operator.reconcile.reports import NOTHING, NodeReport, Sum, clamped
from pithead_operator.regions.member import Health

Object = dict[str, Any]
Truth = Literal["True", "False", "Unknown"]

SHORT_MAX = 256
MESSAGES_MAX = 4
"""Findings that a condition's message holds; the rest is counted."""
REVISIONS_MAX = 32
USES_MAX = 64

REASON_GOOD = "AsWanted"
"""Nothing is wrong, nothing is left to be done."""
REASON_WAITING = "Progressing"
"""What was asked for is on its way."""
REASON_NO_REPORT = "NoReport"
"""No edge has told anything yet."""


@dataclass(frozen=True)
class Mark:
    """One condition before it is stamped."""

    type: str
    status: Truth
    reason: str
    message: str


@dataclass(frozen=True)
class RegionView:
    """One region of a pool as it was last seen."""

    id: str
    cluster: str | None
    health: Health
    desired: int = 0
    ready: int = 0
    addresses: tuple[str, ...] = ()
    hostname: str | None = None
    told: Sum = NOTHING
    findings: tuple[Finding, ...] = ()
    """What keeps its edges from being made, that a person must see to."""
    waiting: tuple[str, ...] = ()
    """What it waits for."""
    active: bool = True
    relay: Mark | None = None
    """Whether its relay brings shares to the hub; None where edges write to the hub's Kafka."""


@dataclass(frozen=True)
class HubView:
    """The hub of a pool as it was last seen."""

    waiting: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What keeps the hub from being as wanted, that a person must see to."""
    stream: Mark | None = None
    payouts: Mark | None = None
    analytics: Mark | None = None
    """None when the pool names no ClickHouse."""


def conditions(
    item: Object, marks: Iterable[Mark], now: datetime, generation: int
) -> tuple[Condition, ...]:
    """The conditions of an object with these set; others that it had are dropped."""
    wanted = list(marks)
    kept = {mark.type for mark in wanted}
    found = tuple(each for each in conditions_of(item) if each.type in kept)
    for mark in wanted:
        found = set_condition(
            found,
            type=mark.type,
            status=mark.status,
            reason=mark.reason,
            message=mark.message,
            now=now,
            generation=generation,
        )
    return found


def standard(
    findings: Sequence[Finding], waiting: Sequence[str], absent: Sequence[Finding], good: str
) -> tuple[Mark, Mark, Mark]:
    """Ready, Reconciling and Stalled, as kstatus reads them.

    `findings` need a person, `waiting` passes, `absent` is neither: what is not
    there and will come back by itself.
    """
    stalled = Mark(STALLED, "False", REASON_GOOD, "")
    if findings:
        stalled = Mark(STALLED, "True", findings[0].reason, joined(findings))
    reconciling = Mark(RECONCILING, "False", REASON_GOOD, "")
    if waiting:
        reconciling = Mark(RECONCILING, "True", REASON_WAITING, _list(waiting))
    ready = Mark(READY, "True", REASON_GOOD, good)
    if findings:
        ready = Mark(READY, "False", findings[0].reason, joined(findings))
    elif absent:
        ready = Mark(READY, "False", absent[0].reason, joined(absent))
    elif waiting:
        ready = Mark(READY, "False", REASON_WAITING, _list(waiting))
    return ready, reconciling, stalled


def pool_status(
    item: Object,
    pool: MiningPool | None,
    findings: Sequence[Finding],
    hub: HubView,
    regions: Sequence[RegionView],
    now: datetime,
) -> Object:
    """Status of a MiningPool; `pool` is None when it is bad."""
    meta = item["metadata"]
    generation = int(meta.get("generation", 0))
    wrong = [*findings, *hub.findings]
    waiting = list(hub.waiting)
    absent: list[Finding] = []
    for each in regions:
        where = f"region {each.id}"
        wrong += [Finding(one.reason, f"{where}: {one.message}") for one in each.findings]
        waiting += [f"{where}: {one}" for one in each.waiting]
        if each.health.status == "Refused":
            wrong.append(Finding(each.health.reason, f"{where}: {each.health.message}"))
        elif each.health.status == "Unreachable":
            absent.append(Finding("RegionUnreachable", f"{where}: {each.health.message}"))
        elif each.health.status == "Connecting":
            waiting.append(f"{where}: {each.health.message}")
    active = [each for each in regions if each.active]
    ready = [each for each in active if each.desired and each.ready >= each.desired]
    marks = [
        *standard(wrong, waiting, absent, "every region serves miners"),
        hub.stream or Mark(STREAM_READY, "Unknown", REASON_WAITING, ""),
        hub.payouts or Mark(PAYOUTS_READY, "Unknown", REASON_WAITING, ""),
        *([hub.analytics] if hub.analytics is not None else []),
    ]
    rates = [each.told.hashrate for each in regions if each.told.hashrate is not None]
    return {
        "observedGeneration": generation,
        "poolId": pool.pool_id if pool is not None else pool_id_of(item),
        "regionsReady": f"{len(ready)}/{len(active)}",
        "connections": clamped(sum(each.told.connections for each in regions)),
        "hashrate": hashrate_text(sum(rates)) if rates else "",
        "regions": [_region(item, each, now, generation) for each in regions],
        "conditions": _dump(conditions(item, marks, now, generation)),
    }


def _region(item: Object, view: RegionView, now: datetime, generation: int) -> Object:
    earlier = {
        each.get("id"): each for each in (item.get("status") or {}).get("regions") or []
    }.get(view.id) or {}
    usable = view.health.usable
    truth: Truth = (
        "True" if usable else "Unknown" if view.health.status == "Connecting" else "False"
    )
    marks = [
        Mark(REACHABLE, truth, view.health.reason, view.health.message),
        degraded(view.told),
        *([view.relay] if view.relay is not None else []),
    ]
    found: Object = {
        "id": view.id,
        "ready": view.ready,
        "desired": view.desired,
        "connections": view.told.connections,
        "hashrate": hashrate_text(view.told.hashrate) if view.told.hashrate is not None else "",
        "addresses": list(view.addresses[:16]),
        "reachable": usable,
        "conditions": _dump(conditions({"status": earlier}, marks, now, generation)),
    }
    if view.cluster:
        found["cluster"] = view.cluster
    if view.hostname:
        found["hostname"] = view.hostname
    return found


def degraded(told: Sum) -> Mark:
    """Whether shares of a region wait in spools of its edges."""
    if not told.edges and not told.spooling:
        return Mark(DEGRADED, "Unknown", REASON_NO_REPORT, "no edge has told anything")
    if not told.spooling:
        return Mark(DEGRADED, "False", REASON_GOOD, "no share waits in a spool")
    text = (
        f"{told.spooling} edges keep shares in their spools, {bytes_text(told.spool_bytes)}: their "
        "pods are not rolled, scaled in or drained until all of it is in Kafka; delete none of "
        "them, and see to Kafka and to the way there"
    )
    return Mark(DEGRADED, "True", "Spooling", text)


def stream_mark(regions: Sequence[RegionView]) -> Mark:
    """StreamReady once the topics are there: what keeps shares from the hub, the worst first."""
    away = [each.id for each in regions if each.told.away]
    full = [each.id for each in regions if each.told.full]
    spooling = [each.id for each in regions if each.told.spooling]
    relays = [(each.id, each.relay) for each in regions if each.relay is not None]
    apart = [(name, relay) for name, relay in relays if relay.status == "False"]
    unknown = [(name, relay) for name, relay in relays if relay.status == "Unknown"]
    if away:
        text = (
            f"edges of {', '.join(away)} can not reach the share log and refuse shares; see to "
            "Kafka and to the way there"
        )
        return Mark(STREAM_READY, "False", "LogAway", text)
    if full:
        text = (
            f"the share log of {', '.join(full)} is at its byte bound, and edges refuse shares; "
            "see why accounting does not read on, or raise bytesMax"
        )
        return Mark(STREAM_READY, "False", "LogFull", text)
    if spooling:
        text = (
            f"edges of {', '.join(spooling)} keep shares in their spools; see to Kafka and to the "
            "way there"
        )
        return Mark(STREAM_READY, "False", "Spooling", text)
    if apart:
        names = ", ".join(name for name, _ in apart)
        text = f"shares of {names} wait there: {apart[0][1].message}"
        return Mark(STREAM_READY, "False", "RelayAway", text)
    if unknown:
        name, relay = unknown[0]
        return Mark(STREAM_READY, "Unknown", relay.reason, f"region {name}: {relay.message}")
    return Mark(STREAM_READY, "True", "TopicsReady", "the topics are there")


def endpoint_status(
    item: Object,
    endpoint: CoinEndpoint | None,
    findings: Sequence[Finding],
    wallet: Mark,
    told: Sequence[NodeReport],
    now: datetime,
) -> Object:
    """Status of a CoinEndpoint, from what edges told of its nodes."""
    generation = int(item["metadata"].get("generation", 0))
    names = [node.name for node in endpoint.spec.nodes] if endpoint is not None else []
    nodes = {name: [each for each in told if each.name == name] for name in names}
    lines = [_node(name, each) for name, each in nodes.items() if each]
    heights = [int(line["height"]) for line in lines if line["height"]]
    silent = [line["name"] for line in lines if not line["reachable"]]
    if not lines:
        synced = Mark(SYNCED, "Unknown", REASON_NO_REPORT, "no edge has told of the nodes yet")
        healthy = Mark(NODES_HEALTHY, "Unknown", REASON_NO_REPORT, synced.message)
    else:
        working = [line["name"] for line in lines if line["active"] and line["reachable"]]
        synced = (
            Mark(SYNCED, "True", "NodeActive", f"edges take templates from {', '.join(working)}")
            if working
            else Mark(SYNCED, "False", "NoNodeActive", "no node gives templates; see its log")
        )
        healthy = Mark(NODES_HEALTHY, "True", "AllAnswer", "every node answers the edges")
        if silent:
            errors = [
                f"{line['name']}: {line.get('error') or 'no answer'}"
                for line in lines
                if not line["reachable"]
            ]
            healthy = Mark(NODES_HEALTHY, "False", "NodeAway", "; ".join(errors))
    waiting = [] if wallet.status != "Unknown" else [wallet.message]
    bad = [*findings]
    absent = [
        Finding(mark.reason, mark.message) for mark in (wallet, synced) if mark.status == "False"
    ]
    marks = [*standard(bad, waiting, absent, "wallet and nodes answer"), synced, healthy, wallet]
    found: Object = {
        "observedGeneration": generation,
        "nodes": lines,
        "nodesReachable": f"{len(lines) - len(silent)}/{len(names)}" if lines else "",
        "conditions": _dump(conditions(item, marks, now, generation)),
    }
    if heights:
        found["height"] = max(heights)
    return found


def _node(name: str, told: Sequence[NodeReport]) -> Object:
    latencies = [each.latency_ms for each in told if each.latency_ms is not None]
    errors = sorted({each.error for each in told if each.error})
    found: Object = {
        "name": name,
        "height": clamped(max((each.height or 0 for each in told), default=0)),
        "active": any(each.active for each in told),
        "reachable": any(each.reachable for each in told),
    }
    if latencies:
        found["latencyMilliseconds"] = _two_digits(clamped(max(latencies)))
    if errors:
        found["error"] = _line(errors[0])
    return found


def scheme_status(
    item: Object,
    scheme: RewardScheme | None,
    findings: Sequence[Finding],
    users: Sequence[str],
    slots: Mapping[str, Sequence[SlotSettings]],
    now: datetime,
) -> Object:
    """Status of a RewardScheme: its revisions, and who uses it."""
    generation = int(item["metadata"].get("generation", 0))
    name = item["metadata"]["name"]
    uses: dict[str, list[Object]] = {}
    for pool in sorted(slots):
        for slot in slots[pool]:
            if slot.scheme == name:
                line = {"pool": pool, "slot": slot.slot, "effectiveHeight": slot.effective_height}
                # A scheme can return to a revision; the later height is the one in force.
                others = [each for each in uses.get(slot.revision, []) if each["pool"] != pool]
                uses[slot.revision] = [*others, line]
    marks = standard(findings, [], [], "its parameters are sound")
    found: Object = {
        "observedGeneration": generation,
        "users": ", ".join(sorted(users))[:SHORT_MAX],
        "usedBy": sorted(users)[:256],
        "conditions": _dump(conditions(item, marks, now, generation)),
    }
    present = revision_of(canonical_parameters(scheme)) if scheme is not None else ""
    if scheme is not None:
        found["revision"] = present
        uses.setdefault(present, [])
    newest = sorted(uses, key=lambda each: (each == present, _height(uses[each]), each))
    found["revisions"] = [
        {
            "revision": each,
            "parameters": canonical_parameters(scheme)
            if scheme is not None and each == present
            else "",
            "usedBy": uses[each][:USES_MAX],
        }
        for each in newest[-REVISIONS_MAX:]
    ]
    return found


def pool_id_of(item: Object) -> str:
    """The poolId of a MiningPool as it was written."""
    meta = item["metadata"]
    given = (item.get("spec") or {}).get("poolId")
    return str(given or f"{meta['namespace']}.{meta['name']}")


def joined(findings: Sequence[Finding]) -> str:
    """Sentences of several findings in one message."""
    texts = list(dict.fromkeys(each.message for each in findings))
    more = len(texts) - MESSAGES_MAX
    return "; ".join(texts[:MESSAGES_MAX]) + (f"; and {more} more" if more > 0 else "")


def _list(waiting: Sequence[str]) -> str:
    texts = list(dict.fromkeys(waiting))
    more = len(texts) - MESSAGES_MAX
    return (
        "waits for " + "; ".join(texts[:MESSAGES_MAX]) + (f"; and {more} more" if more > 0 else "")
    )


def _height(lines: Sequence[Object]) -> int:
    return max((int(each["effectiveHeight"]) for each in lines), default=0)


def _line(text: str) -> str:
    """Foreign text as one short line that does nothing to a terminal or a log."""
    return "".join(each if each.isprintable() else " " for each in text[:SHORT_MAX])


def bytes_text(count: int) -> str:
    """Bytes as a person reads them, cut to two digits so that the text rests."""
    unit, number = "B", clamped(count, 2**62)
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        unit, number = larger, number // 1024
    return f"{_two_digits(number)} {unit}"


def _two_digits(number: int) -> int:
    """A number cut to two digits, so that it rests while it only trembles."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _dump(found: Iterable[Condition]) -> list[Object]:
    return [each.model_dump(by_alias=True, mode="json") for each in found]
