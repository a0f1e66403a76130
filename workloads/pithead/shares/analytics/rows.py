"""Batches of one pool into the rows of the columnar tables. Pure.

Whatever is the same for all shares of a login is looked up once a login and spread over
the shares by numpy. The rows depend on the batches, ids and `floor_s` alone, so a plan
that is repeated gives the same ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pithead.log.columns import Columns
from pithead.shares.analytics.reading import producer_id, region_id, worker_id
from pithead.store.columnar import Column

Ints = NDArray[np.int64]

NOBODY = 0
"""Account, and worker, of rejects whose login had no account when they were planned."""

SECOND_MAX = (1 << 32) - 1
"""The last second that a DateTime holds: 2106-02-07T06:28:15Z. A clock beyond it is cut off."""

LOGINS_MAX = 200_000
"""Logins whose numbers are remembered: about 50 MB."""


WorkerKey = tuple[str, str]
"""A worker as the log names it: account and worker."""


class WorkerName(NamedTuple):
    """A worker that was met for the first time."""

    place: int
    """In the numbers of its pool."""
    worker: int
    account: int
    name: str
    first_s: int
    """When, Unix seconds."""


class Numbers:
    """Numbers of a pool's workers, remembered as long as their accounts keep theirs: for ever.

    Each worker has a place in columns of numbers; place 0 is nobody's, -1 that of one who is
    not known.
    """

    def __init__(self, pool: str, pool_id: int) -> None:
        """`pool` is the poolId, `pool_id` its row's id."""
        self.pool = pool
        self.pool_id = pool_id
        self._forget()

    def _forget(self) -> None:
        self._places: dict[WorkerKey, int] = {}
        self._account = [NOBODY]
        self._worker = [NOBODY]
        self._name = [""]
        self.named = {0}
        """Places of workers whose names are written."""

    def trim(self) -> None:
        """Forget all when they are too many; only between two plans."""
        if len(self._name) > LOGINS_MAX:
            self._forget()

    def placed(self, columns: Columns, nobodies: frozenset[str] = frozenset()) -> "Placed":
        """A batch with the places of its logins; those of `nobodies` (account names) are 0."""
        keys = zip(columns.accounts, columns.workers, strict=True)
        found = np.array(list(map(self._places.get, keys, repeat(-1))), np.int64)
        if nobodies:
            found[[account in nobodies for account in columns.accounts]] = 0
        return Placed(columns, found)

    def again(self, placed: Sequence["Placed"]) -> "list[Placed]":
        """The same batches after more was learnt."""
        return [self.placed(each.columns) if (each.places < 0).any() else each for each in placed]

    def learn(self, keys: Iterable[WorkerKey], accounts: Mapping[str, int]) -> None:
        """Remember workers of accounts; those without an account are left out."""
        for key in keys:
            account = accounts.get(key[0])
            if account is not None and key not in self._places:
                self._places[key] = len(self._name)
                self._account.append(account)
                self._worker.append(worker_id(self.pool, account, key[1]))
                self._name.append(key[1])

    def columns(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Accounts and workers by place."""
        return np.array(self._account, np.uint64), np.array(self._worker, np.uint64)

    def new_names(self, places: Ints, seconds: NDArray[np.uint32]) -> list[WorkerName]:
        """Workers at these places whose names are not written, with when each was met first."""
        met, first = np.unique(places, return_index=True)
        return [
            WorkerName(place, self._worker[place], self._account[place], self._name[place], second)
            for place, second in zip(met.tolist(), seconds[first].tolist(), strict=True)
            if place not in self.named
        ]


@dataclass(slots=True)
class Rows:
    """What one plan writes."""

    shares: dict[str, Column]
    rejects: dict[str, Column]
    names: list[WorkerName]
    regions: dict[int, str] = field(default_factory=dict)
    too_old: int = 0
    """Shares and rejects left out because their raw rows could no longer be kept."""

    @property
    def minutes(self) -> Ints:
        """Minutes since the Unix epoch that the rows touch, in order."""
        touched = [np.asarray(each["t"], np.int64) // 60 for each in (self.shares, self.rejects)]
        return np.unique(np.concatenate(touched))


class Placed(NamedTuple):
    """A batch, and the places of its logins."""

    columns: Columns
    places: Ints

    def unknown(self, *, earning: bool) -> set[WorkerKey]:
        """Workers that are not known; with `earning` those alone that have shares in the batch."""
        missing = self.places < 0
        if not missing.any():
            return set()
        columns = self.columns
        if earning:
            has_shares = np.zeros(len(missing), np.bool_)
            has_shares[columns.login] = True
            missing &= has_shares
        return {
            (columns.accounts[index], columns.workers[index])
            for index in np.flatnonzero(missing).tolist()
        }


def unknown_of(placed: Iterable[Placed], *, earning: bool) -> set[WorkerKey]:
    """Workers of all batches that are not known."""
    return {key for each in placed for key in each.unknown(earning=earning)}


def build(placed: Sequence[Placed], numbers: Numbers, floor_s: int) -> Rows:
    """Rows of batches. Who is not known is nobody. What is older than `floor_s` is left out."""
    batches = [each.columns for each in placed]
    logins = _Logins(placed, numbers)
    rows = Rows(
        _shares(batches, logins, numbers),
        _rejects(batches, logins, numbers),
        numbers.new_names(logins.place, np.repeat(_bases(batches), logins.sizes)),
    )
    for table in (rows.shares, rows.rejects):
        young = np.asarray(table["t"]) >= floor_s
        if not young.all():
            rows.too_old += int(np.count_nonzero(~young))
            table |= {name: np.asarray(column)[young] for name, column in table.items()}
    rows.regions = {region_id(name): name for name in {each.batch.region for each in batches}}
    return rows


class _Logins:
    """The logins of all batches one after the other; a batch's begin at its offset."""

    def __init__(self, placed: Sequence[Placed], numbers: Numbers) -> None:
        batches = [each.columns for each in placed]
        self.place = np.maximum(_joined([each.places for each in placed]), 0)
        accounts, workers = numbers.columns()
        self.account = accounts[self.place]
        self.worker = workers[self.place]
        self.slot = _joined([each.slot for each in batches]).astype(np.uint8)
        self.best = _joined([each.best for each in batches])
        self.sizes = np.array([len(each.places) for each in placed], np.int64)
        self.offset = np.cumsum(self.sizes) - self.sizes


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


def _achieved(login: Ints, best: Ints) -> NDArray[np.uint64]:
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
    return {
        "t": np.repeat(_bases(batches), lengths),
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


def _joined(parts: Sequence[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _seconds(time_ms: Ints) -> NDArray[np.uint32]:
    return np.minimum(time_ms // 1000, SECOND_MAX).astype(np.uint32)


def _bases(batches: Sequence[Columns]) -> NDArray[np.uint32]:
    return _seconds(np.array([each.batch.time_base_ms for each in batches], np.int64))


def _regions(batches: Sequence[Columns]) -> NDArray[np.uint32]:
    numbers = {name: region_id(name) for name in {each.batch.region for each in batches}}
    return np.array([numbers[each.batch.region] for each in batches], np.uint32)


def _producers(batches: Sequence[Columns]) -> NDArray[np.uint64]:
    numbers = {name: producer_id(name) for name in {each.batch.producer for each in batches}}
    return np.array([numbers[each.batch.producer] for each in batches], np.uint64)


def _sequences(batches: Sequence[Columns]) -> NDArray[np.uint64]:
    return np.array([each.batch.sequence for each in batches], np.uint64)
