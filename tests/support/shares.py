"""Batches, pools and databases for tests of accounting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.address import address_of_script
from pithead.coins.registry import chain_params
from pithead.coins.script import p2wpkh
from pithead.config import CoinSettings, NodeSettings, PoolSettings, SlotSettings
from pithead.contracts.share_log_pb2 import (
    Login,
    RejectCount,
    Segment,
    SessionRecord,
    ShareBatch,
)
from pithead.log.codec import check_batch, encode_batch
from pithead.log.topics import FORMAT
from pithead.shares.pools import Pool, register
from pithead.store import open_store
from tests.support.databases import DATABASES

POOL = "default.test"
COIN = "devchain/regtest"
BITS = 0x1F00FFFF
PARAMS = chain_params("devchain", "regtest")
MINUTE_MS = 60_000


def address(number: int) -> str:
    """A valid address; another for each number."""
    found = address_of_script(PARAMS, p2wpkh(number.to_bytes(20, "big")))
    assert found is not None
    return found


def parent(height: int, fork: int = 0) -> bytes:
    """Hash of the block below `height`, made up."""
    return bytes([fork]) + height.to_bytes(4, "little") + bytes(27)


@dataclass(frozen=True, slots=True)
class Share:
    """One share to be written."""

    account: int
    height: int
    weight: int = 1
    time_ms: int = 0
    slot: int = 0
    fork: int = 0


def make_batch(
    producer: bytes,
    sequence: int,
    shares: Sequence[Share] = (),
    *,
    promise: int = 1,
    end: bool = False,
    pool: str = POOL,
    time_ms: int = 0,
    region: str = "eu",
    rejects: Iterable[tuple[str, int, int]] = (),
    sessions: Iterable[tuple[bytes, int]] = (),
) -> ShareBatch:
    """A batch; rejects are (login, reason, count), sessions (extranonce1, account number)."""
    batch = ShareBatch(
        format=FORMAT,
        producer=producer,
        sequence=sequence,
        promise=promise,
        pool=pool,
        coin=COIN,
        region=region,
        time_base_ms=time_ms,
        end=end,
    )
    logins: dict[tuple[str, int], int] = {}
    segments: dict[tuple[int, int], int] = {}

    def login_of(name: str, slot: int) -> int:
        if (name, slot) not in logins:
            logins[name, slot] = len(logins)
            batch.account.append(name)
            batch.worker.append("rig")
            batch.slot.append(slot)
            batch.best.append(0)
        return logins[name, slot]

    for share in shares:
        key = (share.height, share.fork)
        if key not in segments:
            segments[key] = len(segments)
            batch.segments.append(
                Segment(parent=parent(*key), height=share.height, bits=BITS, value=5_000_000_000)
            )
        batch.login.append(login_of(address(share.account), share.slot))
        batch.segment.append(segments[key])
        batch.weight.append(share.weight)
        batch.time_offset_ms.append(share.time_ms - time_ms)
        batch.serial.append(1)
        batch.flags.append(0)
        batch.best[batch.login[-1]] = max(batch.best[batch.login[-1]], share.weight)
    for name, reason, count in rejects:
        batch.rejects.append(
            RejectCount(login=login_of(name, 0), reason=reason, count=count)  # type: ignore[arg-type]
        )
    for extranonce1, account in sessions:
        batch.sessions.append(
            SessionRecord(
                extranonce1=extranonce1, login=login_of(address(account), 0), agent="cpu/1"
            )
        )
    return batch


def payload(batch: ShareBatch) -> bytes:
    """Bytes of a batch as the log holds them."""
    return encode_batch(batch)


def format_1(batch: ShareBatch) -> bytes:
    """Bytes of the same batch as programs wrote it before logins were columns."""
    old = ShareBatch()
    old.CopyFrom(batch)
    old.format = 1
    for account, worker, slot in zip(batch.account, batch.worker, batch.slot, strict=True):
        old.logins.append(Login(account=account, worker=worker, slot=slot))
    for name in ("account", "worker", "slot", "best", "samples"):
        old.ClearField(name)
    check_batch(old)
    return old.SerializeToString()


def producer_id(number: int) -> bytes:
    """Sixteen bytes, another for each number."""
    return number.to_bytes(16, "big")


COIN_SETTINGS = CoinSettings(
    name="dev",
    coin="devchain",
    network="regtest",
    nodes=(NodeSettings(name="n", url="http://127.0.0.1:1", user="u", password="p"),),
    poll_interval_ms=50,
)

POOL_SETTINGS = PoolSettings(
    pool=POOL,
    name="test",
    coin="dev",
    regions=("eu",),
    slots=(
        SlotSettings(slot=0, scheme="pplns", revision="aa", effective_height=1),
        SlotSettings(slot=0, scheme="pplns", revision="bb", effective_height=20),
        SlotSettings(slot=1, scheme="solo", revision="cc", effective_height=1),
    ),
)


def store_url(directory: Path) -> str:
    """Database of a test."""
    return f"sqlite+aiosqlite:///{directory / 'shares.db'}"


async def make_store(directory: Path) -> tuple[AsyncEngine, Pool]:
    """A new database with the tables and one pool."""
    engine = open_store(await DATABASES.migrated(directory, "shares"))
    (pool,) = await register(engine, [POOL_SETTINGS], [COIN_SETTINGS])
    return engine, pool
