"""A share batch as numpy columns, for consumers that count millions of shares. Pure.

Apart from `codec`, so that edges, which only write, do not load numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.codec import Extent, check_parts, logins_of, parse_batch

SOLVED = 1
"""Bit of `flags`: the share solved a block."""

MINUTE_MS = 60_000


@dataclass(frozen=True, eq=False)
class Columns:
    """The valid shares of one batch, one entry each, and its logins, whatever its format."""

    batch: ShareBatch
    """Producer, sequence, promise, segments, rejects and sessions."""
    accounts: Sequence[str]
    """By login: the account as the edge normalised it."""
    workers: Sequence[str]
    """By login: the worker, perhaps empty."""
    slots: Sequence[int]
    """By login: the scheme slot."""
    best: NDArray[np.int64]
    """By login: weight that the best hash of its shares was worth, 0 when that is not known."""
    login: NDArray[np.int64]
    """By share, as all that follows: index into `accounts`, `workers`, `slots` and `best`."""
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
    """Return the checked columns of a batch; `BatchError` as `decode_batch`."""
    logins = logins_of(batch)
    bounded = {
        "login": np.array(batch.login, np.uint64),
        "segment": np.array(batch.segment, np.uint64),
        "weight": np.array(batch.weight, np.uint64),
        "slot": np.array(logins.slots, np.uint64),
        "best": np.array(logins.best, np.uint64),
    }
    check_parts(batch, logins, {name: _extent(column) for name, column in bounded.items()})
    # All that was checked is below 2^63, so the same bits are the signed numbers.
    signed = {name: column.view(np.int64) for name, column in bounded.items()}
    return Columns(
        batch=batch,
        accounts=logins.accounts,
        workers=logins.workers,
        slots=logins.slots,
        best=signed["best"],
        login=signed["login"],
        segment=signed["segment"],
        weight=signed["weight"],
        time_ms=np.array(batch.time_offset_ms, np.int64) + np.int64(batch.time_base_ms),
        serial=np.array(batch.serial, np.int64),
        flags=np.array(batch.flags, np.int64),
    )


def decode_columns(payload: bytes) -> Columns:
    """Return the checked columns of the batch in `payload`; `BatchError` as `decode_batch`."""
    return columns_of(parse_batch(payload))


def _extent(column: NDArray[np.uint64]) -> Extent:
    return Extent(int(column.min()), int(column.max())) if len(column) else Extent(0, 0)
