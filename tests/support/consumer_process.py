"""One consumer and one sealer of the tests' pool in a process of its own, until it is killed.

    python -m tests.support.consumer_process URL LOG_DIRECTORY NAME LEASE_MS HEIGHT_FILE

The node's height is read from a file. Everything else is what the service runs.
"""

import asyncio
import sys
import time
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from pithead.log.errors import LogError
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares import claims as claims_module
from pithead.shares.claims import Claims
from pithead.shares.consume import Consumer
from pithead.shares.intake import PositionMoved
from pithead.shares.pools import register
from pithead.shares.sealer import Sealer
from pithead.store import open_store
from tests.support.shares import COIN_SETTINGS, POOL, POOL_SETTINGS

TRANSIENT = (DBAPIError, OSError, LogError, PositionMoved)
IDLE_S = 0.02


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def main(url: str, log: Path, name: str, height: Path) -> None:
    """Consume and seal for ever."""
    engine = open_store(url)
    (pool,) = await register(engine, [POOL_SETTINGS], [COIN_SETTINGS])
    reader = FileLog(log).reader(shares_topic(POOL))
    claims = Claims(engine, pool.id, shares_topic(POOL), name, _now_ms)
    consumer = Consumer(engine, reader, pool, _now_ms, claims=claims)
    sealer = Sealer(engine, reader, pool, _now_ms)
    while True:
        try:
            polled = await consumer.poll()
            await sealer.step(int(height.read_text()))
        except TRANSIENT as error:
            print(f"{name}: {error}", file=sys.stderr)
            await asyncio.sleep(IDLE_S)
            continue
        await asyncio.sleep(0 if polled.records else IDLE_S)


if __name__ == "__main__":
    _, database, directory, who, lease_ms, height_file = sys.argv
    claims_module.LEASE_MS = int(lease_ms)
    claims_module.RENEW_MS = int(lease_ms) // 4
    asyncio.run(main(database, Path(directory), who, Path(height_file)))
