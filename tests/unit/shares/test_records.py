"""Records brought down to what booking needs: nothing of a share is lost or mixed up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.columns import Columns, columns_of
from pithead.log.share_log import LogRecord
from pithead.shares.fold import BATCH_WEIGHT_MAX, Ints
from pithead.shares.records import Entry, Place, entry_of, examine, segment_key
from tests.support.shares import (
    COIN,
    MINUTE_MS,
    POOL,
    Share,
    address,
    format_1,
    make_batch,
    payload,
    producer_id,
)

pytestmark = pytest.mark.gate

SHARES = st.builds(
    Share,
    account=st.integers(1, 5),
    height=st.integers(1, 3),
    weight=st.integers(1, 1 << 40),
    time_ms=st.integers(0, 4 * MINUTE_MS),
    slot=st.integers(0, 2),
    fork=st.integers(0, 1),
)


def entry(columns: Columns, ids: Ints, *, ours: bool = False) -> Entry:
    return entry_of("p", LogRecord(7, 8, b"bytes"), columns, ids, ours=ours)


@given(st.lists(SHARES, max_size=30), st.sets(st.integers(1, 5)), st.booleans())
def test_each_share_keeps_account_place_minute_and_weight(
    shares: list[Share], known: set[int], old: bool
) -> None:
    batch = make_batch(
        producer_id(1), 4, shares, promise=9, rejects=[(address(9), 2, 3)], sessions=[(bytes(5), 8)]
    )
    if old:
        batch.ParseFromString(format_1(batch))
    columns = columns_of(batch)
    ids_of = {address(number): 100 + number for number in known}
    ids = np.array([ids_of.get(account, 0) for account in columns.accounts], np.int64)
    before = ids.copy()
    found = entry(columns, ids)
    assert (ids == before).all()
    for index, share in enumerate(shares):
        account = int(found.account[index])
        expected = ids_of.get(address(share.account))
        assert account == expected or (
            expected is None and found.unknown[-1 - account] == address(share.account)
        )
        place = found.places[found.place[index]]
        segment = batch.segments[batch.segment[index]]
        assert place == Place(share.slot, segment_key(segment))
        assert found.values[place.segment] == segment.value
        assert found.minute[index] == share.time_ms // MINUTE_MS
        assert found.weight[index] == share.weight
    assert len(found) == len(shares)
    # A login that only was refused or came makes no account by its shares.
    assert set(found.unknown) <= {address(share.account) for share in shares}
    assert set(found.values) == {place.segment for place in found.places}
    assert found.slots == {0} | {share.slot for share in shares}
    assert [(r.account, r.reason, r.shares) for r in found.rejects] == [(address(9), 2, 3)]
    assert [(s.extranonce1, s.account, s.worker) for s in found.sessions] == [
        (bytes(5), address(8), "rig")
    ]
    assert (found.producer, found.sequence, found.promise) == (producer_id(1), 4, 9)


def test_a_batch_of_more_shares_than_usual_has_its_places_too() -> None:
    columns = columns_of(make_batch(producer_id(1), 0, [Share(1, 20)] * 5000))
    found = entry(columns, np.ones(1, np.int64))
    assert len(found.place) == len(found) == 5000
    assert not found.place.any()


def test_a_batch_without_logins_has_no_places() -> None:
    found = entry(columns_of(make_batch(producer_id(1), 0)), np.zeros(0, np.int64))
    assert (len(found), found.places, found.slots, found.values) == (0, [], frozenset(), {})


def test_a_segment_without_shares_is_left_out() -> None:
    batch = make_batch(producer_id(1), 0, [Share(1, 20)])
    batch.segments.add().CopyFrom(batch.segments[0])
    batch.segments[1].height = 3
    found = entry(columns_of(batch), np.ones(1, np.int64))
    assert [key.height for key in found.values] == [20]


def test_the_payload_is_kept_only_for_a_producer_that_may_be_set_aside() -> None:
    columns = columns_of(make_batch(producer_id(1), 0))
    assert entry(columns, np.zeros(0, np.int64)).payload == b"bytes"
    assert entry(columns, np.zeros(0, np.int64), ours=True).payload == b""


def test_the_logs_time_counts_before_the_producers() -> None:
    columns = columns_of(make_batch(producer_id(1), 0, time_ms=5))
    none = np.zeros(0, np.int64)
    assert entry(columns, none).moment_ms == 5
    record = LogRecord(7, 8, b"", appended_ms=9)
    assert entry_of("p", record, columns, none, ours=True).moment_ms == 9


@pytest.mark.parametrize(
    ("field", "pool", "coin", "shares"),
    [
        pytest.param("pool", "another", COIN, (), id="another-pool"),
        pytest.param("coin", POOL, "litecoin/mainnet", (), id="another-coin"),
        pytest.param("weight", POOL, COIN, (Share(1, 1, weight=BATCH_WEIGHT_MAX + 1),), id="heavy"),
    ],
)
def test_what_is_not_this_pools_or_not_plausible_is_told(
    field: str, pool: str, coin: str, shares: tuple[Share, ...]
) -> None:
    record = LogRecord(0, 1, payload(make_batch(producer_id(1), 0, shares)))
    read = examine("p", record, pool, coin)
    assert read.columns is None
    assert read.fault.startswith(f"{field}: ")
