"""Is a submitted share valid, for how much, and is it a block? Pure.

Two steps, because hashing may happen on another thread between them:

    prepare   job known, extranonce2, time, version bits, duplicate -> Candidate
    conclude  PoW, and once more stale and duplicate, since time has passed

The weight is that with which the serial was sent on this very connection
(JobDifficulty). A solve is recognised whatever else is wrong with its moment:
a stale share is hashed too, and the caller submits its block.
"""

from struct import Struct

import msgspec

from pithead.contracts.share_log_pb2 import RejectReason
from pithead.stratum.errors import Code
from pithead.stratum.jobs import JobBook, Variant
from pithead.stratum.messages import SubmitAsked
from pithead.stratum.parsing import parse_hex
from pithead.stratum.protocol import EXTRANONCE2_SIZE

NTIME_AHEAD_S_MAX = 7000
"""As ckpool has it; nodes refuse blocks more than 7200 s ahead of their own clock."""

_TRIED = Struct(f">{EXTRANONCE2_SIZE}sII")
"""extranonce2, ntime and nonce, as a submit names them one after the other."""


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A share that is not credited: its reason in the log, its code and text for the miner."""

    reason: RejectReason.ValueType
    code: Code
    text: str


class Sent(msgspec.Struct, frozen=True, gc=False):
    """A serial as one connection was sent it."""

    variant: Variant
    weight: int
    target: int


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A share whose hash decides; numbers as the header has them."""

    sent: Sent
    header: bytes
    key: bytes
    """What makes the header unique within its serial."""
    extranonce1: bytes
    extranonce2: bytes
    ntime: int
    nonce: int
    version: int


def stale(text: str) -> Rejected:
    """Return the refusal of a stale share."""
    return Rejected(RejectReason.REJECT_STALE, Code.JOB_NOT_FOUND, text)


def invalid(text: str) -> Rejected:
    """Return the refusal of a share of wrong content."""
    return Rejected(RejectReason.REJECT_INVALID, Code.OTHER, text)


UNAUTHORIZED = Rejected(
    RejectReason.REJECT_UNAUTHORIZED,
    Code.UNAUTHORIZED,
    "unauthorized worker: authorize this login on this connection first",
)
UNKNOWN_JOB = stale("job not found")
BAD_SUBMIT = invalid("malformed submit")
DUPLICATE = Rejected(RejectReason.REJECT_DUPLICATE, Code.DUPLICATE, "duplicate share")
LOW = Rejected(RejectReason.REJECT_LOW, Code.LOW_DIFFICULTY, "low difficulty share")
BAD_EXTRANONCE2 = invalid(f"extranonce2 must be {2 * EXTRANONCE2_SIZE} hex digits")
BAD_NTIME = invalid("ntime must be 8 hex digits")
BAD_NONCE = invalid("nonce must be 8 hex digits")
BAD_VERSION = invalid("version bits must be 8 hex digits")
NTIME_RANGE = invalid(f"ntime out of range: the job's time to {NTIME_AHEAD_S_MAX} s after it")
VERSION_RANGE = invalid("version bits outside the negotiated mask")


def prepare(
    book: JobBook,
    sent: Sent,
    extranonce1: bytes,
    version_mask: int,
    submit: SubmitAsked,
    now_ms: int,
) -> Candidate | Rejected:
    """Check everything about a share but its hash.

    A stale share of correct content becomes a candidate all the same: it may be a
    block. `conclude` refuses its credit.
    """
    candidate = _read(sent, extranonce1, version_mask, submit)
    if type(candidate) is Rejected:
        # The moment is the first thing that a miner should hear of.
        text = book.why_stale(sent.variant.entry, now_ms)
        return candidate if text is None else stale(text)
    return candidate


def _read(
    sent: Sent, extranonce1: bytes, version_mask: int, submit: SubmitAsked
) -> Candidate | Rejected:
    if len(submit.extranonce2) != 2 * EXTRANONCE2_SIZE:
        return BAD_EXTRANONCE2
    if len(submit.ntime) != 8:
        return BAD_NTIME
    # One conversion for the three: lengths are known, so no field can lend digits to another.
    tried = parse_hex(submit.extranonce2 + submit.ntime + submit.nonce, _TRIED.size)
    if tried is None:
        return _not_hex(submit)
    extranonce2, ntime, nonce = _TRIED.unpack(tried)
    variant = sent.variant
    job = variant.job
    template = job.work.template
    if not 0 <= ntime - template.time <= NTIME_AHEAD_S_MAX:
        return NTIME_RANGE
    version = template.version
    if submit.version_bits:
        bits_bytes = parse_hex(submit.version_bits, 4)
        if bits_bytes is None:
            return BAD_VERSION
        bits = int.from_bytes(bits_bytes, "big")
        if bits & ~version_mask:
            return VERSION_RANGE
        version = version & ~version_mask | bits
    key = b"%b%b%b" % (extranonce1, tried, version.to_bytes(4, "big"))
    if key in variant.accepted:
        return DUPLICATE
    header = job.header(extranonce1, extranonce2, ntime, nonce, version)
    return Candidate(sent, header, key, extranonce1, extranonce2, ntime, nonce, version)


def _not_hex(submit: SubmitAsked) -> Rejected:
    if parse_hex(submit.extranonce2, EXTRANONCE2_SIZE) is None:
        return BAD_EXTRANONCE2
    return BAD_NTIME if parse_hex(submit.ntime, 4) is None else BAD_NONCE


def is_block(candidate: Candidate, pow_value: int) -> bool:
    """Tell whether the hash meets the network's target."""
    return pow_value <= candidate.sent.variant.entry.network_target


def conclude(book: JobBook, candidate: Candidate, pow_value: int, now_ms: int) -> Rejected | None:
    """Decide on a hashed share; None when it may be credited.

    Its key is not noted as credited yet: the caller does so with `JobBook.accept`
    in the same breath in which it hands the share on.
    """
    variant = candidate.sent.variant
    text = book.why_stale(variant.entry, now_ms)
    if text is not None:
        return stale(text)
    if candidate.key in variant.accepted:
        return DUPLICATE
    if pow_value > candidate.sent.target:
        return LOW
    return None
