"""Coins are found by entry point, also those of distributions that the tree does not know."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pithead.coins.bitcoin_family import LITECOIN
from pithead.coins.registry import GROUP, BrokenCoin, UnknownCoin, chain_params, coin_names

pytestmark = pytest.mark.gate

OUTSIDE_COIN = """
from dataclasses import replace
from types import MappingProxyType
from pithead.coins.bitcoin_family import BITCOIN
from pithead.coins.params import CoinFamilyMember
_P = replace(BITCOIN.networks["regtest"], coin="outsidecoin", bech32_hrp="out")
COIN = CoinFamilyMember("outsidecoin", MappingProxyType({"regtest": _P}))
NOT_A_COIN = 7
"""


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


def _install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_coin_module.py").write_text(OUTSIDE_COIN)
    info = tmp_path / "outsidecoin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsidecoin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\noutsidecoin = outside_coin_module:COIN\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_built_in_coins_are_found_by_name() -> None:
    assert chain_params("litecoin", "regtest") is LITECOIN.networks["regtest"]
    assert {"bitcoin", "devchain", "litecoin"} <= set(coin_names())


def test_coin_of_an_installed_distribution_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, monkeypatch)
    assert "outsidecoin" in coin_names()
    assert chain_params("outsidecoin", "regtest").bech32_hrp == "out"


def test_unknown_coin_lists_what_there_is() -> None:
    with pytest.raises(UnknownCoin, match=r"unknown coin 'dogecoin'; known: .*devchain.*litecoin"):
        chain_params("dogecoin", "mainnet")


def test_unknown_network_lists_what_the_coin_has() -> None:
    with pytest.raises(UnknownCoin, match="network of devchain 'mainnet'; known: regtest"):
        chain_params("devchain", "mainnet")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param("no_such_module_here:COIN", "cannot be loaded", id="no module"),
        pytest.param("outside_coin_module:MISSING", "cannot be loaded", id="no attribute"),
        pytest.param("outside_coin_module:NOT_A_COIN", "is a int, not", id="no coin"),
    ],
)
def test_broken_entry_point_is_named(
    value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, monkeypatch)
    with pytest.raises(BrokenCoin, match=said) as caught:
        chain_params("broken", "regtest", [_point("broken", value)])
    assert value in str(caught.value)


def test_given_entry_points_stand_in_for_installed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, monkeypatch)
    points = [_point("elsewhere", "outside_coin_module:COIN")]
    assert chain_params("elsewhere", "regtest", points).coin == "outsidecoin"
    with pytest.raises(UnknownCoin, match="known: elsewhere"):
        chain_params("litecoin", "regtest", points)
