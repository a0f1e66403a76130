"""Hashes and PoW against the chains' own first blocks."""

import pytest

from pithead.coins.bitcoin_family import LITECOIN
from pithead.coins.hashing import block_hash, hash160, pow_function, pow_hash, sha256d
from pithead.coins.weight import bits_to_target
from tests.unit.coins.strategies import BTC
from tests.unit.coins.vectors import (
    BITCOIN_BLOCK_1_HASH,
    BITCOIN_BLOCK_1_HEADER,
    BITCOIN_GENESIS_HASH,
    BITCOIN_GENESIS_HEADER,
    LITECOIN_GENESIS_HASH,
    LITECOIN_GENESIS_HEADER,
    LITECOIN_GENESIS_POW,
)

pytestmark = pytest.mark.gate

LTC = LITECOIN.networks["mainnet"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        pytest.param(BITCOIN_GENESIS_HEADER, BITCOIN_GENESIS_HASH, id="bitcoin genesis"),
        pytest.param(BITCOIN_BLOCK_1_HEADER, BITCOIN_BLOCK_1_HASH, id="bitcoin block 1"),
    ],
)
def test_bitcoin_header_hashes_to_its_known_name_and_meets_its_target(
    header: bytes, name: str
) -> None:
    assert block_hash(header)[::-1].hex() == name
    assert pow_hash(BTC, header) == int(name, 16) <= bits_to_target(0x1D00FFFF)


def test_litecoin_genesis_is_named_by_sha256d_and_proven_by_scrypt() -> None:
    assert block_hash(LITECOIN_GENESIS_HEADER)[::-1].hex() == LITECOIN_GENESIS_HASH
    assert pow_hash(LTC, LITECOIN_GENESIS_HEADER) == int(LITECOIN_GENESIS_POW, 16)
    assert pow_hash(LTC, LITECOIN_GENESIS_HEADER) <= bits_to_target(0x1E0FFFF0)


def test_pow_function_is_the_one_of_the_chain() -> None:
    assert pow_function(BTC)(BITCOIN_GENESIS_HEADER) == int(BITCOIN_GENESIS_HASH, 16)
    assert pow_function(LTC)(LITECOIN_GENESIS_HEADER) == int(LITECOIN_GENESIS_POW, 16)


def test_hash160_of_the_empty_string_is_known() -> None:
    assert hash160(b"").hex() == "b472a266d0bd89c13706a4132ccfb16f7c3b9fcb"


def test_sha256d_of_hello_is_known() -> None:
    expected = "9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50"
    assert sha256d(b"hello").hex() == expected
