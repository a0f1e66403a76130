"""Keys and signatures: BIP143's vector, a historic signature, and what must not verify."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import utils
from hypothesis import given, settings
from hypothesis import strategies as st

from pithead.coins.hashing import sha256d
from pithead.coins.params import ChainParams
from pithead.coins.script import p2sh, push, pushes
from pithead.coins.sign import (
    ORDER,
    BadKey,
    Bip143Common,
    PrivateKey,
    SpendError,
    bip143_sighash,
    input_fault,
    key_of_wif,
    legacy_sighash,
    sign_input,
    sign_tx,
    verify_input,
    verify_signature,
    wif_of_key,
)
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut, parse_tx
from tests.unit.coins.strategies import BTC, CHAINS
from tests.unit.coins.vectors import (
    BIP143_PUBLIC,
    BIP143_SECRET,
    BIP143_SIGHASH,
    BIP143_SIGNATURE,
    BIP143_TX,
    BIP143_VALUE,
    BITCOIN_170_KEY,
    BITCOIN_170_TX,
)

pytestmark = pytest.mark.gate

KEY = PrivateKey(bytes(31) + b"\x07")
OTHER = PrivateKey(bytes(31) + b"\x08")
secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))


def _spend(count: int) -> Tx:
    inputs = tuple(TxIn(OutPoint(bytes([i]) * 32, i)) for i in range(count))
    return Tx(inputs, (TxOut(900, OTHER.p2wpkh()), TxOut(50, OTHER.p2pkh())))


SPENT = (TxOut(500, KEY.p2pkh()), TxOut(500, KEY.p2wpkh()), TxOut(7, OTHER.p2wpkh()))


def test_bip143_p2wpkh_vector_is_met_to_the_signature() -> None:
    tx, key = parse_tx(BIP143_TX), PrivateKey(BIP143_SECRET)
    spent = TxOut(BIP143_VALUE, key.p2wpkh())
    assert key.public.hex() == BIP143_PUBLIC
    assert bip143_sighash(tx, 1, key.p2pkh(), BIP143_VALUE).hex() == BIP143_SIGHASH
    signed = sign_input(tx, 1, spent, key)
    assert [item.hex() for item in signed.inputs[1].witness] == [BIP143_SIGNATURE, BIP143_PUBLIC]
    assert verify_input(signed, 1, spent)


def test_historic_signature_verifies_over_the_legacy_digest() -> None:
    tx = parse_tx(BITCOIN_170_TX)
    (signature,) = pushes(tx.inputs[0].script_sig)
    digest = legacy_sighash(tx, 0, push(BITCOIN_170_KEY) + b"\xac")
    assert verify_signature(BITCOIN_170_KEY, signature[:-1], digest)
    assert not verify_signature(BITCOIN_170_KEY, signature[:-1], sha256d(digest))


def test_every_input_signed_is_every_input_verified() -> None:
    signed = sign_tx(_spend(3), SPENT, [KEY, OTHER])
    common = Bip143Common.of(signed)
    assert [input_fault(signed, i, spent, common) for i, spent in enumerate(SPENT)] == [None] * 3
    assert parse_tx(signed.serialize()) == signed


def test_signing_again_gives_the_same_bytes() -> None:
    assert sign_tx(_spend(3), SPENT, [KEY, OTHER]) == sign_tx(_spend(3), SPENT, [OTHER, KEY])


@pytest.mark.parametrize("index", [0, 1, 2])
def test_signature_covers_outputs_sequence_locktime_and_value(index: int) -> None:
    signed = sign_tx(_spend(3), SPENT, [KEY, OTHER])
    spent = SPENT[index]
    richer = replace(signed, outputs=(TxOut(901, OTHER.p2wpkh()), signed.outputs[1]))
    later = replace(signed, locktime=1)
    hasty = replace(signed, inputs=tuple(replace(txin, sequence=0) for txin in signed.inputs))
    for changed in (richer, later, hasty):
        assert input_fault(changed, index, spent) == f"input {index} has a wrong signature"
    if index:
        assert not verify_input(signed, index, replace(spent, value=spent.value + 1))


def test_key_signs_only_for_its_own_script() -> None:
    with pytest.raises(SpendError, match="input 0"):
        sign_input(_spend(1), 0, TxOut(1, OTHER.p2pkh()), KEY)
    with pytest.raises(SpendError, match="input 2"):
        sign_tx(_spend(3), SPENT, [KEY])


def _replaced(index: int, **changes: object) -> Tx:
    signed = sign_tx(_spend(3), SPENT, [KEY, OTHER])
    inputs = list(signed.inputs)
    inputs[index] = replace(inputs[index], **changes)  # type: ignore[arg-type]  # any field
    return replace(signed, inputs=tuple(inputs))


def _items(index: int) -> tuple[bytes, ...]:
    txin = sign_tx(_spend(3), SPENT, [KEY, OTHER]).inputs[index]
    return txin.witness or tuple(pushes(txin.script_sig))


def _high_s(signature: bytes) -> bytes:
    r, s = utils.decode_dss_signature(signature[:-1])
    return utils.encode_dss_signature(r, ORDER - s) + signature[-1:]


@pytest.mark.parametrize(
    ("tx", "index", "said"),
    [
        pytest.param(_replaced(0, script_sig=b""), 0, "needs a signature", id="legacy empty"),
        pytest.param(_replaced(0, witness=(b"x",)), 0, "scriptSig alone", id="legacy witness"),
        pytest.param(
            _replaced(0, script_sig=b"\x61" + push(b"a")), 0, "scriptSig alone", id="opcode"
        ),
        pytest.param(_replaced(1, witness=()), 1, "needs a signature", id="no witness"),
        pytest.param(_replaced(1, script_sig=b"\x00"), 1, "witness alone", id="both"),
        pytest.param(
            _replaced(1, witness=(_items(1)[0], OTHER.public)), 1, "another address", id="key"
        ),
        pytest.param(
            _replaced(1, witness=(_items(1)[0][:-1] + b"\x02", KEY.public)),
            1,
            "hash type",
            id="hash type",
        ),
        pytest.param(
            _replaced(1, witness=(_high_s(_items(1)[0]), KEY.public)),
            1,
            "wrong signature",
            id="high s",
        ),
        pytest.param(_replaced(1, witness=(b"\x01", KEY.public)), 1, "wrong", id="no DER"),
        pytest.param(_replaced(1, witness=(b"", KEY.public)), 1, "hash type", id="no signature"),
    ],
)
def test_input_that_may_not_spend_says_why(tx: Tx, index: int, said: str) -> None:
    fault = input_fault(tx, index, SPENT[index])
    assert fault is not None
    assert said in fault
    assert not verify_input(tx, index, SPENT[index])


def test_script_of_another_kind_is_not_verified() -> None:
    fault = input_fault(_spend(1), 0, TxOut(1, p2sh(bytes(20))))
    assert fault == "input 0 spends a script that is neither P2PKH nor P2WPKH"


@settings(max_examples=25)
@given(secrets, st.binary(min_size=32, max_size=32))
def test_signatures_are_low_s_and_verify(secret: bytes, digest: bytes) -> None:
    key = PrivateKey(secret)
    der = key.sign(digest)
    assert utils.decode_dss_signature(der)[1] <= ORDER // 2
    assert verify_signature(key.public, der, digest)
    assert not verify_signature(OTHER.public, der, digest)


@given(st.binary(max_size=80), st.binary(max_size=70))
def test_random_signature_or_key_is_only_false(der: bytes, public: bytes) -> None:
    assert not verify_signature(KEY.public, der, bytes(32))
    assert not verify_signature(public, KEY.sign(bytes(32)), bytes(32))


def test_exported_key_of_the_wiki_is_read() -> None:
    secret = "0c28fca386c7a227600b2fe50b7cae11ec86d3bf1fbe471be89827e19d72aa1d"
    wif = "KwdMAjGmerYanjeui5SHS7JkmpZvVipYvB2LJGU1ZxJwYvP98617"
    assert key_of_wif(BTC, wif).secret.hex() == secret
    assert wif_of_key(BTC, PrivateKey(bytes.fromhex(secret))) == wif


@settings(max_examples=25)
@given(secrets, st.sampled_from(CHAINS))
def test_key_survives_its_export(secret: bytes, params: ChainParams) -> None:
    assert key_of_wif(params, wif_of_key(params, PrivateKey(secret))).secret == secret


def test_key_of_another_chain_is_refused_without_showing_it() -> None:
    devchain = next(params for params in CHAINS if params.coin == "devchain")
    wif = wif_of_key(devchain, KEY)
    with pytest.raises(BadKey, match="version byte 158, bitcoin/mainnet uses 128") as caught:
        key_of_wif(BTC, wif)
    assert wif not in str(caught.value)


@pytest.mark.parametrize("wif", ["", "x", "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ"])
def test_text_that_is_no_compressed_key_is_refused(wif: str) -> None:
    with pytest.raises(BadKey):
        key_of_wif(BTC, wif)


@pytest.mark.parametrize(
    "secret", [b"", bytes(32), bytes(31), ORDER.to_bytes(32, "big")], ids=["0", "zero", "31", "n"]
)
def test_secret_outside_the_group_is_refused(secret: bytes) -> None:
    with pytest.raises(BadKey):
        PrivateKey(secret)


def test_secret_stays_out_of_the_text_form() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert KEY.public.hex() in repr(KEY)
