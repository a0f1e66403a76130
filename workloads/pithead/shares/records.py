"""What of the log can be booked for a pool, and why the rest cannot. Pure.

A batch is brought down to what booking needs while its texts are still in the
processor's cache: a poll holds thousands of them, and going over all of them again
would cost more than the work itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pithead.contracts.share_log_pb2 import Segment
from pithead.log.codec import SLOT_MAX, BatchError, NewerFormat
from pithead.log.columns import Columns, decode_columns
from pithead.log.share_log import LogRecord
from pithead.shares.checks import Share, share_due
from pithead.shares.fold import BATCH_WEIGHT_MAX, Ints, batch_weight
from pithead.shares.states import INT63_MAX

NOUGHTS: Ints = np.zeros(4096, np.int64)
"""Places of a batch that has one: shared, so that a poll of thousands of them stays small."""


@dataclass(frozen=True, slots=True)
class Read:
    """One record of a partition; `columns` or, for one to be set aside, `fault`."""

    partition: str
    record: LogRecord
    columns: Columns | None
    fault: str = ""
    weight: int = 0
    newer: bool = False
    """Whether its version alone is the fault: a later release reads it, so none passes it over."""


class SegmentKey(NamedTuple):
    """Identity of a segment on its coin."""

    parent: bytes
    height: int
    bits: int
    aux: tuple[tuple[int, str, int, int], ...]
    """(chain id, parent hex, height, bits), in order."""


def segment_key(segment: Segment) -> SegmentKey:
    """Key of a segment as a batch carries it."""
    aux = sorted((a.chain_id, a.parent.hex(), a.height, a.bits) for a in segment.aux)
    return SegmentKey(segment.parent, segment.height, segment.bits, tuple(aux))


class Place(NamedTuple):
    """What shares of a batch have in common but for account and minute."""

    slot: int
    segment: SegmentKey


class Reject(NamedTuple):
    """Refused shares of one account for one reason."""

    account: str
    reason: int
    shares: int


class Find(NamedTuple):
    """A credited share that solved a block."""

    segment: SegmentKey
    account: str


class Session(NamedTuple):
    """Who a connection is."""

    extranonce1: bytes
    account: str
    worker: str
    agent: str


@dataclass(slots=True, eq=False)
class Entry:
    """A batch as it is booked. Not frozen: that alone would cost a microsecond a batch."""

    partition: str
    position: int
    moment_ms: int
    """When the log took it; by its producer's own clock where the log keeps no time."""
    payload: bytes
    """The record, empty when the producer is known to be this pool's: nothing will set it aside."""
    producer: bytes
    sequence: int
    promise: int
    end: bool
    region: str
    time_base_ms: int
    values: dict[SegmentKey, int]
    """Block value of each segment that has shares."""
    rejects: Sequence[Reject]
    sessions: Sequence[Session]
    finds: Sequence[Find]
    due: Share | None
    """The share whose header is to be checked; None when there is none."""
    slots: frozenset[int]
    """Of all its logins."""
    places: Sequence[Place]
    unknown: Sequence[str]
    """Accounts with shares whose id was not known."""
    place: Ints
    """By share, as the following: index into `places`."""
    account: Ints
    """Id, or -1 - index into `unknown`."""
    minute: Ints
    weight: Ints

    def __len__(self) -> int:
        return len(self.account)


@dataclass(frozen=True, slots=True)
class Aside:
    """A record that cannot be booked."""

    partition: str
    position: int
    payload: bytes
    fault: str


