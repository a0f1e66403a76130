"""Jobs: the fast way to a header equals the naive one, and the block holds what it must."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.block import BlockHeader, parse_block
from pithead.coins.job import (
    Job,
    JobError,
    Mark,
    Work,
    coinbase_value_to,
    make_job,
    merkle_root_of,
    parse_coinbase_mark,
    pool_tag,
)
from pithead.coins.script import height_push, p2wpkh, parse_height, push
from pithead.coins.template import parse_template
from pithead.coins.tx import NULL_HASH, NULL_INDEX, OutPoint, Tx, TxIn, TxOut, merkle_root, parse_tx
from tests.unit.coins.strategies import (
    LTC_REGTEST,
    coinbases,
    template_replies,
    template_reply,
    transactions,
    u32,
)

pytestmark = pytest.mark.gate

PAYOUT = p2wpkh(b"\x11" * 20)
TAG = pool_tag("default.demo")
SALT = bytes(range(16))
extranonces1 = st.binary(min_size=5, max_size=5)
extranonces2 = st.binary(min_size=8, max_size=8)


def _job(reply: dict[str, Any], serial: int = 1) -> Job:
    return make_job(parse_template(LTC_REGTEST, reply), PAYOUT, TAG, SALT, serial)


def _naive_coinbase(job: Job, extranonce1: bytes, extranonce2: bytes) -> Tx:
    template = job.template
    mark = TAG + SALT + job.serial.to_bytes(4, "big") + extranonce1 + extranonce2
    outputs = [TxOut(template.coinbase_value, PAYOUT)]
    witness: tuple[bytes, ...] = ()
    if template.witness_commitment is not None:
        outputs.append(TxOut(0, template.witness_commitment))
        witness = (bytes(32),)
    script_sig = height_push(template.height) + push(mark)
    txin = TxIn(OutPoint(NULL_HASH, NULL_INDEX), script_sig, witness=witness)
    return Tx((txin,), tuple(outputs))


@given(template_replies(), u32, extranonces1, extranonces2, u32, u32, u32)
def test_header_and_block_equal_those_built_the_naive_way(
    reply: dict[str, Any],
    serial: int,
    extranonce1: bytes,
    extranonce2: bytes,
    ntime: int,
    nonce: int,
    version: int,
) -> None:
    job = _job(reply, serial)
    template = job.template
    coinbase = _naive_coinbase(job, extranonce1, extranonce2)
    txids = [coinbase.txid(), *(tx.txid for tx in template.transactions)]
    expected = BlockHeader(
        version, template.parent, merkle_root(txids), ntime, template.bits, nonce
    )
    header = job.header(extranonce1, extranonce2, ntime, nonce, version)
    assert header == expected.serialize()

    block = parse_block(LTC_REGTEST, job.block(extranonce1, extranonce2, ntime, nonce, version))
    assert block.header == expected
    assert block.merkle_root() == expected.merkle_root
    assert block.coinbase == coinbase
    assert [tx.serialize() for tx in block.transactions[1:]] == [
        tx.data for tx in template.transactions
    ]


@given(template_replies(), u32, extranonces1, extranonces2)
def test_mark_is_read_back_from_the_coinbase(
    reply: dict[str, Any], serial: int, extranonce1: bytes, extranonce2: bytes
) -> None:
    coinbase = parse_tx(_job(reply, serial).coinbase(extranonce1, extranonce2))
    mark = parse_coinbase_mark(LTC_REGTEST, coinbase)
    assert mark == Mark(TAG, SALT, serial, extranonce1, extranonce2)
    assert mark.slot == extranonce1[0]
    assert parse_height(coinbase.inputs[0].script_sig) == reply["height"]
    assert coinbase_value_to(coinbase, PAYOUT) == reply["coinbasevalue"]


BOUNDARIES = sorted({1 << n for n in range(32)} | {(1 << n) - 1 for n in range(1, 32)} | {16, 17})


@pytest.mark.parametrize("height", BOUNDARIES)
def test_script_sig_stays_below_100_bytes_at_every_size_of_height(height: int) -> None:
    coinbase = parse_tx(_job(template_reply(height=height)).coinbase(bytes(5), bytes(8)))
    script_sig = coinbase.inputs[0].script_sig
    assert 2 <= len(script_sig) <= 100
    assert script_sig == height_push(height) + push(script_sig[-45:])
    # The push of merged mining that comes later fits beside it.
    assert len(script_sig) + 46 <= 100


@given(st.integers(1, 1 << 31))
def test_script_sig_stays_below_100_bytes_at_any_height(height: int) -> None:
    coinbase = parse_tx(_job(template_reply(height=height)).coinbase(bytes(5), bytes(8)))
    assert len(coinbase.inputs[0].script_sig) <= 54


@given(template_replies(), u32, u32)
def test_serials_of_one_work_never_share_a_coinbase(
    reply: dict[str, Any], one: int, other: int
) -> None:
    work = Work(parse_template(LTC_REGTEST, reply), PAYOUT, TAG, SALT)
    same = work.job(one).coinb1 == work.job(other).coinb1
    assert same == (one == other)
    assert len(work.job(one).coinb1) == len(work.job(other).coinb1)


def test_coinbase_without_commitment_has_no_witness() -> None:
    raw = _job(template_reply(commitment=None)).block(bytes(5), bytes(8), 1, 2, 3)
    block = parse_block(LTC_REGTEST, raw)
    assert not block.coinbase.has_witness
    assert [out.script for out in block.coinbase.outputs] == [PAYOUT]


def test_commitment_stands_behind_the_payout_as_the_node_gave_it() -> None:
    reply = template_reply()
    raw = _job(reply).block(bytes(5), bytes(8), 1, 2, 3)
    coinbase = parse_block(LTC_REGTEST, raw).coinbase
    assert coinbase.inputs[0].witness == (bytes(32),)
    assert coinbase.outputs[1].value == 0
    assert coinbase.outputs[1].script.hex() == reply["default_witness_commitment"]


def test_block_carries_the_rolled_version() -> None:
    job = _job(template_reply())
    rolled = job.template.version | 0x1FFFE000
    block = parse_block(LTC_REGTEST, job.block(bytes(5), bytes(8), 1, 2, rolled))
    assert block.header.version == rolled != job.template.version


def test_extra_bytes_of_a_template_end_the_block() -> None:
    template = replace(parse_template(LTC_REGTEST, template_reply()), extra=b"\x01extra")
    raw = make_job(template, PAYOUT, TAG, SALT, 1).block(bytes(5), bytes(8), 1, 2, 3)
    assert raw.endswith(b"\x01extra")


def test_notify_words_each_field_in_its_own_byte_order() -> None:
    job = _job(template_reply(version=-1), serial=0xAB)
    params = job.notify_params(clean=True)
    # Bytes 0 1 2 3 .. of the header appear as 3 2 1 0, word by word.
    assert params[1] == "03020100070605040b0a09080f0e0d0c13121110171615141b1a19181f1e1d1c"
    assert params[0] == "ab"
    assert params[2] == job.coinb1.hex()
    assert params[3] == job.coinb2.hex()
    assert params[4] == []
    assert params[5:] == ["ffffffff", "207fffff", f"{1_700_000_100:08x}", True]
    assert job.notify_params(clean=False, ntime=5)[7:] == ["00000005", False]


@given(template_replies())
def test_notify_carries_the_branch_in_internal_order(reply: dict[str, Any]) -> None:
    job = _job(reply)
    assert job.notify_params(clean=False)[4] == [sibling.hex() for sibling in job.branch]
    txids = [tx.txid for tx in job.template.transactions]
    assert merkle_root_of(b"\x01" * 32, job.branch) == merkle_root([b"\x01" * 32, *txids])


@pytest.mark.parametrize("serial", [-1, 1 << 32])
def test_serial_outside_32_bits_is_refused(serial: int) -> None:
    with pytest.raises(JobError, match="serial"):
        _job(template_reply(), serial)


@pytest.mark.parametrize(("tag", "salt"), [(TAG[:-1], SALT), (TAG, SALT + b"x")])
def test_tag_or_salt_of_the_wrong_size_is_refused(tag: bytes, salt: bytes) -> None:
    with pytest.raises(JobError, match=r"expected 1[26]"):
        Work(parse_template(LTC_REGTEST, template_reply()), PAYOUT, tag, salt)


@pytest.mark.parametrize(("one", "two"), [(4, 8), (5, 9)])
def test_block_with_an_extranonce_of_the_wrong_size_is_refused(one: int, two: int) -> None:
    with pytest.raises(JobError, match="extranonce"):
        _job(template_reply()).block(bytes(one), bytes(two), 1, 2, 3)


def test_pools_have_different_tags() -> None:
    assert pool_tag("default.one") != pool_tag("default.two")
    assert pool_tag("default.one")[:4] == b"PTHD"
    assert len(TAG) == 12


@given(coinbases)
def test_coinbase_of_other_software_has_no_mark(coinbase: Tx) -> None:
    assert parse_coinbase_mark(LTC_REGTEST, coinbase) is None


@given(transactions)
def test_ordinary_transaction_has_no_mark(tx: Tx) -> None:
    assert parse_coinbase_mark(LTC_REGTEST, tx) is None


def test_mark_is_found_behind_another_push() -> None:
    mark = TAG + SALT + bytes(4) + bytes(13)
    script_sig = height_push(500) + push(b"\xfa\xbemm" + bytes(40)) + push(mark)
    coinbase = Tx((TxIn(OutPoint(NULL_HASH, NULL_INDEX), script_sig),), (TxOut(0, b""),))
    found = parse_coinbase_mark(LTC_REGTEST, coinbase)
    assert found is not None
    assert found.tag == TAG
