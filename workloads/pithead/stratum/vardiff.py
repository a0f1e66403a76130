"""Variable difficulty: which integer weight lets a connection send shares at the wished pace. Pure.

Evidence is work (the weights of accepted shares) over time. Work does not
depend on the weight that was asked for, so evidence outlives a retarget and
grows better over several windows; it is halved when it spans more than
`WINDOWS_KEPT` windows, and dropped when the newest window contradicts it.

Three rules move the weight:
- quick: `QUICK_SHARES` shares came several times too fast: at once;
- steady: at the end of a window the estimate is outside the band around the
  present weight. The band is narrow for the first `SETTLING_WINDOWS`, then as
  wide as configured;
- idle: a window without any share divides the weight by `IDLE_DIVISOR`.

All integers; times are milliseconds of the caller's clock. It knows neither
network nor connection: clamping to the network's weight is the caller's.
"""

import msgspec

QUICK_SHARES = 8
QUICK_RATIO_FIRST = 3
"""In the first window, where nothing is known; eight shares are often twice too fast by luck."""
QUICK_RATIO = 5
"""Later: by luck this happens to an honest weight about once in ten hours."""
QUICK_MS_MIN = 1000
"""Shares of one burst say little: a burst counts as if it had taken this long."""
SETTLING_WINDOWS = 4
SETTLING_PERCENT = 10
WINDOWS_KEPT = 8
IDLE_DIVISOR = 4
CONTRADICTION_RATIO = 4
"""A window that differs this much from all before it: the hashrate has changed, not the luck."""
CONTRADICTION_SHARES = 4
WEIGHT_MAX = (1 << 62) - 1
"""Weights travel as 64-bit integers, and a cell of the books sums them in 63 bits."""


class VardiffPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a listener wants its shares; see `pithead.config`. Weights of at least 1."""

    share_interval_ms: int
    retarget_interval_ms: int
    variance_percent: int
    weight_min: int
    weight_max: int


class Vardiff:
    """The wished weight of one connection."""

    __slots__ = (
        "_ms",
        "_window_ms",
        "_window_shares",
        "_window_work",
        "_windows",
        "_work",
        "policy",
        "weight",
        "weight_min",
    )

    def __init__(self, policy: VardiffPolicy, start_weight: int, now_ms: int) -> None:
        self.policy = policy
        self.weight_min = policy.weight_min
        """The listener's minimum, or the miner's own when that is higher."""
        self.weight = self.clamped(start_weight)
        self._work = 0
        self._ms = 0
        self._windows = 0
        self._begin(now_ms)

    def clamped(self, weight: int) -> int:
        """Return `weight` within the minimum and maximum; the maximum wins."""
        return max(1, min(max(weight, self.weight_min), self.policy.weight_max, WEIGHT_MAX))

    def suggest(self, weight: int) -> None:
        """Start from the miner's wish, as long as there is no evidence yet."""
        if not self._ms and not self._window_shares:
            self.weight = self.clamped(weight)

    def raise_minimum(self, weight: int) -> None:
        """Take the miner's own minimum; it never goes below the listener's."""
        self.weight_min = max(self.policy.weight_min, min(weight, self.policy.weight_max))
        self.weight = self.clamped(self.weight)

    def restart(self, now_ms: int) -> None:
        """Begin the first window: the miner has its first job only now."""
        self._begin(now_ms)

    def share(self, weight: int, now_ms: int) -> bool:
        """Note an accepted share of `weight`; True when the wished weight has changed."""
        self._window_work += weight
        self._window_shares += 1
        if self._window_shares < QUICK_SHARES:
            return False
        elapsed = max(now_ms - self._window_ms, QUICK_MS_MIN)
        if elapsed < self.policy.retarget_interval_ms:
            fair = self.weight * elapsed
            ratio = QUICK_RATIO if self._windows else QUICK_RATIO_FIRST
            if self._window_work * self.policy.share_interval_ms <= ratio * fair:
                return False
        return self._retarget(now_ms, elapsed)

    def tick(self, now_ms: int) -> bool:
        """Look at the clock, about every second; True when the wished weight has changed."""
        elapsed = now_ms - self._window_ms
        if elapsed < self.policy.retarget_interval_ms:
            return False
        return self._retarget(now_ms, elapsed)

    def hashes_per_s(self, shift: int) -> float:
        """Return the estimated hashrate for display."""
        elapsed = self._ms
        return (self._work << shift) * 1000 / elapsed if elapsed else 0.0

    def _begin(self, now_ms: int) -> None:
        self._window_ms = now_ms
        self._window_work = 0
        self._window_shares = 0

    def _retarget(self, now_ms: int, elapsed: int) -> bool:
        work, shares = self._window_work, self._window_shares
        self._begin(now_ms)
        if shares == 0:
            self._work = self._ms = self._windows = 0
            return self._change(self.weight // IDLE_DIVISOR)
        if self._contradicts(work, shares, elapsed):
            self._work = self._ms = self._windows = 0
        self._work += work
        self._ms += elapsed
        self._windows += 1
        estimate = self._work * self.policy.share_interval_ms // self._ms
        settling = self._windows <= SETTLING_WINDOWS
        if self._ms > WINDOWS_KEPT * self.policy.retarget_interval_ms:
            self._work //= 2
            self._ms //= 2
        percent = SETTLING_PERCENT if settling else self.policy.variance_percent
        if abs(estimate - self.weight) * 100 <= percent * self.weight:
            return False
        return self._change(estimate)

    def _contradicts(self, work: int, shares: int, elapsed: int) -> bool:
        """Tell whether the newest window can not come from the hashrate of those before."""
        before, now = self._work * elapsed, work * self._ms
        if not before:
            return False
        faster = shares >= CONTRADICTION_SHARES and now > CONTRADICTION_RATIO * before
        # How few shares are suspicious depends on how many were due.
        due = self._work * elapsed // (self._ms * self.weight)
        slower = due >= 2 * CONTRADICTION_SHARES and before > CONTRADICTION_RATIO * now
        return faster or slower

    def _change(self, weight: int) -> bool:
        weight = self.clamped(weight)
        changed = weight != self.weight
        self.weight = weight
        return changed
