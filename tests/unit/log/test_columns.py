"""Share columns as numpy arrays."""

import numpy as np
import pytest

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.codec import BatchError, encode_batch
from pithead.log.columns import columns_of, decode_columns
from tests.unit.log.test_codec import good_batch

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


def test_a_batch_without_shares_has_empty_columns() -> None:
    columns = columns_of(ShareBatch())
    assert len(columns) == 0
    assert columns.minute.size == columns.solved.size == 0


def test_columns_are_not_made_of_a_bad_batch() -> None:
    batch = good_batch()
    batch.weight.append(1)
    with pytest.raises(BatchError):
        decode_columns(batch.SerializeToString())
