"""The constants of the coins that ship, against the reference nodes' chain parameters."""

import pytest

from pithead.coins.params import ChainParams
from tests.unit.coins.strategies import CHAINS, DVC

pytestmark = pytest.mark.gate

BY_KEY = {params.key: params for params in CHAINS}

# key: hrp, key-hash byte, script-hash bytes, exported-key byte, PoW, diff1, easiest bits, shift
EXPECTED = {
    "bitcoin/mainnet": ("bc", 0, (5,), 128, "sha256d", 208, 0xFFFF << 208, 32),
    "bitcoin/testnet": ("tb", 111, (196,), 239, "sha256d", 208, 0xFFFF << 208, 32),
    "bitcoin/regtest": ("bcrt", 111, (196,), 239, "sha256d", 208, 0x7FFFFF << 232, 0),
    "litecoin/mainnet": ("ltc", 48, (50, 5), 176, "scrypt", 224, 0x0FFFFF << 216, 16),
    "litecoin/testnet": ("tltc", 111, (58, 196), 239, "scrypt", 224, 0x0FFFFF << 216, 16),
    "litecoin/regtest": ("rltc", 111, (58, 196), 239, "scrypt", 224, 0x7FFFFF << 232, 0),
    "devchain/regtest": ("dvc", 30, (90,), 158, "sha256d", 208, 0x7FFFFF << 232, 0),
}


@pytest.mark.parametrize("key", EXPECTED)
def test_constants_are_those_of_the_reference_node(key: str) -> None:
    params = BY_KEY[key]
    assert EXPECTED[key] == (
        params.bech32_hrp,
        params.p2pkh_prefix,
        params.p2sh_prefixes,
        params.wif_prefix,
        params.pow,
        params.diff1_target.bit_length() - 16,
        params.pow_limit,
        params.shift,
    )


def test_every_chain_is_listed() -> None:
    assert set(BY_KEY) == set(EXPECTED)


@pytest.mark.parametrize("params", CHAINS, ids=lambda p: p.key)
def test_nodes_are_asked_with_the_rules_they_insist_on(params: ChainParams) -> None:
    wanted = ("mweb", "segwit") if params.coin == "litecoin" else ("segwit",)
    assert params.gbt_rules == wanted


@pytest.mark.parametrize("params", CHAINS, ids=lambda p: p.key)
def test_coinbases_mature_after_a_hundred_blocks_except_on_the_devchain(
    params: ChainParams,
) -> None:
    assert params.coinbase_maturity == (10 if params is DVC else 100)
