"""The constants of the chains, and the arithmetic that fixes each chain's shift."""

import pytest

from pithead.coins.params import ChainParams
from tests.unit.coins.strategies import BTC, CHAINS, LTC_REGTEST

pytestmark = pytest.mark.gate

NETWORK_HASHES_PER_SECOND = {"bitcoin": 10**21, "litecoin": 4 * 10**15}


@pytest.mark.parametrize("params", CHAINS, ids=lambda p: p.key)
def test_a_day_of_a_hundred_networks_fits_63_bits(params: ChainParams) -> None:
    network = NETWORK_HASHES_PER_SECOND.get(params.coin, 0)
    rate = 100 * network if params.network != "regtest" else 10**14
    assert rate * 86_400 >> params.shift < 1 << 63


def test_chains_are_told_apart_by_their_keys() -> None:
    assert len({params.key for params in CHAINS}) == len(CHAINS) == 7
    assert LTC_REGTEST.key == "litecoin/regtest"


def test_test_chains_use_weight_without_shift() -> None:
    assert {p.shift for p in CHAINS if p.network == "regtest"} == {0}


def test_subsidy_halves_and_ends() -> None:
    assert BTC.subsidy(0) == BTC.subsidy(209_999) == 5_000_000_000
    assert BTC.subsidy(210_000) == 2_500_000_000
    assert LTC_REGTEST.subsidy(150 * 32) == 1
    assert LTC_REGTEST.subsidy(150 * 33) == 0
    assert LTC_REGTEST.subsidy(150 * 64) == 0


def test_sum_of_bitcoin_subsidies_is_the_known_supply() -> None:
    total = sum(BTC.subsidy(era * 210_000) * 210_000 for era in range(65))
    assert total == 2_099_999_997_690_000
