"""Connections first, addresses later, and never a farm for one machine."""

import pytest

from pithead.config import LimitSettings
from pithead.stratum import bans
from pithead.stratum.bans import STRIKES_MAX, Bans, Conduct

pytestmark = pytest.mark.gate

LIMITS = LimitSettings(invalid_percent=50, invalid_window=10, ban_ms=1_000)


def test_a_connection_goes_when_half_of_a_window_is_invalid() -> None:
    conduct = Conduct()
    for _ in range(5):
        conduct.valid()
    assert [conduct.invalid(LIMITS) for _ in range(5)] == [False] * 4 + [True]


def test_a_connection_below_the_limit_stays_for_ever() -> None:
    conduct = Conduct()
    for _ in range(200):
        conduct.valid()
        conduct.valid()
        assert not conduct.invalid(LIMITS)


def test_an_address_is_banned_after_several_strikes_for_one_ban_time() -> None:
    book = Bans(LIMITS)
    banned = [book.strike("a", at, others_good=False) for at in range(STRIKES_MAX)]
    assert banned == [False] * (STRIKES_MAX - 1) + [True]
    assert book.banned("a", 500)
    assert not book.banned("b", 500)
    assert not book.banned("a", 1_000 + STRIKES_MAX)


def test_strikes_are_forgotten_after_one_ban_time() -> None:
    book = Bans(LIMITS)
    assert not any(book.strike("a", at * 1_000, others_good=False) for at in range(10))


def test_an_address_with_honest_miners_is_never_banned() -> None:
    book = Bans(LIMITS)
    assert not any(book.strike("a", at, others_good=True) for at in range(20))
    assert not book.banned("a", 20)


def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bans, "ADDRESSES_MAX", 3)
    book = Bans(LIMITS)
    for address in "abcdef":
        for at in range(STRIKES_MAX):
            book.strike(address, at, others_good=False)
    assert [book.banned(address, 10) for address in "abcdef"] == [False] * 3 + [True] * 3
