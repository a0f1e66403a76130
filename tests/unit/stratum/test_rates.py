"""Hashrates for display."""

import pytest

from pithead.stratum.login import Login
from pithead.stratum.rates import WORKERS_SHOWN_MAX, Rates

pytestmark = pytest.mark.gate


def test_a_steady_rate_shows_at_once_and_fades_when_it_ends() -> None:
    login, rates = Login("a", "w", 0), Rates(shift=4)
    for _ in range(10):
        login.work += 500
        rates.sample([login], 5.0)
    assert rates.total() == pytest.approx(100 * 16)
    for _ in range(200):
        rates.sample([login], 5.0)
    assert rates.total() < 16


def test_the_strongest_come_first_and_are_bounded() -> None:
    logins = [Login("a", str(number), 0) for number in range(WORKERS_SHOWN_MAX + 5)]
    rates = Rates(shift=0)
    for number, login in enumerate(logins):
        login.work = number
    rates.sample(logins, 5.0)
    shown = rates.strongest()
    assert len(shown) == WORKERS_SHOWN_MAX
    assert shown[0].login is logins[-1]


def test_a_login_that_is_gone_is_forgotten() -> None:
    login, rates = Login("a", "w", 0), Rates(shift=0)
    login.work = 5
    rates.sample([login], 1.0)
    del login
    assert rates.total() == 0
