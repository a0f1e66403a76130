"""Rollups of a server without tokens: counted again from finer rows for what was touched. Pure.

A view of such a server would count a repeated insert twice. So the minutes that a plan
touched are counted from the raw rows, hours from minutes, days from hours, and each row
is written again under the plan's number: the highest stays.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pithead.shares.analytics.ddl import v0002
from pithead.shares.analytics.ddl.v0001 import (
    FEEDS,
    FROM_REJECTS,
    FROM_SHARES,
    KEYS,
    WORKER_KEY,
    rolled_up,
)

SPANS_MAX = 64
"""Stretches of time that are counted one by one; more are taken as one with what lies between."""

SECONDS = {"m": 60, "h": 3600, "q": v0002.QUARTER_S, "d": 86400}
MEASURES = "shares, work, stale, duplicate, low, invalid, best, last"


class Span(NamedTuple):
    """Unix seconds, the last not included."""

    start_s: int
    end_s: int


def spans(minutes: NDArray[np.int64], unit: str) -> list[Span]:
    """Whole units of time that minutes (in order) lie in, neighbours joined."""
    seconds = SECONDS[unit]
    touched = np.unique(minutes * 60 // seconds)
    if not len(touched):
        return []
    breaks = np.flatnonzero(np.diff(touched) > 1)
    if len(breaks) >= SPANS_MAX:
        return [Span(int(touched[0]) * seconds, (int(touched[-1]) + 1) * seconds)]
    firsts = touched[np.concatenate(([0], breaks + 1))]
    lasts = touched[np.concatenate((breaks, [len(touched) - 1]))]
    return [
        Span(first * seconds, (last + 1) * seconds)
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
    ]


def statements(pool: int, minutes: NDArray[np.int64], version: int) -> Iterator[str]:
    """Statements that bring all rollups of a pool up to date, to be run in this order."""
    for span in spans(minutes, "m"):
        yield _minutes(pool, span, version)
        yield _into("height_m", v0002.heights(_kept("shares", pool, span)), version)
    for source, target in (*FEEDS, ("worker_h", "worker_q")):
        for span in spans(minutes, target[-1]):
            finer = f"{source} FINAL WHERE {_inside('ts', pool, span)}"
            made = v0002.quarters(finer) if target[-1] == "q" else rolled_up(finer, target)
            yield _into(target, made, version)


def _minutes(pool: int, span: Span, version: int) -> str:
    parts: Sequence[str] = [
        f"SELECT toStartOfMinute(t) AS ts, {WORKER_KEY}, {measures} FROM "  # noqa: S608
        f"{_kept(raw, pool, span)} GROUP BY ts, {WORKER_KEY}"
        for raw, measures in (("shares", FROM_SHARES), ("rejects", FROM_REJECTS))
    ]
    return _into(
        "worker_m", rolled_up(f"({' UNION ALL '.join(parts)}) AS both", "worker_m"), version
    )


def _kept(raw: str, pool: int, span: Span) -> str:
    return f"(SELECT * FROM {raw} FINAL WHERE {_inside('t', pool, span)}) AS kept"  # noqa: S608


def _into(target: str, select: str, version: int) -> str:
    if target == "height_m":
        columns = v0002.HEIGHT_COLUMNS
    else:
        columns = f"ts, {', '.join(KEYS[target[:-2]])}, {MEASURES}"
    return (
        f"INSERT INTO {target} ({columns}, ver) "  # noqa: S608 - names and numbers of ours
        f"SELECT {columns}, toUInt64({version}) AS ver FROM ({select}) AS counted"
    )


def _inside(column: str, pool: int, span: Span) -> str:
    return (
        f"pool = {pool} AND {column} >= toDateTime({span.start_s}, 'UTC') "
        f"AND {column} < toDateTime({span.end_s}, 'UTC')"
    )
