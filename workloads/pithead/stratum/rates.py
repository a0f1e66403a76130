"""Hashrates for display: exponential means over the work that logins were credited. Pure.

Floats are fine here: nothing of this reaches the log or the books.
"""

from collections.abc import Iterable
from math import exp
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pithead.stratum.login import Login

TIME_CONSTANT_S = 180.0
"""The mean reaches two thirds of a change after three minutes."""
WORKERS_SHOWN_MAX = 100


class _Mean:
    __slots__ = ("age_s", "rate", "work")

    def __init__(self, work: int) -> None:
        self.work = work
        self.rate = 0.0
        self.age_s = 0.0


class Rate(NamedTuple):
    """One login's figures."""

    login: Login
    hashes_per_s: float


class Rates:
    """Means of all logins; sample them every few seconds."""

    def __init__(self, shift: int) -> None:
        self._scale = float(1 << shift)
        self._means: WeakKeyDictionary[Login, _Mean] = WeakKeyDictionary()

    def sample(self, logins: Iterable[Login], elapsed_s: float) -> None:
        """Take in the work done since the last sample, `elapsed_s` ago."""
        if elapsed_s <= 0:
            return
        keep = exp(-elapsed_s / TIME_CONSTANT_S)
        for login in logins:
            mean = self._means.get(login)
            if mean is None:
                mean = self._means[login] = _Mean(0)
            done = login.work - mean.work
            mean.work = login.work
            mean.rate = mean.rate * keep + done / elapsed_s * (1 - keep)
            mean.age_s += elapsed_s

    def total(self) -> float:
        """Return hashes per second of everybody."""
        return sum(map(self._value, self._means.values()))

    def strongest(self) -> list[Rate]:
        """Return the strongest logins first, at most `WORKERS_SHOWN_MAX`."""
        rates = [Rate(login, self._value(mean)) for login, mean in self._means.items()]
        rates.sort(key=lambda rate: -rate.hashes_per_s)
        return rates[:WORKERS_SHOWN_MAX]

    def _value(self, mean: _Mean) -> float:
        if not mean.age_s:
            return 0.0
        # The mean starts at zero: what it has not had time to reach is made up for.
        return mean.rate / (1 - exp(-mean.age_s / TIME_CONSTANT_S)) * self._scale
