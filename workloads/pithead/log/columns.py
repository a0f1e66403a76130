"""A share batch as numpy columns, for consumers that count millions of shares. Pure.

Apart from `codec`, so that edges, which only write, do not load numpy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.codec import decode_batch

SOLVED = 1
"""Bit of `flags`: the share solved a block."""

MINUTE_MS = 60_000


@dataclass(frozen=True, eq=False)
class Columns:
    """The valid shares of one batch, one entry each, all columns of equal length."""

    batch: ShareBatch
    """Producer, sequence, promise and the dictionaries that `login` and `segment` point into."""
    login: NDArray[np.int64]
    """Index into `batch.logins`."""
    segment: NDArray[np.int64]
    """Index into `batch.segments`."""
    weight: NDArray[np.int64]
    """Expected hashes >> shift, at least 1."""
    time_ms: NDArray[np.int64]
    """The producer's own clock, Unix milliseconds."""
    serial: NDArray[np.int64]
    """Job serial."""
    flags: NDArray[np.int64]

    @property
    def minute(self) -> NDArray[np.int64]:
        """The share's minute since the Unix epoch."""
        return self.time_ms // MINUTE_MS

    @property
    def solved(self) -> NDArray[np.bool_]:
        """Whether the share solved a block."""
        return (self.flags & SOLVED).astype(np.bool_)

    def __len__(self) -> int:
        return len(self.login)


def columns_of(batch: ShareBatch) -> Columns:
    """Return the columns of a batch that `codec` has checked (weights fit 63 bits)."""
    return Columns(
        batch=batch,
        login=np.array(batch.login, np.int64),
        segment=np.array(batch.segment, np.int64),
        weight=np.array(batch.weight, np.int64),
        time_ms=np.array(batch.time_offset_ms, np.int64) + np.int64(batch.time_base_ms),
        serial=np.array(batch.serial, np.int64),
        flags=np.array(batch.flags, np.int64),
    )


def decode_columns(payload: bytes) -> Columns:
    """Return the checked columns of the batch in `payload`; `BatchError` as `decode_batch`."""
    return columns_of(decode_batch(payload))
