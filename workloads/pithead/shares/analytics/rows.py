"""Batches of one pool into the rows of the columnar tables. Pure.

Whatever is the same for all shares of a login is looked up once a login and spread over
the shares by numpy. The rows depend on the batches, ids and `floor_s` alone, so a plan
that is repeated gives the same ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pithead.log.columns import Columns
from pithead.shares.analytics.reading import producer_id, region_id, worker_id
from pithead.store.columnar import Column

NOBODY = 0
"""Account, and worker, of rejects whose login had no account when they were planned."""

SECOND_MAX = (1 << 32) - 1
"""The last second that a DateTime holds: 2106-02-07T06:28:15Z. A clock beyond it is cut off."""

LOGINS_MAX = 200_000
"""Logins whose numbers are remembered: about 50 MB."""


class WorkerKey(NamedTuple):
    """A worker as the log names it."""

    account: str
    worker: str


class WorkerIds(NamedTuple):
    """The numbers of a worker."""

    account: int
    worker: int


class Numbers:
    """Numbers of a pool's workers, remembered as long as their accounts keep theirs: for ever."""

    def __init__(self, pool: str, pool_id: int) -> None:
        """`pool` is the poolId, `pool_id` its row's id."""
        self.pool = pool
        self.pool_id = pool_id
        self._known: dict[WorkerKey, WorkerIds] = {}

    def trim(self) -> None:
        """Forget all when they are too many; only between two plans."""
        if len(self._known) > LOGINS_MAX:
            self._known.clear()

    def knows(self, key: WorkerKey) -> bool:
        """Whether the numbers are remembered."""
        return key in self._known

    def learn(self, keys: Iterable[WorkerKey], accounts: Mapping[str, int]) -> None:
        """Remember workers of accounts; those without an account are left out."""
        for key in keys:
            account = accounts.get(key.account)
            if account is not None:
                self._known[key] = WorkerIds(account, worker_id(self.pool, account, key.worker))

    def of(self, key: WorkerKey) -> WorkerIds:
        """Numbers of a worker, those of nobody for one without an account."""
        return self._known.get(key, _NOBODY)


_NOBODY = WorkerIds(NOBODY, NOBODY)


