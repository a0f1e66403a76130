"""Transactions: known bytes, round trips, strict refusal of everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.job import merkle_root_of
from pithead.coins.tx import (
    OutPoint,
    Reader,
    Tx,
    TxError,
    TxIn,
    TxOut,
    merkle_branch,
    merkle_root,
    parse_tx,
    parse_tx_at,
    varint,
)
from tests.unit.coins.strategies import hashes, transactions
from tests.unit.coins.vectors import (
    BIP143_TX,
    BITCOIN_170_TX,
    BITCOIN_170_TXID,
    BITCOIN_100000_ROOT,
    BITCOIN_100000_TXIDS,
    BITCOIN_328014_COINBASE,
    BITCOIN_GENESIS_COINBASE,
)

pytestmark = pytest.mark.gate

SIMPLE = Tx((TxIn(OutPoint(bytes(32), 0)),), (TxOut(1, b"\x51"),))


@given(transactions)
def test_transaction_survives_the_wire(tx: Tx) -> None:
    raw = tx.serialize()
    assert parse_tx(raw) == tx
    assert parse_tx(raw).serialize() == raw


@given(transactions, st.binary(max_size=30), st.binary(max_size=30))
def test_transaction_is_found_at_an_offset(tx: Tx, before: bytes, after: bytes) -> None:
    raw = tx.serialize()
    assert parse_tx_at(before + raw + after, len(before)) == (tx, len(before) + len(raw))


@given(transactions)
def test_txid_ignores_witnesses_and_wtxid_does_not(tx: Tx) -> None:
    bare = parse_tx(tx.serialize(witness=False))
    assert bare.txid() == tx.txid()
    assert (bare.wtxid() == tx.wtxid()) == (not tx.has_witness)
    assert tx.vsize() * 4 - 4 < tx.weight() <= tx.vsize() * 4


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(BITCOIN_170_TX, id="block 170"),
        pytest.param(BITCOIN_GENESIS_COINBASE, id="genesis"),
        pytest.param(BITCOIN_328014_COINBASE, id="block 328014"),
        pytest.param(BIP143_TX, id="bip143"),
    ],
)
def test_public_transactions_survive_to_the_byte(raw: bytes) -> None:
    assert parse_tx(raw).serialize() == raw


def test_first_payment_has_its_known_txid() -> None:
    tx = parse_tx(BITCOIN_170_TX)
    assert tx.txid()[::-1].hex() == BITCOIN_170_TXID
    assert [out.value for out in tx.outputs] == [1_000_000_000, 4_000_000_000]
    assert not tx.is_coinbase


def test_genesis_coinbase_is_one_and_is_its_own_merkle_root() -> None:
    tx = parse_tx(BITCOIN_GENESIS_COINBASE)
    root = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert tx.is_coinbase
    assert merkle_root([tx.txid()])[::-1].hex() == root


@pytest.mark.parametrize(
    ("number", "raw"),
    [
        (0, "00"),
        (252, "fc"),
        (253, "fdfd00"),
        (0xFFFF, "fdffff"),
        (0x10000, "fe00000100"),
        (0xFFFFFFFF, "feffffffff"),
        (0x100000000, "ff0000000001000000"),
    ],
)
def test_compact_size_switches_forms_at_the_known_numbers(number: int, raw: str) -> None:
    assert varint(number).hex() == raw
    assert Reader(bytes.fromhex(raw)).varint() == number


@pytest.mark.parametrize("raw", ["fdfc00", "fd0000", "feffff0000", "ffffffffff00000000"])
def test_compact_size_longer_than_needed_is_refused(raw: str) -> None:
    with pytest.raises(TxError, match="not minimal"):
        Reader(bytes.fromhex(raw)).varint()


@given(st.integers(0, (1 << 64) - 1))
def test_compact_size_survives_the_wire(number: int) -> None:
    assert Reader(varint(number)).varint() == number


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(SIMPLE.serialize() + b"\0", "left over", id="trailing byte"),
        pytest.param(SIMPLE.serialize()[:-1], "expected", id="cut off"),
        pytest.param(b"", "expected", id="nothing"),
        pytest.param(bytes.fromhex("02000000000000000000"), "without inputs", id="no inputs"),
        pytest.param(bytes.fromhex("020000000008"), "MWEB", id="mweb flag"),
        pytest.param(b"\2\0\0\0\xfe\xff\xff\xff\xff" + bytes(50), "announced", id="bomb"),
        pytest.param(
            SIMPLE.serialize()[:4] + b"\0\1" + SIMPLE.serialize()[4:-4] + b"\0" + bytes(4),
            "without any witness",
            id="superfluous witness",
        ),
    ],
)
def test_malformed_transaction_is_refused_in_words(raw: bytes, said: str) -> None:
    with pytest.raises(TxError, match=said):
        parse_tx(raw)


def test_value_with_the_sign_bit_is_refused() -> None:
    raw = bytearray(SIMPLE.serialize())
    raw[-4 - 2 - 1] = 0x80
    with pytest.raises(TxError, match="above"):
        parse_tx(bytes(raw))


@given(st.binary(max_size=300))
def test_random_bytes_raise_only_the_transaction_error(data: bytes) -> None:
    try:
        assert parse_tx(data).serialize() == data
    except TxError:
        return


@given(transactions, st.data())
def test_damaged_transaction_parses_to_its_bytes_or_is_refused(tx: Tx, data: st.DataObject) -> None:
    raw = bytearray(tx.serialize())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert parse_tx(bytes(raw)).serialize() == bytes(raw)
    except TxError:
        return


def test_merkle_root_of_block_100000_is_known() -> None:
    leaves = [bytes.fromhex(txid)[::-1] for txid in BITCOIN_100000_TXIDS]
    assert merkle_root(leaves)[::-1].hex() == BITCOIN_100000_ROOT


def test_merkle_tree_needs_a_leaf() -> None:
    with pytest.raises(TxError):
        merkle_root([])


@given(hashes, st.lists(hashes, max_size=20))
def test_branch_leads_any_first_leaf_to_the_root(first: bytes, others: list[bytes]) -> None:
    assert merkle_root_of(first, merkle_branch(others)) == merkle_root([first, *others])
