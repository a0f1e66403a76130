"""The miner's side of a job: from the parameters of `mining.notify` to a header.

Whoever sends them is not trusted: sizes are checked, and only NotifyError is raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from pithead.coins.hashing import sha256d
from pithead.coins.job import merkle_root_of

COINBASE_PART_BYTES_MAX = 100_000
BRANCH_MAX = 32
"""A tree of 2^32 transactions; no block has as many."""

_HEADER = Struct("<I32s32sIII")
_U32_MAX = 0xFFFFFFFF


class NotifyError(ValueError):
    """Parameters of `mining.notify` that no header can be made of."""


@dataclass(frozen=True, slots=True)
class NotifiedJob:
    """A job as a miner knows it. Hashes in internal order."""

    job_id: str
    parent: bytes
    coinb1: bytes
    coinb2: bytes
    branch: tuple[bytes, ...]
    version: int
    bits: int
    ntime: int
    clean: bool

    def header(
        self, extranonce1: bytes, extranonce2: bytes, ntime: int, nonce: int, version: int
    ) -> bytes:
        """The 80 bytes to hash; the last four are the nonce, little-endian."""
        coinbase = b"".join((self.coinb1, extranonce1, extranonce2, self.coinb2))
        root = merkle_root_of(sha256d(coinbase), self.branch)
        return _HEADER.pack(version, self.parent, root, ntime, self.bits, nonce)


def parse_notify(params: Sequence[object]) -> NotifiedJob:
    """The job in the parameters of `mining.notify`; raises NotifyError."""
    if not isinstance(params, list | tuple) or len(params) < 9:
        raise NotifyError("mining.notify needs a list of nine parameters")
    job_id, parent, coinb1, coinb2, branch, version, bits, ntime, clean = params[:9]
    if not isinstance(job_id, str):
        raise NotifyError("mining.notify job id is not a string")
    if not isinstance(branch, list | tuple) or len(branch) > BRANCH_MAX:
        raise NotifyError(f"mining.notify branch is not a list of at most {BRANCH_MAX} hashes")
    swapped = _bytes(parent, "previous hash", 32)
    return NotifiedJob(
        job_id=job_id,
        parent=b"".join(swapped[at : at + 4][::-1] for at in range(0, 32, 4)),
        coinb1=_bytes(coinb1, "coinb1"),
        coinb2=_bytes(coinb2, "coinb2"),
        branch=tuple(_bytes(sibling, "branch", 32) for sibling in branch),
        version=int.from_bytes(_bytes(version, "version", 4), "big"),
        bits=int.from_bytes(_bytes(bits, "bits", 4), "big"),
        ntime=int.from_bytes(_bytes(ntime, "time", 4), "big"),
        clean=clean is True,
    )


def header_from_notify(
    notify_params: Sequence[object],
    extranonce1: bytes,
    extranonce2: bytes,
    ntime: int,
    nonce: int,
    version: int,
) -> bytes:
    """The 80-byte header of one try at a notified job; raises NotifyError.

    A miner that tries many nonces parses once with `parse_notify` and replaces the last four bytes.
    """
    if not all(0 <= number <= _U32_MAX for number in (ntime, nonce, version)):
        raise NotifyError("time, nonce and version are unsigned 32-bit numbers")
    return parse_notify(notify_params).header(extranonce1, extranonce2, ntime, nonce, version)


def _bytes(value: object, name: str, size: int | None = None) -> bytes:
    if not isinstance(value, str) or len(value) > 2 * COINBASE_PART_BYTES_MAX:
        raise NotifyError(f"mining.notify {name} is not a hex string of sane length")
    try:
        data = bytes.fromhex(value)
    except ValueError as error:
        raise NotifyError(f"mining.notify {name} is not hex") from error
    if size is not None and len(data) != size:
        raise NotifyError(f"mining.notify {name} has {len(data)} bytes, expected {size}")
    return data
