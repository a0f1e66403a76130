"""Addresses: round trips over every kind and chain, the BIPs' vectors, refusals in words."""

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins import script
from pithead.coins.address import (
    AddressError,
    address_of_script,
    normal_address,
    script_of_address,
)
from pithead.coins.bitcoin_family import BITCOIN, LITECOIN
from pithead.coins.params import ChainParams
from tests.unit.coins.strategies import BTC, CHAINS, DVC, LTC_REGTEST

pytestmark = pytest.mark.gate

TESTNET = BITCOIN.networks["testnet"]
LTC = LITECOIN.networks["mainnet"]

twenty = st.binary(min_size=20, max_size=20)
thirty_two = st.binary(min_size=32, max_size=32)
legacy_scripts = st.one_of(twenty.map(script.p2pkh), twenty.map(script.p2sh))
witness_scripts = st.one_of(
    twenty.map(script.p2wpkh), thirty_two.map(script.p2wsh), thirty_two.map(script.p2tr)
)
scripts = st.one_of(legacy_scripts, witness_scripts)
chains = st.sampled_from(CHAINS)


@given(scripts, chains)
def test_every_kind_of_script_survives_its_address(locking: bytes, params: ChainParams) -> None:
    address = address_of_script(params, locking)
    assert address is not None
    assert script_of_address(params, address) == locking
    assert normal_address(params, address) == address


@given(witness_scripts, chains)
def test_upper_case_segwit_address_is_the_same_payee(locking: bytes, params: ChainParams) -> None:
    address = address_of_script(params, locking)
    assert address is not None
    assert script_of_address(params, address.upper()) == locking
    assert normal_address(params, address.upper()) == address


@given(witness_scripts, chains, chains)
def test_segwit_address_of_another_chain_is_refused_in_words(
    locking: bytes, params: ChainParams, other: ChainParams
) -> None:
    if params.bech32_hrp == other.bech32_hrp:
        return
    address = address_of_script(other, locking)
    assert address is not None
    with pytest.raises(AddressError) as caught:
        script_of_address(params, address)
    said = str(caught.value)
    assert "belongs to another network" in said
    assert repr(other.bech32_hrp) in said
    assert f"{params.key} uses {params.bech32_hrp!r}" in said


@given(legacy_scripts, chains, chains)
def test_base58_address_of_another_chain_is_refused_in_words(
    locking: bytes, params: ChainParams, other: ChainParams
) -> None:
    address = address_of_script(other, locking)
    assert address is not None
    if base58.b58decode(address)[0] in {params.p2pkh_prefix, *params.p2sh_prefixes}:
        return
    with pytest.raises(AddressError, match="belongs to another network: its version byte is"):
        script_of_address(params, address)


def test_devchain_shares_no_address_with_any_other_chain() -> None:
    others = [params for params in CHAINS if params is not DVC]
    taken = {byte for p in others for byte in (p.p2pkh_prefix, *p.p2sh_prefixes)}
    assert not taken & {DVC.p2pkh_prefix, *DVC.p2sh_prefixes}
    assert DVC.bech32_hrp not in {p.bech32_hrp for p in others}


def test_genesis_address_is_read() -> None:
    locking = script.p2pkh(bytes.fromhex("62e907b15cbf27d5425399ebf6f0fb50ebb88f18"))
    assert script_of_address(BTC, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa") == locking
    assert address_of_script(BTC, locking) == "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"


@given(twenty)
def test_old_litecoin_script_address_is_read_and_written_anew(data: bytes) -> None:
    old = base58.b58encode_check(bytes((5,)) + data).decode()
    assert script_of_address(LTC, old) == script.p2sh(data)
    assert normal_address(LTC, old)[0] == "M"


@pytest.mark.parametrize(
    ("address", "locking"),
    [
        (
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "0014751e76e8199196d454941c45d1b3a323f1433bd6",
        ),
        (
            "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
            "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
        ),
        (
            "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
            "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        ),
        (
            "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
            "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        ),
        (
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        ),
    ],
)
def test_valid_segwit_address_of_the_bips_gives_its_script(address: str, locking: str) -> None:
    params = BTC if address.lower().startswith("bc") else TESTNET
    assert script_of_address(params, address).hex() == locking
    assert address_of_script(params, bytes.fromhex(locking)) == address.lower()


@pytest.mark.parametrize(
    "address",
    [
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        "BC1SW50QGDZ25J",
        "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
    ],
)
def test_witness_programs_without_a_spending_rule_are_not_paid(address: str) -> None:
    with pytest.raises(AddressError, match="version"):
        script_of_address(BTC, address)


@pytest.mark.parametrize(
    "address",
    [
        "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
        "tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf",
        "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
        "tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47",
        "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
        "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",
        "bc1pw5dgrnzv",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
        "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
        "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf",
        "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j",
        "bc1gmk9yu",
        "tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2",
        "bc1rw5uspcuh",
        "bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90",
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sL5k7",
        "bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du",
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3pjxtptv",
    ],
)
def test_invalid_segwit_address_of_the_bips_is_refused(address: str) -> None:
    for params in (BTC, TESTNET):
        with pytest.raises(AddressError):
            script_of_address(params, address)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("x" * 129, "longer than 128", id="long"),
        pytest.param("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "is no address", id="checksum"),
        pytest.param(
            "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n8", "fails its checksum", id="typo"
        ),
        pytest.param("miner.worker", "is no address", id="a name"),
        pytest.param("tmweb1qqabc", "MWEB", id="mweb"),
        pytest.param("ltcé1qqqqqqqq", "is no address", id="not ascii"),
    ],
)
def test_refusal_says_what_is_wrong(address: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        script_of_address(LTC, address)


def test_base58_of_the_wrong_length_is_refused() -> None:
    text = base58.b58encode_check(bytes((48,)) + bytes(19)).decode()
    with pytest.raises(AddressError, match="holds 20 bytes where 21"):
        script_of_address(LTC, text)


@given(st.text(max_size=140))
def test_random_text_raises_only_the_address_error(text: str) -> None:
    with pytest.raises(AddressError):
        script_of_address(LTC_REGTEST, text)


@given(st.binary(max_size=60))
def test_script_without_an_address_has_none(data: bytes) -> None:
    address = address_of_script(LTC_REGTEST, data)
    assert address is None or script_of_address(LTC_REGTEST, address) == data
