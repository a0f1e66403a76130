"""Answers for what edges told: from the texts of their reports to sums a person can read.

Each edge writes one JSON text under its pod's name, a few times a minute. A text
that has not changed for a while is of an edge that is gone. Hash rates come from
the growth of the credited work between two texts of one process, so that no
clock but the edge's own is compared with itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

ALIVE_SECONDS = 90.0
"""Six intervals of the edges' reports: a slow API server is no dead edge."""
KEPT_SECONDS = 900.0
"""Then the text of a dead edge is removed."""
WINDOW_SECONDS = 300
"""Over which a hash rate is taken."""
TRUSTED_AGE_SECONDS = 300
"""A text that is older by the edge's own clock when we first see it is of a dead edge."""
TEXT_MAX = 64 * 1024
"""Characters of a text; an edge with all nodes that there can be writes some kilobytes."""
SAMPLES_MAX = 64
"""Texts of one process that are kept: a window holds twenty, and a stolen edge may hurry."""

COUNT_MAX = 2**31 - 1
"""Whoever steals an edge can write any number; status holds these at most."""
RATE_MAX = 10**30

Connections = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
UnixSeconds = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class NodeReport(msgspec.Struct, frozen=True, rename="camel"):
    """One coin node as an edge sees it."""

    name: str
    reachable: bool = False
    active: bool = False
    height: int | None = None
    latency_ms: int | None = None
    error: str | None = None


class EdgeReport(msgspec.Struct, frozen=True, rename="camel"):
    """What one edge told."""

    v: int
    pool: str
    region: str
    producer: str
    at: UnixSeconds
    version: str = ""
    connections: Connections = 0
    accepted: int = 0
    work: str = "0"
    log: str = "ok"
    spooling: bool = False
    spool_bytes: int = 0
    draining: bool = False
    nodes: tuple[NodeReport, ...] = ()


@dataclass
class _Edge:
    """One process, as far as it told."""

    report: EdgeReport
    changed: float
    """When its text last changed, by our clock."""
    samples: list[tuple[int, int]]
    """Its clock and its work, the oldest first."""


@dataclass(frozen=True)
class Sum:
    """Edges of one pool in one region together."""

    edges: int = 0
    connections: int = 0
    hashrate: int | None = None
    """Hashes per second; None until two texts of an edge were seen."""
    away: int = 0
    """Edges that can not reach the share log, and refuse shares."""
    full: int = 0
    """Edges that refuse shares because the log is at its byte bound."""
    spooling: int = 0
    """Edges with shares in their spools. One that is silent counts for longer than as alive: its
    spool is there for as long as its pod."""
    spool_bytes: int = 0
    """That wait there."""
    draining: int = 0


NOTHING = Sum()


class Reports:
    """Reports of one namespace in one cluster."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}
        self._bad: dict[str, str] = {}

    def take(self, texts: Mapping[str, str], now: float, unix_now: float) -> tuple[str, ...]:
        """Take in all texts by pod; returns pods whose texts are to be removed.

        `now` is of a clock that never goes back, in seconds.
        """
        for pod in set(self._edges) - set(texts):
            del self._edges[pod]
        old: list[str] = []
        for pod, text in texts.items():
            report = _read(text)
            known = self._edges.get(pod)
            if report is None:
                continue
            if known is None or known.report.producer != report.producer:
                fresh = unix_now - report.at < TRUSTED_AGE_SECONDS
                changed = now if fresh else now - ALIVE_SECONDS - 1
                self._edges[pod] = _Edge(report, changed, [(report.at, _work(report))])
            elif known.report != report:
                known.report, known.changed = report, now
                known.samples.append((report.at, _work(report)))
                _forget_old(known.samples)
            elif now - known.changed > KEPT_SECONDS:
                old.append(pod)
        return tuple(sorted(old))

    def of(self, pool: str, region: str, now: float) -> Sum:
        """What the living edges of a pool (by poolId) in a region told."""
        edges = [
            each
            for each in self._edges.values()
            if each.report.pool == pool and each.report.region == region and _alive(each, now)
        ]
        spools = [
            each
            for each in self._edges.values()
            if each.report.pool == pool
            and each.report.region == region
            and (each.report.spooling or each.report.spool_bytes > 0)
            and now - each.changed <= KEPT_SECONDS
        ]
        rates = [rate for each in edges if (rate := _rate(each.samples)) is not None]
        return Sum(
            edges=len(edges),
            connections=clamped(sum(each.report.connections for each in edges)),
            hashrate=sum(rates) if rates else None,
            away=sum(each.report.log == "away" for each in edges),
            full=sum(each.report.log == "full" for each in edges),
            spooling=len(spools),
            spool_bytes=sum(each.report.spool_bytes for each in spools),
            draining=sum(each.report.draining for each in edges),
        )

    def nodes(self, pools: Iterable[str], now: float) -> tuple[NodeReport, ...]:
        """What living edges of these pools told of their nodes."""
        wanted = set(pools)
        return tuple(
            node
            for each in self._edges.values()
            if each.report.pool in wanted and _alive(each, now)
            for node in each.report.nodes
        )


def clamped(number: int, most: int = COUNT_MAX) -> int:
    """A number from an edge, within what a status holds."""
    return max(0, min(number, most))


def told_pools(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """Pools (by poolId) of which some text changed, came or went."""
    texts = {
        text
        for pod in {*before, *after}
        if before.get(pod) != after.get(pod)
        for text in (before.get(pod), after.get(pod))
        if text is not None
    }
    return {report.pool for text in texts if (report := _read(text)) is not None}


def _forget_old(samples: list[tuple[int, int]]) -> None:
    while len(samples) > 2 and samples[-1][0] - samples[1][0] >= WINDOW_SECONDS:
        samples.pop(0)
    del samples[:-SAMPLES_MAX]


def _alive(edge: _Edge, now: float) -> bool:
    return now - edge.changed <= ALIVE_SECONDS


def _read(text: str) -> EdgeReport | None:
    """A report; None for what is none, or of a later form: an edge may be newer than we are."""
    if len(text) > TEXT_MAX:
        return None
    try:
        report = msgspec.json.decode(text, type=EdgeReport)
        int(report.work)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return report if report.v == 1 else None


def _work(report: EdgeReport) -> int:
    return int(report.work)


def _rate(samples: list[tuple[int, int]]) -> int | None:
    (first_at, first), (last_at, last) = samples[0], samples[-1]
    if last_at <= first_at:
        return None
    return clamped((last - first) // (last_at - first_at), RATE_MAX)
