"""The batch that is collecting: columns of the log's format, and who waits for them. Pure.

Appending a share costs a few list appends; dictionaries are built as logins and
segments turn up. Nothing here knows the log, a connection is whatever can write.
"""

from typing import Protocol

from pithead.contracts import share_log_pb2 as wire
from pithead.contracts.share_log_pb2 import RejectReason, ShareBatch
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


class OpenBatch:
    """Shares, rejects and sessions that one record of the log will hold."""

    __slots__ = (
        "_flags",
        "_ids",
        "_login",
        "_logins",
        "_offsets",
        "_rejects",
        "_segment",
        "_segments",
        "_serials",
        "_sessions",
        "_waiting",
        "_weights",
        "_writers",
        "time_base_ms",
    )

    def __init__(self, time_base_ms: int) -> None:
        self.time_base_ms = time_base_ms
        self._logins: dict[Login, int] = {}
        self._segments: dict[bytes, tuple[int, Segment]] = {}
        self._login: list[int] = []
        self._segment: list[int] = []
        self._weights: list[int] = []
        self._offsets: list[int] = []
        self._serials: list[int] = []
        self._flags: list[int] = []
        self._writers: list[Answerable] = []
        self._ids: list[bytes] = []
        self._rejects: dict[tuple[int, RejectReason.ValueType], int] = {}
        self._sessions: list[tuple[int, bytes, str]] = []
        self._waiting: list[tuple[Answerable, str, Login, bytes]] = []

    def __len__(self) -> int:
        return len(self._login)

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
        self._login.append(index)
        self._segment.append(known[0])
        self._weights.append(weight)
        self._offsets.append(now_ms - self.time_base_ms)
        self._serials.append(serial)
        self._flags.append(SOLVED if solved else 0)
        self._writers.append(writer)
        self._ids.append(request_id)

    def reject(self, login: Login, reason: RejectReason.ValueType) -> None:
        """Count a share that was refused."""
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

    def seal(self, identity: Identity, sequence: int, promise: int, *, end: bool) -> ShareBatch:
        """Return the message under its sequence number."""
        batch = ShareBatch(
            producer=identity.producer,
            sequence=sequence,
            promise=promise,
            pool=identity.pool,
            coin=identity.coin,
            region=identity.region,
            time_base_ms=self.time_base_ms,
            login=self._login,
            segment=self._segment,
            weight=self._weights,
            time_offset_ms=self._offsets,
            serial=self._serials,
            flags=self._flags,
            end=end,
        )
        for login in self._logins:
            batch.logins.append(
                wire.Login(account=login.account, worker=login.worker, slot=login.slot)
            )
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

    def answer_all(self) -> int:
        """Tell everybody who waits that the batch is durable; returns how many shares."""
        count = len(self._ids)
        answers: dict[Answerable, bytes] = {}
        for writer, request_id in zip(self._writers, self._ids, strict=True):
            line = encoding.answer_true(request_id)
            before = answers.get(writer)
            answers[writer] = line if before is None else before + line
        for writer, data in answers.items():
            writer.write(data)
        logins = list(self._logins)
        for index, weight in zip(self._login, self._weights, strict=True):
            logins[index].work += weight
        for writer, user, login, request_id in self._waiting:
            writer.login_durable(user, login, request_id, durable=True)
        self._forget()
        return count

    def refuse_all(self, refusal: encoding.Refusal) -> int:
        """Tell everybody who waits that the log did not confirm; returns how many shares."""
        count = len(self._ids)
        for writer, request_id in zip(self._writers, self._ids, strict=True):
            writer.write(encoding.error(request_id, refusal.code, refusal.text))
        for writer, user, login, request_id in self._waiting:
            writer.login_durable(user, login, request_id, durable=False)
        self._forget()
        return count

    def drop_shares(self) -> None:
        """Forget shares and sessions, which nobody awaits any more; counters stay."""
        for column in (self._login, self._segment, self._weights, self._offsets):
            column.clear()
        self._serials.clear()
        self._flags.clear()
        self._segments.clear()
        self._sessions.clear()

    def _forget(self) -> None:
        self._writers = []
        self._ids = []
        self._waiting = []
