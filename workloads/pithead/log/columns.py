"""A share batch as numpy columns, for consumers that count millions of shares. Pure.

Apart from `codec`, so that edges, which only write, do not load numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.codec import Extents, check_parts, logins_of, parse_batch

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
    slot: NDArray[np.int64]
    """By login: the scheme slot."""
    best: NDArray[np.int64]
    """By login: weight that the best hash of its shares was worth, 0 when that is not known."""
    login: NDArray[np.int64]
    """By share, as all that follows: index into the columns by login."""
    segment: NDArray[np.int64]
    """Index into `batch.segments`."""
    weight: NDArray[np.int64]
    """Expected hashes >> shift, at least 1."""
    time_ms: NDArray[np.int64]
    """The producer's own clock, Unix milliseconds."""

    @property
    def slots(self) -> list[int]:
        """By login: the scheme slot."""
        slots: list[int] = self.slot.tolist()
        return slots

    @property
    def serial(self) -> NDArray[np.int64]:
        """Job serial."""
        return np.array(self.batch.serial, np.int64)

    @property
    def flags(self) -> NDArray[np.int64]:
        """Bits of which SOLVED is one."""
        return np.array(self.batch.flags, np.int64)

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
    login = np.array(batch.login, np.uint64)
    segment = np.array(batch.segment, np.uint64)
    weight = np.array(batch.weight, np.uint64)
    slot = np.array(logins.slots, np.uint64)
    best = np.array(logins.best, np.uint64)
    extents = Extents(
        login=_greatest(login),
        segment=_greatest(segment),
        weight_min=int(weight.min()) if len(weight) else 0,
        weight=_greatest(weight),
        slot=_greatest(slot),
        best=_greatest(best),
    )
    check_parts(batch, logins, extents)
    # All that was checked is below 2^63, so the same bits are the signed numbers.
    return Columns(
        batch=batch,
        accounts=logins.accounts,
        workers=logins.workers,
        slot=slot.view(np.int64),
        best=best.view(np.int64),
        login=login.view(np.int64),
        segment=segment.view(np.int64),
        weight=weight.view(np.int64),
        time_ms=np.array(batch.time_offset_ms, np.int64) + np.int64(batch.time_base_ms),
    )


def decode_columns(payload: bytes) -> Columns:
    """Return the checked columns of the batch in `payload`; `BatchError` as `decode_batch`."""
    return columns_of(parse_batch(payload))


def _greatest(column: NDArray[np.uint64]) -> int:
    return int(column.max()) if len(column) else 0
