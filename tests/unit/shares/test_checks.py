"""Samples judged: an honest one passes, and each way of lying about one share fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.block import BlockHeader
from pithead.coins.hashing import pow_function
from pithead.coins.registry import chain_params
from pithead.coins.weight import bits_to_target, target_of_weight
from pithead.contracts.share_log_pb2 import ShareBatch, ShareSample
from pithead.log.columns import columns_of, decode_columns
from pithead.log.samples import sampled_share
from pithead.shares.checks import (
    AHEAD_S_MAX,
    BEHIND_S_MAX,
    Fault,
    Share,
    due,
    fault_of,
    share_due,
)
from tests.support.shares import BITS, PARAMS, format_1, make_batch, parent, producer_id
from tests.support.shares import Share as Share_

pytestmark = pytest.mark.gate

NOW_S = 1_700_000_000
POW = pow_function(PARAMS)
WEIGHT = 16


def mine(below: int, **changes: int | bytes) -> bytes:
    """A header whose hash is not above `below`."""
    fields = {
        "version": 0x20000000,
        "parent": parent(10),
        "merkle_root": bytes(32),
        "time": NOW_S,
        "bits": BITS,
    } | changes
    for nonce in range(1 << 20):
        header = BlockHeader(**fields, nonce=nonce).serialize()  # type: ignore[arg-type]
        if POW(header) <= below and POW(header) > bits_to_target(BITS):
            return header
    raise AssertionError("no nonce found")


HONEST = Share(
    producer=producer_id(1),
    sequence=7,
    region="eu",
    due=3,
    shown=3,
    header=mine(target_of_weight(WEIGHT, PARAMS.shift)),
    weight=WEIGHT,
    time_ms=NOW_S * 1000,
    parent=parent(10),
    bits=BITS,
    solved=False,
)
TARGET = target_of_weight(WEIGHT, PARAMS.shift)


def fault(share: Share) -> Fault | None:
    found = fault_of(share, PARAMS, POW)
    return None if found is None else found.fault


def test_an_honest_share_passes() -> None:
    assert fault(HONEST) is None


LIES: dict[str, tuple[Share, Fault]] = {
    "nothing shown": (HONEST._replace(shown=None, header=b""), Fault.MISSING),
    "another share shown": (HONEST._replace(shown=2), Fault.OTHER),
    "a longer header": (HONEST._replace(header=HONEST.header + b"\0"), Fault.LENGTH),
    "work of another block": (HONEST._replace(parent=parent(11)), Fault.PARENT),
    "work at another difficulty": (HONEST._replace(bits=BITS - 1), Fault.BITS),
    "more weight than work": (HONEST._replace(weight=1 << 40), Fault.WORK),
    "a weight that nobody can have": (HONEST._replace(weight=0), Fault.WORK),
    "one bit of the header": (
        HONEST._replace(header=HONEST.header[:-1] + bytes([HONEST.header[-1] ^ 1])),
        Fault.WORK,
    ),
    "a block that is none": (HONEST._replace(solved=True), Fault.SOLVED),
    "from the future": (
        HONEST._replace(header=mine(TARGET, time=NOW_S + AHEAD_S_MAX + 1)),
        Fault.TIME,
    ),
    "from long ago": (
        HONEST._replace(header=mine(TARGET, time=NOW_S - BEHIND_S_MAX - 1)),
        Fault.TIME,
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_each_lie_has_its_fault(name: str) -> None:
    share, expected = LIES[name]
    assert fault(share) is expected


def test_times_at_the_bounds_are_let_pass() -> None:
    for time in (NOW_S + AHEAD_S_MAX, NOW_S - BEHIND_S_MAX):
        assert fault(HONEST._replace(header=mine(TARGET, time=time))) is None


def test_a_block_that_the_edge_did_not_see_is_a_fault() -> None:
    easy = 0x207FFFFF
    header = next(
        made
        for nonce in range(100)
        for made in [BlockHeader(1, parent(10), bytes(32), NOW_S, easy, nonce).serialize()]
        if POW(made) <= bits_to_target(easy)
    )
    share = HONEST._replace(header=header, bits=easy, weight=1)
    assert fault(share) is Fault.SOLVED
    assert fault(share._replace(solved=True)) is None


def test_scrypt_headers_are_hashed_by_scrypt() -> None:
    litecoin = chain_params("litecoin", "regtest")
    function = pow_function(litecoin)
    low = target_of_weight(2, litecoin.shift)
    header = next(
        made
        for nonce in range(1000)
        for made in [BlockHeader(1, parent(10), bytes(32), NOW_S, BITS, nonce).serialize()]
        if bits_to_target(BITS) < function(made) <= low
    )
    share = HONEST._replace(header=header, weight=2)
    assert fault_of(share, litecoin, function) is None


@given(st.binary(min_size=80, max_size=80))
def test_any_bytes_get_a_verdict(header: bytes) -> None:
    assert fault(HONEST._replace(header=header)) is not None


@given(st.integers(0, 100), st.integers(0, 10**9))
def test_the_same_batches_are_due_again_and_more_percent_only_adds(
    percent: int, sequence: int
) -> None:
    chosen = due(producer_id(1), sequence, percent)
    assert chosen == due(producer_id(1), sequence, percent)
    assert not chosen or due(producer_id(1), sequence, min(100, percent + 1))
    assert due(producer_id(1), sequence, 100)
    assert not due(producer_id(1), sequence, 0)


def test_a_tenth_is_about_a_tenth() -> None:
    assert 800 < sum(due(producer_id(1), sequence, 10) for sequence in range(10_000)) < 1200


def test_the_share_that_is_due_is_taken_from_the_columns() -> None:
    seen = set()
    for sequence in range(20):
        batch = make_batch(
            producer_id(1), sequence, [Share_(1, 10, 5, 50), Share_(2, 11, 6, 60)] * 2, time_ms=9
        )
        batch.flags[1] = 1
        index = sampled_share(producer_id(1), sequence, 4)
        odd = index % 2
        for shown in (3 - index, index):
            batch.samples.append(ShareSample(share=shown, header=HONEST.header))
            share = due_of(batch)
            assert share is not None
            assert (share.due, share.shown, share.header) == (index, shown, HONEST.header)
            assert (share.weight, share.time_ms) == (5 + odd, 50 + 10 * odd)
            assert (share.parent, share.bits) == (parent(10 + odd), BITS)
            assert share.solved == (index == 1)
        seen.add(index)
    assert seen == {0, 1, 2, 3}


def test_batches_without_shares_or_of_an_older_edge_have_nothing_to_show() -> None:
    assert due_of(make_batch(producer_id(1), 1)) is None
    shared = make_batch(producer_id(1), 1, [Share_(1, 10)])
    share = due_of(shared)
    assert share is not None
    assert fault(share) is Fault.MISSING
    assert share_due(decode_columns(format_1(shared))) is None


def due_of(batch: ShareBatch) -> Share | None:
    return share_due(columns_of(batch))
