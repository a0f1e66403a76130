"""The hashrate formula, its error, and the states of workers."""

import math
import random

import numpy as np
import pytest

from pithead.shares.analytics.queries import rates
from pithead.shares.analytics.queries.rates import LOW, OFFLINE, OFFLINE_S, OK

pytestmark = pytest.mark.gate

NOW_S = 1_800_000_000


def test_hashrate_is_expected_hashes_by_time() -> None:
    assert rates.hashrate(3, 60, 32) == 3 * 2**32 / 60
    assert rates.hashrates(np.array([3, 0], np.uint64), 60.0, 32).tolist() == [3 * 2**32 / 60, 0]


def test_weights_beyond_a_double_are_shifted_without_overflow() -> None:
    work = (1 << 63) - 1
    assert math.isclose(rates.hashrate(work, 1, 40), float(work << 40))
    assert math.isclose(rates.hashrates(np.array([work], np.uint64), 1.0, 40)[0], work << 40)


def test_no_time_is_one_second() -> None:
    assert rates.hashrate(5, 0, 0) == 5.0


def test_the_stated_error_is_that_of_a_poisson_process() -> None:
    chance = random.Random(3)
    mean, trials = 50, 4000
    counts = []
    for _ in range(trials):
        passed, count = chance.expovariate(mean), 0
        while passed < 1:
            passed += chance.expovariate(mean)
            count += 1
        counts.append(count)
    spread = math.sqrt(sum((count - mean) ** 2 for count in counts) / trials) / mean
    assert abs(spread - rates.relative_error(mean)) < 0.1 * rates.relative_error(mean)


def test_without_shares_the_error_is_whole() -> None:
    assert rates.relative_error(0) == 1.0
    assert rates.relative_errors(np.array([0, 1, 100], np.uint64)).tolist() == [1.0, 1.0, 0.1]


def test_reject_rate_is_of_all_that_was_sent() -> None:
    shares, rejected = np.array([3, 0, 0], np.uint64), np.array([1, 5, 0], np.uint64)
    assert rates.reject_rates(shares, rejected).tolist() == [0.25, 1.0, 0.0]


def state(seen_ago_s: int, hour_rate: float, day_rate: float, day_shares: int) -> int:
    states = rates.worker_states(
        last_seen_s=np.array([NOW_S - seen_ago_s], np.uint64),
        hour_rate=np.array([hour_rate]),
        day_rate=np.array([day_rate]),
        day_shares=np.array([day_shares], np.uint64),
        day_s=86_400.0,
        now_s=NOW_S,
    )
    return int(states[0])


@pytest.mark.parametrize(
    ("seen_ago_s", "hour_rate", "day_rate", "day_shares", "expected"),
    [
        pytest.param(5, 100.0, 100.0, 20_000, OK, id="as ever"),
        pytest.param(5, 79.0, 100.0, 20_000, LOW, id="a fifth is missing"),
        pytest.param(5, 81.0, 100.0, 20_000, OK, id="a little is missing"),
        pytest.param(5, 50.0, 100.0, 240, OK, id="half is missing, but of ten shares"),
        pytest.param(5, 50.0, 100.0, 2400, LOW, id="half is missing of a hundred shares"),
        pytest.param(5, 100.0, 10.0, 500, OK, id="new today"),
        pytest.param(OFFLINE_S, 100.0, 100.0, 20_000, OK, id="silent, not yet long enough"),
        pytest.param(OFFLINE_S + 1, 100.0, 100.0, 20_000, OFFLINE, id="silent"),
        pytest.param(NOW_S, 0.0, 0.0, 0, OFFLINE, id="never seen"),
        pytest.param(-30, 100.0, 100.0, 20_000, OK, id="clock ahead"),
    ],
)
def test_a_worker_is_judged_by_silence_and_by_its_own_day(
    seen_ago_s: int, hour_rate: float, day_rate: float, day_shares: int, expected: int
) -> None:
    assert state(seen_ago_s, hour_rate, day_rate, day_shares) == expected
