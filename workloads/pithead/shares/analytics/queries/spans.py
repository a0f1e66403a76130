"""Spans of time, the buckets they are cut into, and gaps. Pure.

A chart's buckets lie on multiples of their length from the Unix epoch (UTC); the
last one still runs. What arrives late is added to its own bucket by the rollups
and so shows in the next answer. Sums over a span that need no buckets are read
from a coarser rollup, and begin on a bucket of that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86_400

Number = TypeVar("Number", np.uint64, np.float64)


class Rollup(Enum):
    """A table family by the length of its buckets; the value is the tables' suffix."""

    MINUTE = "m"
    HOUR = "h"
    QUARTER_DAY = "q"
    """Of workers alone."""
    DAY = "d"

    @property
    def seconds(self) -> int:
        """Length of a bucket."""
        return {"m": MINUTE_S, "h": HOUR_S, "q": 6 * HOUR_S, "d": DAY_S}[self.value]


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time as charts show it, and where it is read from."""

    seconds: int
    step_s: int
    """Length of a chart's bucket: a multiple of that of `chart`."""
    chart: Rollup
    sums: Rollup
    """For sums over the whole span of every account or worker of a pool, which minutes
    would make slow: at most 32 buckets a worker and rollup row, save for the last hour."""

    @property
    def points(self) -> int:
        """Buckets of a chart, the running one included."""
        return self.seconds // self.step_s


HOUR = Span(HOUR_S, MINUTE_S, Rollup.MINUTE, Rollup.MINUTE)
DAY = Span(DAY_S, 10 * MINUTE_S, Rollup.MINUTE, Rollup.HOUR)
WEEK = Span(7 * DAY_S, HOUR_S, Rollup.HOUR, Rollup.DAY)
MONTH = Span(30 * DAY_S, 6 * HOUR_S, Rollup.QUARTER_DAY, Rollup.DAY)


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_s` (on a bucket of `rollup`) until `end_s`, which lies in the last bucket."""

    rollup: Rollup
    start_s: int
    end_s: int

    @property
    def seconds(self) -> int:
        """Length, at least 1: rates are over time that has passed."""
        return max(1, self.end_s - self.start_s)


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets of one chart: `points` of `step_s` from `start_s` on; now lies in the last."""

    period: Period
    step_s: int
    points: int

    @property
    def running_s(self) -> int:
        """Seconds of the last bucket that have passed, at least 1."""
        last_s = self.period.start_s + (self.points - 1) * self.step_s
        return max(1, self.period.end_s - last_s)

    @property
    def lengths_s(self) -> NDArray[np.float64]:
        """Seconds of each bucket that have passed."""
        lengths = np.full(self.points, float(self.step_s))
        lengths[-1] = self.running_s
        return lengths

    def fill(
        self, starts_s: Sequence[int] | NDArray[np.uint64], values: NDArray[Number]
    ) -> NDArray[Number]:
        """One value for each bucket, zero where nothing was stored.

        `starts_s` are those of stored buckets. What lies outside of the chart is
        left out: the store is asked by time and may know buckets ahead of now, of
        a producer whose clock is.
        """
        filled = np.zeros(self.points, dtype=values.dtype)
        places = (np.asarray(starts_s, dtype=np.int64) - self.period.start_s) // self.step_s
        inside = (places >= 0) & (places < self.points)
        np.add.at(filled, places[inside], values[inside])
        return filled


def chart_buckets(span: Span, now_s: int) -> Buckets:
    """The buckets of a chart that ends now."""
    start_s = now_s - now_s % span.step_s - (span.points - 1) * span.step_s
    return Buckets(Period(span.chart, start_s, now_s), span.step_s, span.points)


def sums_period(span: Span, now_s: int) -> Period:
    """As many whole buckets of the span's coarse rollup as fit, the running one included."""
    length_s = span.sums.seconds
    start_s = now_s - now_s % length_s - (span.seconds // length_s - 1) * length_s
    return Period(span.sums, start_s, now_s)
