"""Vardiff against simulated miners: Poisson shares from a seeded source, virtual time."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.stratum.vardiff import IDLE_DIVISOR, Vardiff, VardiffPolicy

pytestmark = pytest.mark.gate

POLICY = VardiffPolicy(
    share_interval_ms=5_000,
    retarget_interval_ms=60_000,
    variance_percent=40,
    weight_min=1,
    weight_max=10**15,
)
SEEDS = range(40)


def mine(
    vardiff: Vardiff, hashrate: float, seed: int, *, start_ms: int, stop_ms: int
) -> Iterator[int]:
    """Mine at `hashrate` weight a millisecond; yields the time of every change of weight."""
    source = random.Random(seed)
    now = float(start_ms)
    next_tick = start_ms + 1000
    while now < stop_ms:
        weight = vardiff.weight
        now += source.expovariate(hashrate / weight)
        while next_tick <= now and next_tick < stop_ms:
            if vardiff.tick(next_tick):
                yield next_tick
                # Exponential waiting has no memory: draw again at the new weight.
                now = float(next_tick)
                next_tick += 1000
                break
            next_tick += 1000
        else:
            if now < stop_ms and vardiff.share(weight, int(now)):
                yield int(now)


def ideal(hashrate: float) -> float:
    return hashrate * POLICY.share_interval_ms


@pytest.mark.parametrize("start", [1, 10**4, 10**6, 10**8], ids=lambda start: f"start {start}")
def test_four_retargets_bring_a_constant_hashrate_within_30_percent(start: int) -> None:
    hashrate = 200.0
    # Quick rises at the start happen inside the first window; then four windows follow.
    stop = 5 * POLICY.retarget_interval_ms
    # An idle window carries no information but "less": each is a step down by four.
    weight = start
    while weight > ideal(hashrate):
        weight //= IDLE_DIVISOR
        stop += POLICY.retarget_interval_ms
    within = 0
    for seed in SEEDS:
        vardiff = Vardiff(POLICY, start, 0)
        for _ in mine(vardiff, hashrate, seed, start_ms=0, stop_ms=stop):
            pass
        within += abs(vardiff.weight / ideal(hashrate) - 1) <= 0.3
    # Four windows hold some 48 shares, whose spread is 14 %: 30 % are two of them.
    assert within >= 0.9 * len(SEEDS)


def test_a_start_far_too_low_is_left_within_seconds() -> None:
    hashrate = 200.0
    for seed in SEEDS:
        vardiff = Vardiff(POLICY, 1, 0)
        for _ in mine(vardiff, hashrate, seed, start_ms=0, stop_ms=20_000):
            pass
        assert vardiff.weight > ideal(hashrate) / 4


def test_it_stays_put_inside_the_band() -> None:
    hashrate = 200.0
    changes = 0
    for seed in SEEDS:
        vardiff = Vardiff(POLICY, int(ideal(hashrate)), 0)
        for _ in mine(vardiff, hashrate, seed, start_ms=0, stop_ms=300_000):
            pass
        changes += len(list(mine(vardiff, hashrate, seed, start_ms=300_000, stop_ms=3_900_000)))
    # One hour a miner; a rare streak of luck may move one.
    assert changes / len(SEEDS) <= 1


def test_a_changed_hashrate_is_followed_in_both_directions() -> None:
    for seed in SEEDS:
        vardiff = Vardiff(POLICY, int(ideal(200.0)), 0)
        for _ in mine(vardiff, 200.0, seed, start_ms=0, stop_ms=600_000):
            pass
        for _ in mine(vardiff, 2000.0, seed, start_ms=600_000, stop_ms=900_000):
            pass
        assert 0.5 < vardiff.weight / ideal(2000.0) < 2
        for _ in mine(vardiff, 100.0, seed, start_ms=900_000, stop_ms=1_800_000):
            pass
        assert 0.5 < vardiff.weight / ideal(100.0) < 2


def test_an_idle_window_divides_the_weight_down_to_the_minimum() -> None:
    policy = VardiffPolicy(
        share_interval_ms=5_000,
        retarget_interval_ms=60_000,
        variance_percent=40,
        weight_min=100,
        weight_max=10_000,
    )
    vardiff = Vardiff(policy, 2_000, 0)
    assert not vardiff.tick(59_999)
    weights = []
    for window in range(1, 5):
        vardiff.tick(60_000 * window)
        weights.append(vardiff.weight)
    assert weights == [500, 125, 100, 100]


def test_a_wish_counts_before_the_first_evidence_only() -> None:
    vardiff = Vardiff(POLICY, 100, 0)
    vardiff.suggest(7_000)
    assert vardiff.weight == 7_000
    vardiff.share(7_000, 1_000)
    vardiff.suggest(1)
    assert vardiff.weight == 7_000


def test_the_miners_own_minimum_never_undercuts_the_listeners() -> None:
    policy = VardiffPolicy(
        share_interval_ms=5_000,
        retarget_interval_ms=60_000,
        variance_percent=40,
        weight_min=100,
        weight_max=1_000,
    )
    vardiff = Vardiff(policy, 50, 0)
    assert vardiff.weight == 100
    vardiff.raise_minimum(10)
    assert vardiff.weight == 100
    vardiff.raise_minimum(300)
    assert vardiff.weight == 300
    vardiff.raise_minimum(5_000)
    assert vardiff.weight == 1_000


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["share", "tick"]), st.integers(0, 200_000)), max_size=60
    ),
    start=st.integers(0, 10**18),
    low=st.integers(1, 10**6),
    span=st.integers(0, 10**12),
)
def test_the_weight_is_always_an_integer_between_the_limits(
    steps: list[tuple[str, int]], start: int, low: int, span: int
) -> None:
    policy = VardiffPolicy(
        share_interval_ms=5_000,
        retarget_interval_ms=60_000,
        variance_percent=40,
        weight_min=low,
        weight_max=low + span,
    )
    vardiff = Vardiff(policy, start, 0)
    now = 0
    for kind, wait in steps:
        now += wait
        before = vardiff.weight
        changed = vardiff.share(before, now) if kind == "share" else vardiff.tick(now)
        assert changed == (vardiff.weight != before)
        assert low <= vardiff.weight <= low + span
