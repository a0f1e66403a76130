"""Blocks: the first of Bitcoin, round trips, and nothing but BlockError for the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.block import (
    Block,
    BlockError,
    BlockHeader,
    parse_block,
    parse_block_coinbase,
    parse_header,
)
from pithead.coins.tx import Tx
from tests.unit.coins.strategies import BTC, LTC_REGTEST, coinbases, hashes, transactions, u32
from tests.unit.coins.vectors import (
    BITCOIN_170_TX,
    BITCOIN_BLOCK_1_HASH,
    BITCOIN_BLOCK_1_HEADER,
    BITCOIN_GENESIS_COINBASE,
    BITCOIN_GENESIS_HASH,
    BITCOIN_GENESIS_HEADER,
)

pytestmark = pytest.mark.gate

GENESIS = BITCOIN_GENESIS_HEADER + b"\x01" + BITCOIN_GENESIS_COINBASE
headers = st.builds(BlockHeader, u32, hashes, hashes, u32, u32, u32)
blocks = st.builds(
    lambda header, coinbase, others: Block(header, (coinbase, *others)),
    headers,
    coinbases,
    st.lists(transactions, max_size=4),
)


def test_genesis_block_of_bitcoin_is_read_and_written() -> None:
    block = parse_block(BTC, GENESIS)
    assert block.header.hash()[::-1].hex() == BITCOIN_GENESIS_HASH
    assert block.header.time == 1_231_006_505
    assert block.header.bits == 0x1D00FFFF
    assert block.merkle_root() == block.header.merkle_root
    assert block.serialize() == GENESIS


def test_header_of_block_1_names_its_parent() -> None:
    header = parse_header(BITCOIN_BLOCK_1_HEADER)
    assert header.parent[::-1].hex() == BITCOIN_GENESIS_HASH
    assert header.hash()[::-1].hex() == BITCOIN_BLOCK_1_HASH
    assert header.nonce == 2_573_394_689


@given(blocks)
def test_block_survives_the_wire(block: Block) -> None:
    raw = block.serialize()
    assert parse_block(LTC_REGTEST, raw) == block
    assert parse_block(LTC_REGTEST, raw).serialize() == raw


@given(blocks, st.binary(max_size=40))
def test_coinbase_is_read_without_the_rest(block: Block, tail: bytes) -> None:
    first = len(block.transactions) - 1
    raw = block.serialize() + tail
    assert first >= 0
    assert parse_block_coinbase(LTC_REGTEST, raw) == (block.header, block.coinbase)


@given(headers)
def test_header_survives_the_wire(header: BlockHeader) -> None:
    assert parse_header(header.serialize()) == header
    assert len(header.serialize()) == 80


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(GENESIS + b"\0", "left over", id="trailing byte"),
        pytest.param(GENESIS[:-1], "expected", id="cut off"),
        pytest.param(GENESIS[:79], "80 bytes, got 79", id="short header"),
        pytest.param(GENESIS[:80] + b"\0", "no transactions", id="empty"),
        pytest.param(GENESIS[:80] + b"\xfe\xff\xff\xff\xff", "announced", id="bomb"),
        pytest.param(GENESIS[:80] + b"\x01" + BITCOIN_170_TX, "no coinbase", id="no coinbase"),
        pytest.param(bytes(4_000_001), "above 4000000", id="too big"),
    ],
)
def test_malformed_block_is_refused_in_words(raw: bytes, said: str) -> None:
    with pytest.raises(BlockError, match=said):
        parse_block(BTC, raw)


@given(st.binary(max_size=300))
def test_random_bytes_raise_only_the_block_error(data: bytes) -> None:
    for parse in (parse_block, parse_block_coinbase):
        with pytest.raises(BlockError):
            parse(BTC, data)


@given(st.binary(max_size=100))
def test_random_header_raises_only_the_block_error(data: bytes) -> None:
    try:
        assert parse_header(data).serialize() == data
    except BlockError:
        assert len(data) != 80


@given(blocks, st.data())
def test_damaged_block_parses_to_its_bytes_or_is_refused(block: Block, data: st.DataObject) -> None:
    raw = bytearray(block.serialize())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert parse_block(LTC_REGTEST, bytes(raw)).serialize() == bytes(raw)
    except BlockError:
        return


@given(headers, coinbases)
def test_first_transaction_is_the_coinbase(header: BlockHeader, coinbase: Tx) -> None:
    assert Block(header, (coinbase,)).coinbase is coinbase
