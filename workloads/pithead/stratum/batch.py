"""The batch that is collecting: columns of the log's format, and who waits for them. Pure.

Taking a share in costs two list appends; dictionaries are built as logins and
segments turn up; the best hash of each login, and the share whose header goes along
as a sample for the hub, are found when the batch is sealed. Nothing here knows the
log, a connection is whatever can write.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from pithead.coins.weight import TWO_256
from pithead.contracts import share_log_pb2 as wire
from pithead.contracts.share_log_pb2 import RejectReason, ShareBatch
from pithead.log.codec import WEIGHT_MAX
from pithead.log.samples import sampled_share
from pithead.stratum import encoding
from pithead.stratum.jobs import Segment
from pithead.stratum.login import Login

SOLVED = 1
"""Bit of `flags`: the share solved a block."""


class Answerable(Protocol):
    """A connection as the batcher sees it."""

    def write(self, data: bytes) -> None:
        """Send bytes; nothing happens when the connection is gone."""

    def login_durable(self, user: str, login: Login, request_id: bytes, *, durable: bool) -> None:
        """Hear whether the session record of a login is in the log."""


class Identity(Protocol):
    """Who writes; the same in every batch of a process."""

    @property
    def producer(self) -> bytes:
        """UUIDv7 of the process."""

    @property
    def pool(self) -> str:
        """poolId."""

    @property
    def coin(self) -> str:
        """`<coin>/<network>`."""

    @property
    def region(self) -> str:
        """Region id."""


class Credited(NamedTuple):
    """What a durable batch was worth."""

    shares: int
    weight: int


class OpenBatch:
    """Shares, rejects and sessions that one record of the log will hold."""

    __slots__ = (
        "_answers",
        "_logins",
        "_rejects",
        "_segments",
        "_sessions",
        "_shares",
        "_waiting",
        "time_base_ms",
    )

    def __init__(self, time_base_ms: int) -> None:
        self.time_base_ms = time_base_ms
        self._logins: dict[Login, int] = {}
        self._segments: dict[bytes, tuple[int, Segment]] = {}
        self._shares: list[tuple[int, int, int, int, int, int, int, bytes]] = []
        """Login, segment, weight, time offset, serial, flags: the log's columns, share by share.
        Then the share's hash and header."""
        self._answers: list[tuple[Answerable, bytes]] = []
        self._rejects: dict[tuple[int, RejectReason.ValueType], int] = {}
        self._sessions: list[tuple[int, bytes, str]] = []
        self._waiting: list[tuple[Answerable, str, Login, bytes]] = []

    def __len__(self) -> int:
        return len(self._shares)

    @property
    def session_count(self) -> int:
        """Session records in this batch."""
        return len(self._sessions)

    def share(
        self,
        login: Login,
        segment: Segment,
        weight: int,
        serial: int,
        now_ms: int,
        writer: Answerable,
        request_id: bytes,
        *,
        header: bytes,
        pow_value: int,
        solved: bool,
    ) -> None:
        """Collect a valid share; its `true` goes to `writer` once the batch is durable."""
        logins = self._logins
        index = logins.get(login)
        if index is None:
            index = logins[login] = len(logins)
        known = self._segments.get(segment.parent)
        if known is None:
            known = self._segments[segment.parent] = (len(self._segments), segment)
        elif known[1] is not segment and known[1].value != segment.value:
            # The log wants the value of the newest template seen on this parent.
            self._segments[segment.parent] = (known[0], segment)
        flags = SOLVED if solved else 0
        offset_ms = now_ms - self.time_base_ms
        self._shares.append((index, known[0], weight, offset_ms, serial, flags, pow_value, header))
        self._answers.append((writer, request_id))

    def reject(self, login: Login, reason: RejectReason.ValueType, logins_max: int) -> None:
        """Count a share that was refused, unless that took more than so many logins."""
        if len(self._logins) >= logins_max and login not in self._logins:
            return
        key = (self._logins.setdefault(login, len(self._logins)), reason)
        self._rejects[key] = self._rejects.get(key, 0) + 1

    def session(
        self,
        login: Login,
        user: str,
        extranonce1: bytes,
        agent: str,
        writer: Answerable,
        request_id: bytes,
    ) -> None:
        """Collect a session record; `writer` hears when it is durable."""
        index = self._logins.setdefault(login, len(self._logins))
        self._sessions.append((index, extranonce1, agent))
        self._waiting.append((writer, user, login, request_id))

    def own_promise(self, promise: int) -> int:
        """Return `promise`, lowered to the lowest height that this batch itself credits."""
        return min((promise, *(known[1].height for known in self._segments.values())))

    def seal(
        self, identity: Identity, sequence: int, promise: int, shift: int, *, end: bool
    ) -> ShareBatch:
        """Return the message under its sequence number; `shift` is that of the coin's weights."""
        columns = zip(*self._shares, strict=True) if self._shares else ((),) * 8
        login, segment_index, weight, offset, serial, flags, pow_values, headers = columns
        logins = self._logins
        batch = ShareBatch(
            producer=identity.producer,
            sequence=sequence,
            promise=promise,
            pool=identity.pool,
            coin=identity.coin,
            region=identity.region,
            time_base_ms=self.time_base_ms,
            login=login,
            segment=segment_index,
            weight=weight,
            time_offset_ms=offset,
            serial=serial,
            flags=flags,
            end=end,
            account=[known.account for known in logins],
            worker=[known.worker for known in logins],
            slot=[known.slot for known in logins],
            best=best_weights(len(logins), login, pow_values, shift),
        )
        if headers:
            index = sampled_share(identity.producer, sequence, len(headers))
            batch.samples.append(wire.ShareSample(share=index, header=headers[index]))
        for _, segment in self._segments.values():
            batch.segments.append(
                wire.Segment(
                    parent=segment.parent,
                    height=segment.height,
                    bits=segment.bits,
                    value=segment.value,
                )
            )
        for (login_index, reason), count in self._rejects.items():
            batch.rejects.append(wire.RejectCount(login=login_index, reason=reason, count=count))
        for login_index, extranonce1, agent in self._sessions:
            batch.sessions.append(
                wire.SessionRecord(extranonce1=extranonce1, login=login_index, agent=agent)
            )
        return batch

    def answer_all(self) -> Credited:
        """Tell everybody who waits that the batch is durable."""
        count, weight = len(self._answers), 0
        answers: dict[Answerable, bytes] = {}
        for writer, request_id in self._answers:
            line = encoding.answer_true(request_id)
            before = answers.get(writer)
            answers[writer] = line if before is None else before + line
        for writer, data in answers.items():
            writer.write(data)
        logins = list(self._logins)
        for share in self._shares:
            logins[share[0]].work += share[2]
            weight += share[2]
        for writer, user, login, request_id in self._waiting:
            writer.login_durable(user, login, request_id, durable=True)
        self._forget()
        return Credited(count, weight)

    def refuse_all(self, refusal: encoding.Refusal) -> int:
        """Tell everybody who waits that the log did not confirm; returns how many shares."""
        count = len(self._answers)
        for writer, request_id in self._answers:
            writer.write(encoding.refused(request_id, refusal))
        for writer, user, login, request_id in self._waiting:
            writer.login_durable(user, login, request_id, durable=False)
        self._forget()
        return count

    def drop_shares(self) -> None:
        """Forget shares and sessions, which nobody awaits any more; counters stay."""
        self._shares.clear()
        self._segments.clear()
        self._sessions.clear()

    def _forget(self) -> None:
        self._answers = []
        self._waiting = []


def best_weights(
    logins: int, indices: Iterable[int], pow_values: Iterable[int], shift: int
) -> list[int]:
    """Return what the lowest hash of each of so many logins was worth, 0 for one without any."""
    lowest = [TWO_256] * logins
    for index, value in zip(indices, pow_values, strict=True):
        if value < lowest[index]:  # noqa: PLR1730 - min() would be a call for each share
            lowest[index] = value
    return [min(TWO_256 // (value + 1) >> shift, WEIGHT_MAX) for value in lowest]
