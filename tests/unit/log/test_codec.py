"""Records: what is written is read, and anything else is refused with its place."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.contracts.share_log_pb2 import (
    AuxParent,
    BlockRecord,
    Login,
    RejectCount,
    Segment,
    SessionRecord,
    ShareBatch,
    ShareSample,
)
from pithead.log.codec import (
    BatchError,
    decode_batch,
    decode_block,
    encode_batch,
    encode_block,
    logins_of,
)
from pithead.log.topics import FORMAT

pytestmark = pytest.mark.gate


def good_batch() -> ShareBatch:
    return ShareBatch(
        format=FORMAT,
        producer=bytes(range(16)),
        sequence=3,
        promise=100,
        pool="default.example",
        coin="devchain/regtest",
        region="eu",
        time_base_ms=1_700_000_000_000,
        account=["dvc1qa", "dvc1qb"],
        worker=["w", ""],
        slot=[1, 0],
        best=[5, (1 << 63) - 1],
        samples=[ShareSample(share=2, header=bytes(80))],
        segments=[
            Segment(
                parent=bytes(32),
                height=101,
                bits=0x207FFFFF,
                value=50,
                aux=[AuxParent(chain_id=1, parent=bytes(32))],
            )
        ],
        login=[0, 1, 1],
        segment=[0, 0, 0],
        weight=[1, 2, 1 << 62],
        time_offset_ms=[0, 5, 9],
        serial=[7, 7, 8],
        flags=[0, 1, 0],
        rejects=[RejectCount(login=1, count=4)],
        sessions=[SessionRecord(extranonce1=bytes(5), login=0, agent="cgminer")],
    )


def good_block() -> BlockRecord:
    return BlockRecord(
        format=FORMAT,
        producer=bytes(range(16)),
        pool="default.example",
        coin="devchain/regtest",
        region="eu",
        hash=bytes(32),
        height=101,
        parent=bytes(32),
        bits=0x207FFFFF,
        block=bytes(200),
        value=50,
        login=Login(account="dvc1qa", slot=1),
        extranonce1=bytes(5),
        serial=7,
        weight=1,
        found_ms=1_700_000_000_000,
    )


def test_a_batch_comes_back_equal() -> None:
    batch = good_batch()
    assert decode_batch(encode_batch(batch)) == batch


STORED = {
    1: """
08011210000102030405060708090a0b0c0d0e0f180320642a0f64656661756c742e6578616d706c6532106465
76636861696e2f726567746573743a0265754080d095ffbc314a0d0a0664766331716112017718014a080a0664
7663317162522c0a200000000000000000000000000000000000000000000000000000000000000000106518ff
ffff830220325a0300010162030000006a0301020372030005097a030707088201030001008a01060801100118
049201100a0500000000001a0763676d696e6572
""",
    2: """
