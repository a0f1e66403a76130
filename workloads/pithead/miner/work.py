"""The search: nonces of one job at a time, in slices, at a bounded rate. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isinf
from struct import Struct
from typing import NamedTuple

from pithead.coins.hashing import scrypt_pow, sha256d_pow
from pithead.coins.job import (
    EXTRANONCE_BYTES,
    MAGIC,
    MARK_BYTES,
    SALT_BYTES,
    SERIAL_BYTES,
    TAG_BYTES,
)
from pithead.coins.params import DIFF1_SCRYPT, DIFF1_SHA256D
from pithead.miner.protocol import Work

NONCES = 1 << 32
BURST_S = 0.25
"""What a worker may make up after it was held: more would flood the pool after a pause."""
TICK_S = 0.05
"""How long a worker gathers hashes before it searches: twenty wake-ups a second."""

_NONCE = Struct("<I")
_MARK_HEAD_BYTES = TAG_BYTES + SALT_BYTES + SERIAL_BYTES
assert MARK_BYTES == _MARK_HEAD_BYTES + EXTRANONCE_BYTES


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A proof-of-work function as a miner needs it."""

    name: str
    pow: Callable[[bytes], int]
    """PoW value of an 80-byte header; a share's is not above its target."""
    diff1_target: int
    slice_hashes: int
    """Hashes between two looks at the connection: about 5 ms of one core."""


ALGORITHMS = {
    "sha256d": Algorithm("sha256d", sha256d_pow, DIFF1_SHA256D, 4000),
    "scrypt": Algorithm("scrypt", scrypt_pow, DIFF1_SCRYPT, 25),
}


class Solution(NamedTuple):
    """A header that meets the share target, as a submit names it."""

    work: Work
    extranonce2: bytes
    ntime: int
    nonce: int
    version: int
    """The header's whole version."""
    version_bits: int | None
    """Its rolled bits; None without version rolling."""


class JobMark(NamedTuple):
    """What a coinbase of this platform says before the extranonces."""

    salt: bytes
    """The producer: the edge process that made the job."""
    serial: int


def job_mark(coinb1: bytes) -> JobMark | None:
    """Return salt and serial at the end of `coinb1`; None for a job of another pool's making."""
    mark = coinb1[-_MARK_HEAD_BYTES:]
    if len(mark) < _MARK_HEAD_BYTES or not mark.startswith(MAGIC):
        return None
    salt = mark[TAG_BYTES : TAG_BYTES + SALT_BYTES]
    return JobMark(salt, int.from_bytes(mark[-SERIAL_BYTES:], "big"))


class Searcher:
    """Walks through the header space of one connection and never visits a header twice.

    Each job, and each 2^32 nonces, take the next extranonce2 of a counter that
    lives as long as the connection; so a job that is sent again is no repetition.
    With version rolling the counter's low bits go into the version as well.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._counter = 0
        self._work: Work | None = None
        self._prefix = b""
        self._extranonce2 = b""
        self._version = 0
        self._version_bits: int | None = None
        self._nonce = 0

    @property
    def has_work(self) -> bool:
        """Whether there is anything to search."""
        return self._work is not None

    def set_work(self, work: Work) -> None:
        """Search this from now on."""
        self._work = work
        self._next_extranonce2(work)

    def search(self, count: int) -> list[Solution]:
        """Try the next `count` headers and return those that meet the target; [] without work."""
        found: list[Solution] = []
        while count > 0 and self._work is not None:
            work = self._work
            stop = min(self._nonce + count, NONCES)
            found += [
                Solution(
                    work,
                    self._extranonce2,
                    work.job.ntime,
                    nonce,
                    self._version,
                    self._version_bits,
                )
                for nonce in search_nonces(
                    self._algorithm.pow, self._prefix, work.target, self._nonce, stop
                )
            ]
            count -= stop - self._nonce
            self._nonce = stop
            if stop == NONCES:
                self._next_extranonce2(work)
        return found

    def _next_extranonce2(self, work: Work) -> None:
        size = work.extranonce2_size
        self._extranonce2 = (self._counter % (1 << 8 * size)).to_bytes(size, "big")
        self._version, self._version_bits = roll_version(
            work.job.version, work.version_mask, self._counter
        )
        self._counter += 1
        self._nonce = 0
        header = work.job.header(
            work.extranonce1, self._extranonce2, work.job.ntime, 0, self._version
        )
        self._prefix = header[:-4]


def search_nonces(
    pow_value: Callable[[bytes], int], prefix: bytes, target: int, first: int, stop: int
) -> list[int]:
    """Return the nonces in first .. stop - 1 whose header, `prefix` and nonce, meets `target`."""
    pack = _NONCE.pack
    return [nonce for nonce in range(first, stop) if pow_value(prefix + pack(nonce)) <= target]


def roll_version(version: int, mask: int, counter: int) -> tuple[int, int | None]:
    """Return the version with `counter` spread over the bits of `mask`, and these bits alone."""
    if not mask:
        return version, None
    bits = 0
    for position in range(32):
        if mask >> position & 1:
            bits |= (counter & 1) << position
            counter >>= 1
    return version & ~mask | bits, bits


class TokenBucket:
    """How many hashes may be tried by now; the caller gives the time in seconds."""

    def __init__(self, rate: float, now: float) -> None:
        """`rate` is in hashes per second, below 1 as well; infinity is no bound."""
        self._rate = rate
        self._burst = max(1.0, rate * BURST_S)
        self._tokens = 0.0
        self._at = now

    def take(self, now: float, most: int) -> int:
        """Take up to `most` hashes; 0 while it is better to gather some more."""
        if isinf(self._rate):
            return most
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < self._worthwhile:
            return 0
        count = min(int(self._tokens), most)
        self._tokens -= count
        return count

    def delay_s(self) -> float:
        """Return how long to sleep before the next `take` gives something."""
        if isinf(self._rate):
            return 0.0
        return max(0.0, (self._worthwhile - self._tokens) / self._rate)

    @property
    def _worthwhile(self) -> float:
        return max(1.0, self._rate * TICK_S)
