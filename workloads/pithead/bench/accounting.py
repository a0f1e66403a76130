"""Accounting from a share log to cells: shares a CPU-second of the reading process.

A FileLog is written first and not counted: shares fall on random accounts, so a batch
of 500 among 2,000 accounts holds some 440 logins, and each batch is half a second of
the miners' clock. The baseline reads and decodes the same log into columns and does
nothing with them. A server's CPU is not in the figures. The sums in the database are
compared with what was written.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import func, select

from pithead.bench.result import Result
from pithead.coins.address import address_of_script
from pithead.coins.registry import chain_params
from pithead.coins.script import p2wpkh
from pithead.config import CoinSettings, NodeSettings, PoolSettings, SlotSettings
from pithead.contracts.share_log_pb2 import Segment, ShareBatch
from pithead.log.codec import encode_batch
from pithead.log.columns import decode_columns
from pithead.log.file_log import FileLog
from pithead.log.share_log import ShareLog
from pithead.log.topics import shares_topic
from pithead.process import tune_collector
from pithead.shares import schema
from pithead.shares.consume import Consumer
from pithead.shares.pools import register
from pithead.store import open_store, reading
from pithead.store.migrate import migrate

POOL = "bench.accounting"
PARTITION = "bench-0"
PARAMS = chain_params("devchain", "regtest")
BATCH_MS = 500
WEIGHT = 8
SEED = 7
READ_BYTES = 1024 * 1024

COIN = CoinSettings(
    name="bench",
    coin="devchain",
    network="regtest",
    nodes=(NodeSettings(name="none", url="http://127.0.0.1:1", user="", password=""),),
)
SETTINGS = PoolSettings(
    pool=POOL,
    name="bench",
    coin="bench",
    regions=("bench",),
    slots=(SlotSettings(slot=0, scheme="pplns", revision="00", effective_height=1),),
)


class WrongSums(Exception):
    """Raised when the database does not hold what the log does: no figure is worth anything."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is booked."""

    shares: int
    accounts: int
    batch: int
    """Shares in a batch."""


def run(load: Load, database: str = "") -> Result:
    """Measure; `database` is the URL of an empty one, without it a new SQLite file is taken."""
    # As the process does that is measured.
    tune_collector()
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as folder:
        url = database or f"sqlite+aiosqlite:///{folder}/shares.db"
        return asyncio.run(_run(load, url, Path(folder)))


async def _run(load: Load, url: str, folder: Path) -> Result:
    log = FileLog(folder / "log")
    writer = await log.writer(shares_topic(POOL), PARTITION)
    written = 0
    for batch in _batches(load):
        await writer.append(encode_batch(batch))
        written += len(batch.login)
    await writer.close()
    baseline_cpu_s = await _decode(log)
    await migrate(url, "pithead.shares")
    engine = open_store(url)
    try:
        (pool,) = await register(engine, [SETTINGS], [COIN])
        reader = log.reader(shares_topic(POOL))
        consumer = Consumer(engine, reader, pool, lambda: time.time_ns() // 1_000_000)
        wall, cpu = time.monotonic(), time.process_time()
        booked = polls = 0
        while booked < written:
            polled = await consumer.poll()
            if not polled.records:
                break
            booked += polled.shares
            polls += 1
        cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - wall
        await reader.close()
        async with reading(engine) as connection:
            table = schema.cells.c
            query = select(func.count(), func.sum(table.shares), func.sum(table.weight))
            cells, shares, weight = (await connection.execute(query)).one()
        if (booked, int(shares or 0), int(weight or 0)) != (written, written, written * WEIGHT):
            raise WrongSums(
                f"{written} shares were written, {booked} booked, {shares} are in cells"
            )
        kind = engine.dialect.name
    finally:
        await engine.dispose()
    return Result(
        benchmark="accounting",
        setup={
            "database": kind,
            "log": "FileLog",
            "shares": written,
            "accounts": load.accounts,
            "batch_shares": load.batch,
        },
        figures={
            "cells": int(cells),
            "polls": polls,
            "wall_s": round(wall_s, 3),
            "exact": True,
        },
        unit="shares",
        cpu_s=cpu_s,
        per_cpu_s=written / cpu_s,
        baseline="reading and decoding the same log into columns",
        baseline_cpu_s=baseline_cpu_s,
        baseline_per_cpu_s=written / baseline_cpu_s,
    )


def _batches(load: Load) -> Iterator[ShareBatch]:
    chance = np.random.default_rng(SEED)
    logins = np.array(
        [address_of_script(PARAMS, p2wpkh(i.to_bytes(20, "big"))) for i in range(load.accounts)]
    )
    for sequence in range(load.shares // load.batch):
        accounts, login = np.unique(
            chance.integers(0, load.accounts, load.batch), return_inverse=True
        )
        yield ShareBatch(
            producer=SEED.to_bytes(16, "big"),
            sequence=sequence,
            promise=20,
            pool=POOL,
            coin=COIN.key,
            region="bench",
            time_base_ms=sequence * BATCH_MS,
            segments=[Segment(parent=bytes(32), height=20, bits=0x1F00FFFF, value=5_000_000_000)],
            account=logins[accounts].tolist(),
            worker=[f"rig{number}" for number in accounts.tolist()],
            slot=[0] * len(accounts),
            best=[WEIGHT] * len(accounts),
            login=login.tolist(),
            segment=[0] * load.batch,
            weight=[WEIGHT] * load.batch,
            time_offset_ms=[0] * load.batch,
            serial=[1] * load.batch,
            flags=[0] * load.batch,
        )


async def _decode(log: ShareLog) -> float:
    """CPU seconds of reading and decoding all batches."""
    reader = log.reader(shares_topic(POOL))
    position, cpu = 0, time.process_time()
    while records := await reader.read(PARTITION, position, READ_BYTES):
        position = records[-1].next_position
        for record in records:
            decode_columns(record.payload)
    cpu_s = time.process_time() - cpu
    await reader.close()
    return cpu_s
