"""What became of each submitted share. Pure.

Tests compare these with what a pool has credited: a share answered TRUE must be
there exactly once, one answered FALSE not at all, and of one without an answer
nothing can be said.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pithead.miner.work import Solution, job_mark


class Answer(Enum):
    """What a server said to a submit."""

    TRUE = "true"
    FALSE = "false"
    """Refused without a reason."""
    ERROR = "error"
    """Refused with a code or a text."""
    NONE = "none"
    """The connection ended first."""


@dataclass(frozen=True, slots=True)
class SubmitRecord:
    """One submitted share and its answer."""

    login: str
    salt: bytes
    """Producer in the job's coinbase, 16 bytes; empty in a job of another pool's making."""
    job: str
    """Job id; this platform's is the serial."""
    extranonce1: bytes
    extranonce2: bytes
    ntime: int
    nonce: int
    version: int
    """The header's whole version."""
    target: int
    """Target that the job came with."""
    answer: Answer
    code: int | None
    """Code of an error."""
    text: str


Recorder = Callable[[SubmitRecord], None]


@dataclass
class Tally:
    """What one worker, or a fleet, has seen so far."""

    accepted: int = 0
    rejected: Counter[int | None] = field(default_factory=Counter)
    """Refused shares by the code of their error, None without one."""
    unanswered: int = 0
    connections: int = 0
    """Connections that were made, so one more than reconnects."""
    hashes: int = 0

    def count(self, record: SubmitRecord) -> None:
        """Take one record in."""
        if record.answer is Answer.TRUE:
            self.accepted += 1
        elif record.answer is Answer.NONE:
            self.unanswered += 1
        else:
            self.rejected[record.code] += 1

    @property
    def submitted(self) -> int:
        """Shares sent of which it is known, or known to be unknown, what became of them."""
        return self.accepted + self.rejected.total() + self.unanswered


def total(tallies: list[Tally]) -> Tally:
    """Return the sum of tallies."""
    result = Tally()
    for tally in tallies:
        result.accepted += tally.accepted
        result.rejected += tally.rejected
        result.unanswered += tally.unanswered
        result.connections += tally.connections
        result.hashes += tally.hashes
    return result


def record_of(
    login: str, solution: Solution, answer: Answer, code: int | None = None, text: str = ""
) -> SubmitRecord:
    """Return the record of a solution that `login` submitted."""
    work = solution.work
    mark = job_mark(work.job.coinb1)
    return SubmitRecord(
        login,
        mark.salt if mark else b"",
        work.job.job_id,
        work.extranonce1,
        solution.extranonce2,
        solution.ntime,
        solution.nonce,
        solution.version,
        work.target,
        answer,
        code,
        text,
    )
