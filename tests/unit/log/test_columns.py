"""Share columns as numpy arrays."""

import numpy as np
import pytest

from pithead.log.codec import BatchError, encode_batch
from pithead.log.columns import columns_of, decode_columns
from tests.support.shares import format_1
from tests.unit.log.test_codec import BROKEN_BATCHES, good_batch

pytestmark = pytest.mark.gate


def test_columns_hold_the_shares_of_the_batch() -> None:
    batch = good_batch()
    columns = decode_columns(encode_batch(batch))
    assert len(columns) == 3
    assert columns.batch == batch
    assert columns.login.tolist() == [0, 1, 1]
    assert columns.segment.tolist() == [0, 0, 0]
    assert columns.weight.tolist() == [1, 2, 1 << 62]
    assert columns.time_ms.tolist() == [batch.time_base_ms + offset for offset in (0, 5, 9)]
    assert columns.serial.tolist() == [7, 7, 8]
    assert columns.solved.tolist() == [False, True, False]
    assert columns.minute.tolist() == [batch.time_base_ms // 60_000] * 3
    assert columns.weight.dtype == np.int64
    assert (columns.accounts, columns.workers) == (["dvc1qa", "dvc1qb"], ["w", ""])
    assert columns.slots == [1, 0]
    assert columns.best.tolist() == [5, (1 << 63) - 1]


def test_columns_of_an_old_batch_are_the_same_but_for_the_best_share() -> None:
    old, new = decode_columns(format_1(good_batch())), columns_of(good_batch())
    assert old.batch.format == 1
    for name in ("accounts", "workers", "slots"):
        assert getattr(old, name) == getattr(new, name)
    for name in ("login", "segment", "weight", "time_ms", "serial", "flags"):
        assert getattr(old, name).tolist() == getattr(new, name).tolist()
    assert old.best.tolist() == [0, 0]


def test_a_batch_without_shares_has_empty_columns() -> None:
    batch = good_batch()
    for name in ("samples", "login", "segment", "weight", "time_offset_ms", "serial", "flags"):
        batch.ClearField(name)
    columns = columns_of(batch)
    assert len(columns) == 0
    assert columns.minute.size == columns.solved.size == 0


@pytest.mark.parametrize("field", BROKEN_BATCHES)
def test_columns_are_not_made_of_a_bad_batch(field: str) -> None:
    batch = good_batch()
    BROKEN_BATCHES[field](batch)
    with pytest.raises(BatchError) as caught:
        decode_columns(batch.SerializeToString())
    assert caught.value.field == field
