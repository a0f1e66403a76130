"""What whoever asks the columnar tables must know of how they are written. Pure.

Rollups hold several rows of one key until the database merges them: read measures by
`sum(..)` (`shares work stale duplicate low invalid`) and `max(..)` (`best last`) with
GROUP BY, from `table(..)`. Sums over many rows are asked for as
`toString(sum(toDecimal128(work, 0)))`, as 64 bits hold one row of a day only.
Times are asked for as `toUInt32(ts)`. An alias must differ from the columns that its
expression names, or the name of the alias is taken for the expression's.
"""

import hashlib

from pithead.store.columnar import Server

RAW = ("shares", "rejects")


def table(server: Server, name: str) -> str:
    """How a table stands in FROM: an old server shows replaced rows unless told otherwise."""
    if not server.modern or name in ("workers", "regions"):
        return f"{name} FINAL"
    return name


def worker_id(pool: str, account: int, name: str) -> int:
    """Number of a worker: of a poolId, the account's id and the worker's own name."""
    digest = hashlib.sha256(f"{pool}\0{account}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def region_id(name: str) -> int:
    """Number of a region."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def producer_id(producer: bytes) -> int:
    """Number of a producer."""
    return int.from_bytes(hashlib.sha256(producer).digest()[:8], "big")
