"""Measures accounting from the share log to cells: shares per CPU-second of the reading process.

Usage: python -m tests.bench.accounting [--database URL] [--shares N] [--accounts N]

The log is written first and not counted. Without a URL the database is a new SQLite
file; a PostgreSQL one must be empty. Shares fall on random accounts, 500 to a batch,
one batch in half a second of the miners' clock.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path

from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares.consume import Consumer
from pithead.shares.pools import register
from pithead.store import open_store, reading
from pithead.store.migrate import migrate
from tests.support.shares import (
    COIN_SETTINGS,
    POOL,
    POOL_SETTINGS,
    Share,
    make_batch,
    payload,
    producer_id,
)

BATCH = 500
BATCH_MS = 500
SEED = 7


async def measure(url: str, directory: Path, shares: int, accounts: int) -> dict[str, object]:
    """Write a log, read it into the database, and return the figures."""
    chance = random.Random(SEED)
    log = FileLog(directory / "log")
    writer = await log.writer(shares_topic(POOL), "eu-0")
    for sequence in range(shares // BATCH):
        now_ms = sequence * BATCH_MS
        made = [
            Share(chance.randrange(1, accounts + 1), 20, weight=8, time_ms=now_ms)
            for _ in range(BATCH)
        ]
        batch = make_batch(producer_id(1), sequence, made, time_ms=now_ms)
        await writer.append(payload(batch))
    await writer.close()
    await migrate(url, "pithead.shares")
    engine = open_store(url)
    (pool,) = await register(engine, [POOL_SETTINGS], [COIN_SETTINGS])
    reader = log.reader(shares_topic(POOL))
    consumer = Consumer(engine, reader, pool, lambda: 10**12)
    wall, cpu = time.monotonic(), time.process_time()
    booked = polls = 0
    while booked < shares // BATCH * BATCH:
        booked += (await consumer.poll()).shares
        polls += 1
    cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - wall
    async with reading(engine) as connection:
        rows = (await connection.exec_driver_sql("SELECT count(*) FROM cells")).scalar_one()
    await reader.close()
    await engine.dispose()
    return {
        "database": engine.dialect.name,
        "shares": booked,
        "accounts": accounts,
        "cells": rows,
        "polls": polls,
        "cpu_s": round(cpu_s, 2),
        "wall_s": round(wall_s, 2),
        "shares_per_cpu_s": round(booked / cpu_s),
    }


def main() -> None:
    """Take the arguments, measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default="")
    parser.add_argument("--shares", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=2_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f"sqlite+aiosqlite:///{folder}/shares.db"
        figures = asyncio.run(measure(url, Path(folder), options.shares, options.accounts))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
