"""From work to hashrate, its error, and whether a worker is well. Pure.

A share of weight w stands for w << shift expected hashes (see `pithead.coins.weight`), so
over T seconds the estimate is

    hashrate = (sum of weights << shift) / T        hashes per second

Finding shares is a Poisson process: of n shares the count has the standard
deviation sqrt(n), so the estimate has the relative standard error 1 / sqrt(n) when
they weigh the same; where weights changed much inside the time it is somewhat
more. Without a share nothing is known but that the rate is not far above one
share a T; the error is then given as 1.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.uint64]

OFFLINE_S: Final = 15 * 60
"""Silence after which a worker is offline. Vardiff keeps miners at several shares a minute;
even at one a minute, 15 minutes without any happen by chance once in three million times."""

LOW_RATIO: Final = 0.8
"""The last hour below this part of the last day is worth a look: one of five boards of a
machine, or one of five machines behind a name, has stopped."""

LOW_SIGMAS: Final = 3.0
"""... but only when chance is an unlikely reason: three standard deviations of what the day
lets expect for an hour, so that slow miners are not called low by bad luck."""

OK, LOW, OFFLINE = 1, 2, 3
"""The numbers of the contract's WorkerState."""


def hashrate(work: int, seconds: float, shift: int) -> float:
    """Hashes per second of so much work in so much time."""
    return float(work << shift) / max(seconds, 1.0)


def hashrates(work: Counts, seconds: Floats | float, shift: int) -> Floats:
    """Hashes per second, element by element."""
    # 2^shift is exact in a double; the quotient has the one rounding that a display has anyhow.
    rates: Floats = work.astype(np.float64) * 2.0**shift / np.maximum(seconds, 1.0)
    return rates


def relative_error(shares: int) -> float:
    """Relative standard error of an estimate from so many shares."""
    return float(max(shares, 1) ** -0.5)


def relative_errors(shares: Counts) -> Floats:
    """Relative standard errors, element by element."""
    errors: Floats = 1.0 / np.sqrt(np.maximum(shares, 1).astype(np.float64))
    return errors


def reject_rates(shares: Counts, rejected: Counts) -> Floats:
    """Part of all that was sent that was refused; 0 where nothing was sent."""
    sent = (shares + rejected).astype(np.float64)
    rates: Floats = rejected / np.maximum(sent, 1.0)
    return rates


def worker_states(
    *,
    last_seen_s: Counts,
    hour_rate: Floats,
    day_rate: Floats,
    day_shares: Counts,
    day_s: float,
    now_s: int,
) -> NDArray[np.uint8]:
    """OK, LOW or OFFLINE of each worker. `day_s`: seconds that the day's figures cover."""
    expected = day_shares.astype(np.float64) * (3600.0 / max(day_s, 3600.0))
    noise = LOW_SIGMAS * day_rate / np.sqrt(np.maximum(expected, 1.0))
    low = (hour_rate < LOW_RATIO * day_rate) & (day_rate - hour_rate > noise)
    silent = last_seen_s.astype(np.int64) + OFFLINE_S < now_s
    return np.where(silent, OFFLINE, np.where(low, LOW, OK)).astype(np.uint8)
