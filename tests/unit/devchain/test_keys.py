"""A wallet's keys, what concerns it, and its signing."""

import pytest

from pithead.coins.sign import verify_input
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut
from pithead.devchain.keys import Keys
from tests.unit.devchain.builder import OTHER_KEY, PARAMS, coinbase_of

pytestmark = pytest.mark.gate


def wallet_with_key() -> tuple[Keys, bytes]:
    wallet = Keys(PARAMS, "w")
    key = wallet.make(b"\x11" * 32, "bech32", "label", 5)
    assert wallet.by_address == {}
    wallet.add(key)
    return wallet, key.script


def test_addresses_of_both_kinds_stand_for_their_scripts() -> None:
    wallet = Keys(PARAMS, "w")
    assert wallet.make(b"\x11" * 32, "bech32", None, 5).address.startswith("dvc1q")
    assert len(wallet.make(b"\x11" * 32, "legacy", None, 5).script) == 25


def test_only_what_pays_or_spends_the_wallet_is_noted_and_once() -> None:
    wallet, script = wallet_with_key()
    stranger = Tx((TxIn(OutPoint(b"\x01" * 32, 0)),), (TxOut(5, OTHER_KEY.p2wpkh()),))
    assert wallet.note(stranger, stranger.txid(), (TxOut(9, OTHER_KEY.p2wpkh()),), 1) is None
    spending = wallet.note(stranger, stranger.txid(), (TxOut(9, script),), 1)
    assert spending is not None
    assert (spending.debit, spending.fee) == (9, 4)
    assert wallet.note(stranger, stranger.txid(), (TxOut(9, script),), 2) is None


def test_a_fee_is_known_only_when_all_inputs_are_own() -> None:
    wallet, script = wallet_with_key()
    points = tuple(TxIn(OutPoint(b"\x01" * 32, n)) for n in range(2))
    tx = Tx(points, (TxOut(5, OTHER_KEY.p2wpkh()),))
    note = wallet.note(tx, tx.txid(), (TxOut(9, script), TxOut(9, OTHER_KEY.p2wpkh())), 1)
    assert note is not None
    assert (note.debit, note.fee) == (9, None)


def test_spends_of_one_coin_conflict_and_coinbases_do_not() -> None:
    wallet, script = wallet_with_key()
    notes = []
    for value in (5, 6):
        tx = Tx((TxIn(OutPoint(b"\x01" * 32, 0)),), (TxOut(value, script),))
        notes.append(wallet.note(tx, tx.txid(), (), 1))
    assert notes[0] is not None
    assert notes[1] is not None
    assert wallet.conflicts(notes[0]) == [notes[1].txid]
    for number in (1, 2):
        coinbase = coinbase_of(7, 5, script, number=number)
        note = wallet.note(coinbase, coinbase.txid(), (), 1)
        assert note is not None
        assert wallet.conflicts(note) == []


def test_inputs_that_cannot_be_signed_are_named_and_the_others_signed() -> None:
    wallet, script = wallet_with_key()
    tx = Tx(tuple(TxIn(OutPoint(b"\x01" * 32, n)) for n in range(3)), (TxOut(5, script),))
    own = TxOut(9, script)
    signed, troubles = wallet.sign(tx, [None, TxOut(9, OTHER_KEY.p2wpkh()), own])
    assert [index for index, _ in troubles] == [0, 1]
    assert verify_input(signed, 2, own)