def entry_of(
    partition: str,
    record: LogRecord,
    columns: Columns,
    ids: Ints,
    *,
    ours: bool,
    checked: bool = True,
) -> Entry:
    """Bring a batch down to what booking needs.

    `ids` are account ids by login, 0 for unknown; `ours` says that its producer has
    written for this pool before, `checked` that the share it must show is of interest.
    """
    batch, accounts = columns.batch, columns.accounts
    moment_ms = batch.time_base_ms if record.appended_ms is None else record.appended_ms
    unknown: list[str] = []
    if not ids.all():
        ids = ids.copy()
        # A login without shares of its own makes no account.
        used = np.unique(columns.login)
        for index in used[ids[used] == 0].tolist():
            unknown.append(accounts[index])
            ids[index] = -len(unknown)
    slots, places, place, values = _placed(columns)
    return Entry(
        partition=partition,
        position=record.position,
        moment_ms=moment_ms,
        payload=b"" if ours else record.payload,
        producer=batch.producer,
        sequence=batch.sequence,
        promise=batch.promise,
        end=batch.end,
        region=batch.region,
        time_base_ms=batch.time_base_ms,
        values=values,
        rejects=[
            Reject(accounts[reject.login], int(reject.reason), reject.count)
            for reject in batch.rejects
        ],
        sessions=[
            Session(
                session.extranonce1,
                accounts[session.login],
                columns.workers[session.login],
                session.agent,
            )
            for session in batch.sessions
        ],
        finds=_finds(columns),
        due=share_due(columns) if checked else None,
        slots=slots,
        places=places,
        unknown=unknown,
        place=place,
        account=ids[columns.login],
        minute=columns.minute,
        weight=columns.weight,
    )


def _finds(columns: Columns) -> list[Find]:
    # Nearly always nothing; counting costs a fraction of what `any` does.
    if not np.count_nonzero(columns.flags):
        return []
    segments = columns.batch.segments
    return [
        Find(
            segment_key(segments[int(columns.segment[index])]),
            columns.accounts[int(columns.login[index])],
        )
        for index in np.flatnonzero(columns.solved).tolist()
    ]


def _placed(
    columns: Columns,
) -> tuple[frozenset[int], list[Place], Ints, dict[SegmentKey, int]]:
    """Slots, places, the place of each share, and the values of the segments in use."""
    segments, shares = columns.batch.segments, len(columns)
    if not len(columns.slot):
        return frozenset(), [], NOUGHTS[:0], {}
    first = int(columns.slot[0])
    one_slot = bool((columns.slot == first).all())
    if one_slot and len(segments) == 1:
        # The usual batch: one scheme, one block to build on.
        key = segment_key(segments[0])
        places = [Place(first, key)] if shares else []
        values = {key: segments[0].value} if shares else {}
        place = NOUGHTS[:shares] if shares <= len(NOUGHTS) else np.zeros(shares, np.int64)
        return frozenset((first,)), places, place, values
    slots = np.unique(columns.slot)
    pairs, place = np.unique(
        columns.segment * (SLOT_MAX + 1) + columns.slot[columns.login], return_inverse=True
    )
    keys: dict[int, SegmentKey] = {}
    values = {}
    places = []
    for pair in pairs.tolist():
        index, slot = divmod(pair, SLOT_MAX + 1)
        if index not in keys:
            keys[index] = segment_key(segments[index])
            values[keys[index]] = segments[index].value
        places.append(Place(slot, keys[index]))
    return frozenset(slots.tolist()), places, place.astype(np.int64), values


def examine(partition: str, record: LogRecord, pool: str, coin: str) -> Read:
    """Decode a record and check that it is this pool's and plausible."""
    try:
        columns = decode_columns(record.payload)
        weight = batch_weight(columns)
        _check(columns, weight, pool, coin)
    except BatchError as error:
        return Read(partition, record, None, str(error), newer=isinstance(error, NewerFormat))
    return Read(partition, record, columns, weight=weight)


def _check(columns: Columns, weight: int, pool: str, coin: str) -> None:
    batch = columns.batch
    if batch.pool != pool:
        raise BatchError("pool", f"expected {pool}, got {batch.pool}")
    if batch.coin != coin:
        raise BatchError("coin", f"expected {coin}, got {batch.coin}")
    if batch.sequence > INT63_MAX - 1:
        raise BatchError("sequence", f"{batch.sequence} is above {INT63_MAX - 1}")
    if weight > BATCH_WEIGHT_MAX:
        raise BatchError("weight", f"{weight} in one batch, at most {BATCH_WEIGHT_MAX} is believed")