08021210000102030405060708090a0b0c0d0e0f180320642a0f64656661756c742e6578616d706c6532106465
76636861696e2f726567746573743a0265754080d095ffbc31522c0a2000000000000000000000000000000000
00000000000000000000000000000000106518ffffff830220325a0300010162030000006a0301020372030005
097a030707088201030001008a01060801100118049201100a0500000000001a0763676d696e6572a201066476
63317161a20106647663317162aa010177aa0100b201020100ba01020109c20154080212500000000000000000
000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
000000000000000000000000000000000000000000000000000000
""",
}
"""One batch as programs of each version wrote it. What lies in a log is never written again, so
these bytes stay readable until FORMATS_BACK versions later."""


@pytest.mark.parametrize("version", STORED, ids=lambda version: f"format-{version}")
def test_what_a_log_holds_stays_readable(version: int) -> None:
    payload = bytes.fromhex(STORED[version])
    batch = decode_batch(payload)
    logins = logins_of(batch)
    assert batch.format == version
    assert logins.accounts == ["dvc1qa", "dvc1qb"]
    assert logins.workers == ["w", ""]
    assert list(logins.slots) == [1, 0]
    assert list(logins.best) == ([0, 0] if version == 1 else [1, 9])
    assert [(s.share, len(s.header)) for s in batch.samples] == ([] if version == 1 else [(2, 80)])
    assert (list(batch.login), list(batch.weight)) == ([0, 1, 1], [1, 2, 3])
    assert (batch.sessions[0].login, batch.rejects[0].login) == (0, 1)
    assert batch.SerializeToString() == payload


@pytest.mark.parametrize("field", ["account", "worker", "slot", "best", "samples"])
def test_an_old_batch_has_no_columns_of_logins(field: str) -> None:
    batch = decode_batch(bytes.fromhex(STORED[1]))
    getattr(batch, field).MergeFrom(getattr(good_batch(), field))
    with pytest.raises(BatchError, match="format 1 has no such column"):
        decode_batch(batch.SerializeToString())


@pytest.mark.parametrize(
    ("field", "break_it"),
    [
        ("account[1]", lambda b: setattr(b.logins[1], "account", "")),
        ("worker[0]", lambda b: setattr(b.logins[0], "worker", "w\0")),
        ("slot", lambda b: setattr(b.logins[0], "slot", 256)),
        ("login", lambda b: b.login.__setitem__(0, 2)),
    ],
)
def test_the_logins_of_an_old_batch_are_checked_alike(
    field: str, break_it: Callable[[ShareBatch], object]
) -> None:
    batch = decode_batch(bytes.fromhex(STORED[1]))
    break_it(batch)
    with pytest.raises(BatchError) as caught:
        decode_batch(batch.SerializeToString())
    assert caught.value.field == field


def test_an_empty_batch_and_an_end_are_batches() -> None:
    batch = ShareBatch(producer=bytes(16), pool="p", coin="devchain/regtest", region="eu", end=True)
    assert decode_batch(encode_batch(batch)).end


def test_encoding_stamps_the_version() -> None:
    batch, block = good_batch(), good_block()
    batch.format = block.format = 0
    assert decode_batch(encode_batch(batch)).format == FORMAT
    assert decode_block(encode_block(block)).format == FORMAT


def test_a_block_record_comes_back_equal() -> None:
    record = good_block()
    assert decode_block(encode_block(record)) == record


BROKEN_BATCHES: dict[str, Callable[[ShareBatch], object]] = {
    "format": lambda b: setattr(b, "format", FORMAT + 1),
    "producer": lambda b: setattr(b, "producer", bytes(15)),
    "pool": lambda b: setattr(b, "pool", ""),
    "coin": lambda b: setattr(b, "coin", ""),
    "region": lambda b: setattr(b, "region", "x" * 257),
    "time_base_ms": lambda b: setattr(b, "time_base_ms", 1 << 53),
    "account[1]": lambda b: b.account.__setitem__(1, ""),
    "worker[0]": lambda b: b.worker.__setitem__(0, "w" * 257),
    "worker": lambda b: b.worker.pop(),
    "slot": lambda b: b.slot.__setitem__(0, 256),
    "best": lambda b: b.best.__setitem__(0, 1 << 63),
    "logins": lambda b: b.logins.append(Login(account="dvc1qa")),
    "samples[0].share": lambda b: setattr(b.samples[0], "share", 3),
    "samples[0].header": lambda b: setattr(b.samples[0], "header", bytes(79)),
    "segments[0].parent": lambda b: setattr(b.segments[0], "parent", bytes(31)),
    "segments[0].value": lambda b: setattr(b.segments[0], "value", 1 << 63),
    "segments[0].aux[0].parent": lambda b: setattr(b.segments[0].aux[0], "parent", b""),
    "segment": lambda b: b.segment.append(0),
    "weight": lambda b: b.weight.append(1),
    "time_offset_ms": lambda b: b.time_offset_ms.pop(),
    "serial": lambda b: b.serial.pop(),
    "flags": lambda b: b.flags.pop(),
    "login": lambda b: b.login.__setitem__(0, 2),
    "rejects[0].login": lambda b: setattr(b.rejects[0], "login", 2),
    "sessions[0].login": lambda b: setattr(b.sessions[0], "login", 2),
    "sessions[0].extranonce1": lambda b: setattr(b.sessions[0], "extranonce1", bytes(4)),
    "sessions[0].agent": lambda b: setattr(b.sessions[0], "agent", "a" * 257),
}


@pytest.mark.parametrize("field", BROKEN_BATCHES)
def test_a_batch_with_one_wrong_field_is_refused_by_that_field(field: str) -> None:
    batch = good_batch()
    BROKEN_BATCHES[field](batch)
    with pytest.raises(BatchError) as caught:
        decode_batch(batch.SerializeToString())
    assert caught.value.field == field
    assert caught.value.problem in str(caught.value)


@pytest.mark.parametrize(
    ("field", "break_it"),
    [
        ("region", lambda b: setattr(b, "region", "e\0u")),
        ("account[1]", lambda b: b.account.__setitem__(1, "\0")),
        ("worker[0]", lambda b: b.worker.__setitem__(0, "w\0")),
        ("sessions[0].agent", lambda b: setattr(b.sessions[0], "agent", "\0a")),
    ],
)
def test_a_text_that_postgresql_cannot_keep_is_refused(
    field: str, break_it: Callable[[ShareBatch], object]
) -> None:
    batch = good_batch()
    break_it(batch)
    with pytest.raises(BatchError, match="NUL") as caught:
        decode_batch(batch.SerializeToString())
    assert caught.value.field == field


@pytest.mark.parametrize("weight", [0, 1 << 63], ids=["none", "beyond-63-bits"])
def test_a_weight_out_of_range_is_refused(weight: int) -> None:
    batch = good_batch()
    batch.weight[1] = weight
    with pytest.raises(BatchError) as caught:
        encode_batch(batch)
    assert caught.value.field == "weight"


def test_a_segment_index_out_of_range_is_refused() -> None:
    batch = good_batch()
    batch.segment[2] = 1
    with pytest.raises(BatchError, match="index 1 into segments of 1"):
        decode_batch(batch.SerializeToString())


BROKEN_BLOCKS: dict[str, Callable[[BlockRecord], object]] = {
    "format": lambda b: setattr(b, "format", 0),
    "producer": lambda b: setattr(b, "producer", b""),
    "pool": lambda b: setattr(b, "pool", ""),
    "hash": lambda b: setattr(b, "hash", bytes(33)),
    "parent": lambda b: setattr(b, "parent", bytes(20)),
    "extranonce1": lambda b: setattr(b, "extranonce1", b""),
    "block": lambda b: setattr(b, "block", bytes(79)),
    "login.account": lambda b: b.ClearField("login"),
    "weight": lambda b: setattr(b, "weight", 1 << 63),
    "value": lambda b: setattr(b, "value", 1 << 63),
    "found_ms": lambda b: setattr(b, "found_ms", 1 << 60),
}


@pytest.mark.parametrize("field", BROKEN_BLOCKS)
def test_a_block_record_with_one_wrong_field_is_refused_by_that_field(field: str) -> None:
    record = good_block()
    BROKEN_BLOCKS[field](record)
    with pytest.raises(BatchError) as caught:
        decode_block(record.SerializeToString())
    assert caught.value.field == field


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_happens(payload: bytes) -> None:
    for decode in (decode_batch, decode_block):
        with pytest.raises(BatchError):
            decode(payload)


@given(st.data())
def test_a_damaged_batch_is_read_or_refused(draw: st.DataObject) -> None:
    data = bytearray(encode_batch(good_batch()))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        batch = decode_batch(bytes(data))
    except BatchError:
        return
    assert len(batch.login) == len(batch.weight)