@dataclass(slots=True)
class Rows:
    """What one plan writes."""

    shares: dict[str, Column]
    rejects: dict[str, Column]
    names: dict[WorkerIds, tuple[str, int]] = field(default_factory=dict)
    """Of each worker met: its name, and when it was first seen here, Unix seconds."""
    regions: dict[int, str] = field(default_factory=dict)
    too_old: int = 0
    """Shares and rejects left out because their raw rows could no longer be kept."""

    @property
    def minutes(self) -> NDArray[np.int64]:
        """Minutes since the Unix epoch that the rows touch, in order."""
        touched = [np.asarray(each["t"], np.int64) // 60 for each in (self.shares, self.rejects)]
        return np.unique(np.concatenate(touched))


def keys_of(columns: Columns) -> list[WorkerKey]:
    """The workers of a batch, in the order of its logins."""
    return [WorkerKey(*pair) for pair in zip(columns.accounts, columns.workers, strict=True)]


def keys_with_shares(columns: Columns) -> set[WorkerKey]:
    """The workers of a batch that have shares in it."""
    keys = keys_of(columns)
    return {keys[index] for index in np.unique(columns.login).tolist()}


def build(
    batches: Sequence[Columns], numbers: Numbers, nobodies: frozenset[str], floor_s: int
) -> Rows:
    """Rows of batches. Rejects of `nobodies` (account names) are nobody's, whoever they are now.

    What is older than `floor_s` is left out.
    """
    logins = _Logins(batches, numbers, nobodies)
    rows = Rows(_shares(batches, logins, numbers), _rejects(batches, logins, numbers))
    for table in (rows.shares, rows.rejects):
        young = np.asarray(table["t"]) >= floor_s
        if not young.all():
            rows.too_old += int(np.count_nonzero(~young))
            table |= {name: np.asarray(column)[young] for name, column in table.items()}
    rows.regions = {region_id(name): name for name in {each.batch.region for each in batches}}
    for columns, ids in zip(batches, logins.ids, strict=True):
        second = _seconds(np.array([columns.batch.time_base_ms], np.int64)).item()
        for pair, name in zip(ids, columns.workers, strict=True):
            if pair != _NOBODY and (pair not in rows.names or rows.names[pair][1] > second):
                rows.names[pair] = (name, second)
    return rows


class _Logins:
    """The logins of all batches one after the other; a batch's begin at its offset."""

    def __init__(
        self, batches: Sequence[Columns], numbers: Numbers, nobodies: frozenset[str]
    ) -> None:
        self.ids = [
            [_NOBODY if key.account in nobodies else numbers.of(key) for key in keys_of(columns)]
            for columns in batches
        ]
        flat = [pair for ids in self.ids for pair in ids]
        self.account = np.array([pair.account for pair in flat], np.uint64)
        self.worker = np.array([pair.worker for pair in flat], np.uint64)
        self.slot = _joined([each.slot for each in batches]).astype(np.uint8)
        self.best = _joined([each.best for each in batches])
        sizes = np.array([len(ids) for ids in self.ids], np.int64)
        self.offset = np.cumsum(sizes) - sizes


def _shares(batches: Sequence[Columns], logins: _Logins, numbers: Numbers) -> dict[str, Column]:
    lengths = np.array([len(each) for each in batches], np.int64)
    rows = int(lengths.sum())
    login = _joined([each.login for each in batches]) + np.repeat(logins.offset, lengths)
    segments = [[segment.height for segment in each.batch.segments] for each in batches]
    sizes = np.array([len(each) for each in segments], np.int64)
    heights = np.array([height for each in segments for height in each], np.uint32)
    segment = _joined([each.segment for each in batches]) + np.repeat(
        np.cumsum(sizes) - sizes, lengths
    )
    time_ms = _joined([each.time_ms for each in batches])
    flags = _joined([each.flags for each in batches])
    return {
        "t": _seconds(time_ms),
        "ms": (time_ms % 1000).astype(np.uint16),
        "pool": np.full(rows, numbers.pool_id, np.uint32),
        "account": logins.account[login],
        "worker": logins.worker[login],
        "region": np.repeat(_regions(batches), lengths),
        "slot": logins.slot[login],
        "height": heights[segment],
        "weight": _joined([each.weight for each in batches]).astype(np.uint64),
        "achieved": _achieved(login, logins.best),
        "serial": _joined([each.serial for each in batches]).astype(np.uint32),
        "solved": (flags & 1).astype(np.uint8),
        "producer": np.repeat(_producers(batches), lengths),
        "seq": np.repeat(_sequences(batches), lengths),
        "idx": (np.arange(rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)).astype(
            np.uint32
        ),
    }


def _achieved(login: NDArray[np.int64], best: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A login's best hash stands at its last share of the batch, 0 at the others."""
    last = np.full(len(best), -1, np.int64)
    # Of equal indices the last assignment holds.
    last[login] = np.arange(len(login))
    present = last >= 0
    achieved = np.zeros(len(login), np.uint64)
    achieved[last[present]] = best[present].astype(np.uint64)
    return achieved


def _rejects(batches: Sequence[Columns], logins: _Logins, numbers: Numbers) -> dict[str, Column]:
    lengths = np.array([len(each.batch.rejects) for each in batches], np.int64)
    rows = int(lengths.sum())
    found = [reject for each in batches for reject in each.batch.rejects]
    login = np.array([each.login for each in found], np.int64) + np.repeat(logins.offset, lengths)
    bases = _seconds(np.array([each.batch.time_base_ms for each in batches], np.int64))
    return {
        "t": np.repeat(bases, lengths),
        "pool": np.full(rows, numbers.pool_id, np.uint32),
        "account": logins.account[login],
        "worker": logins.worker[login],
        "region": np.repeat(_regions(batches), lengths),
        "slot": logins.slot[login],
        "reason": np.array([min(each.reason, 255) for each in found], np.uint8),
        "count": np.array([each.count for each in found], np.uint32),
        "producer": np.repeat(_producers(batches), lengths),
        "seq": np.repeat(_sequences(batches), lengths),
        "idx": (np.arange(rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)).astype(
            np.uint32
        ),
    }


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _seconds(time_ms: NDArray[np.int64]) -> NDArray[np.uint32]:
    return np.minimum(time_ms // 1000, SECOND_MAX).astype(np.uint32)


def _regions(batches: Sequence[Columns]) -> NDArray[np.uint32]:
    return np.array([region_id(each.batch.region) for each in batches], np.uint32)


def _producers(batches: Sequence[Columns]) -> NDArray[np.uint64]:
    return np.array([producer_id(each.batch.producer) for each in batches], np.uint64)


def _sequences(batches: Sequence[Columns]) -> NDArray[np.uint64]:
    return np.array([each.batch.sequence for each in batches], np.uint64)
