"""Addresses of demo miners."""

from dataclasses import replace

import pytest

from pithead.coins.address import script_of_address
from pithead.coins.registry import chain_params
from pithead.coins.sign import verify_signature
from pithead.miner.demo import demo_address

pytestmark = pytest.mark.gate

DEVCHAIN = chain_params("devchain", "regtest")


@pytest.mark.parametrize("coin", ["devchain", "litecoin", "bitcoin"])
def test_the_key_owns_the_address(coin: str) -> None:
    params = chain_params(coin, "regtest")
    address, key = demo_address(params, b"seed", 3)
    assert address.startswith(params.bech32_hrp + "1q")
    assert script_of_address(params, address) == key.p2wpkh()
    assert verify_signature(key.public, key.sign(bytes(32)), bytes(32))


def test_the_same_seed_gives_the_same_miners_and_another_gives_others() -> None:
    first = [demo_address(DEVCHAIN, b"seed", index)[0] for index in range(5)]
    assert first == [demo_address(DEVCHAIN, b"seed", index)[0] for index in range(5)]
    others = [demo_address(DEVCHAIN, b"seed2", index)[0] for index in range(5)]
    assert len({*first, *others}) == 10


def test_a_chain_without_segwit_is_refused() -> None:
    with pytest.raises(ValueError, match="no witness addresses"):
        demo_address(replace(DEVCHAIN, segwit=False), b"seed", 0)
