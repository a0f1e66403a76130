"""Analytics from a share log into a columnar database: shares a CPU-second of this process.

Two stages. *Insert*: made columns of raw shares go through the door, as large blocks with
tokens. *Whole*: a FileLog, written first and not counted, is read, decoded, planned in
SQLite and inserted by the writer itself. With chdb the database works in this process, so
its CPU is in the figures; that of a ClickHouse server is not. Where the server is an old
one, the whole way includes asking it to count rollups again. The baseline inserts the
columns into one bare table without any rollup. Sums in the coarsest rollup are compared
with what was written.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pithead.bench.result import Result
from pithead.coins.address import address_of_script
from pithead.coins.registry import chain_params
from pithead.coins.script import p2wpkh
from pithead.config import CoinSettings, PoolSettings
from pithead.contracts.share_log_pb2 import Segment, ShareBatch
from pithead.log.codec import encode_batch
from pithead.log.file_log import FileLog
from pithead.log.topics import FORMAT, shares_topic
from pithead.shares.analytics.reading import table
from pithead.shares.analytics.standing import prepare
from pithead.shares.analytics.writer import Writer
from pithead.shares.pools import register
from pithead.store import open_store
from pithead.store.columnar import Column, Columnar
from pithead.store.columnar.embedded import open_embedded
from pithead.store.columnar.server import Reach, open_server
from pithead.store.migrate import migrate

POOL = "bench.analytics"
PARTITION = "bench-0"
PARAMS = chain_params("devchain", "regtest")
WEIGHT = 8
SEED = 7
BLOCK = 500_000
"""Rows of one insert, as the writer makes them of a backlog."""
BARE = "bench_bare"

COIN = CoinSettings(name="bench", coin="devchain", network="regtest", nodes=())
SETTINGS = PoolSettings(pool=POOL, name="bench", coin="bench", regions=("bench",))


class WrongSums(Exception):
    """Raised when the tables do not hold what was written: no figure is worth anything."""


class DatabaseInUse(Exception):
    """Raised for a database that holds tables: a benchmark would drop them."""

    def __init__(self, database: str, name: str) -> None:
        super().__init__(
            f"database {database} holds tables, {name} among them, and the benchmark drops all of "
            "them: give it an empty one"
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What is written."""

    shares: int
    workers: int
    batch: int = 500
    """Shares in a batch of the log."""
    interval_s: int = 6
    """Seconds between two shares of a worker."""


def run(load: Load, server: Reach | None = None) -> Result:
    """Measure with chdb in a new directory, or with an empty database of a server."""
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as folder:
        return asyncio.run(_run(load, server, Path(folder)))


async def _run(load: Load, server: Reach | None, folder: Path) -> Result:
    if server is not None:
        await _refuse_used(server)
    start_s = int(time.time()) - 86_400
    blocks = [
        _block(load, first, min(BLOCK, load.shares - first), start_s)
        for first in range(0, load.shares, BLOCK)
    ]
    bare_s = await _measured(server, folder / "bare", lambda door: _insert_bare(door, blocks))
    insert_s = await _measured(
        server, folder / "insert", lambda door: _insert(door, blocks, folder / "insert.db")
    )
    log = FileLog(folder / "log")
    await _write_log(log, load, start_s)
    whole_s = await _measured(
        server, folder / "whole", lambda door: _write(door, log, load, folder / "whole.db")
    )
    return Result(
        benchmark="analytics",
        setup={
            "database": "ClickHouse" if server is not None else "chdb, its CPU included",
            "log": "FileLog",
            "shares": load.shares,
            "workers": load.workers,
            "batch_shares": load.batch,
            "block_rows": BLOCK,
            "worker_interval_s": load.interval_s,
        },
        figures={
            "whole_cpu_s": round(whole_s, 3),
            "whole_shares_per_cpu_s": round(load.shares / whole_s),
            "exact": True,
        },
        unit="shares",
        cpu_s=insert_s,
        per_cpu_s=load.shares / insert_s,
        baseline="inserting the same columns into one table without rollups",
        baseline_cpu_s=bare_s,
        baseline_per_cpu_s=load.shares / bare_s,
    )


async def _refuse_used(server: Reach) -> None:
    door = await open_server(server)
    try:
        if names := await _tables(door):
            raise DatabaseInUse(server.database, names[0])
    finally:
        await door.close()


async def _measured(
    server: Reach | None, directory: Path, work: Callable[[Columnar], Awaitable[float]]
) -> float:
    door: Columnar
    if server is None:
        door = await open_embedded(directory)
    else:
        door = await open_server(server)
    try:
        return await work(door)
    finally:
        await door.close()


async def _insert_bare(door: Columnar, blocks: list[dict[str, Column]]) -> float:
    kinds = {"t": "DateTime('UTC')"}
    columns = ", ".join(
        f"{name} {kinds.get(name) or _kind(column)}" for name, column in blocks[0].items()
    )
    await door.command(f"DROP TABLE IF EXISTS {BARE}")
    await door.command(
        f"CREATE TABLE {BARE} ({columns}) ENGINE = MergeTree PARTITION BY toYYYYMMDD(t) "
        "ORDER BY (pool, toStartOfMinute(t), account, worker, t, producer, seq, idx)"
    )
    cpu = time.process_time()
    for block in blocks:
        await door.insert(BARE, block)
    return time.process_time() - cpu


async def _insert(door: Columnar, blocks: list[dict[str, Column]], database: Path) -> float:
    url = f"sqlite+aiosqlite:///{database}"
    await migrate(url, "pithead.shares")
    engine = open_store(url)
    try:
        await prepare(engine, door)
    finally:
        await engine.dispose()
    cpu = time.process_time()
    for number, block in enumerate(blocks):
        await door.insert("shares", block, token=f"bench/{number}")
    cpu_s = time.process_time() - cpu
    if door.server.modern:
        await _check(door, "pool_d", sum(len(block["t"]) for block in blocks))
    await _empty(door)
    return cpu_s


async def _write(door: Columnar, log: FileLog, load: Load, database: Path) -> float:
    url = f"sqlite+aiosqlite:///{database}"
    await migrate(url, "pithead.shares")
    engine = open_store(url)
    reader = log.reader(shares_topic(POOL))
    try:
        (pool,) = await register(engine, [SETTINGS], [COIN])
        await prepare(engine, door)
        writer = Writer(engine, reader, door, pool, lambda: time.time_ns() // 1_000_000)
        cpu = time.process_time()
        while (await writer.step()).more:
            pass
        cpu_s = time.process_time() - cpu
        await _check(door, "pool_d", load.shares)
        await _empty(door)
    finally:
        await reader.close()
        await engine.dispose()
    return cpu_s


async def _check(door: Columnar, name: str, shares: int) -> None:
    sums = await door.query(
        f"SELECT sum(shares) AS n, sum(work) AS w FROM {table(door.server, name)}"  # noqa: S608
    )
    if sums.rows() != [(shares, shares * WEIGHT)]:
        raise WrongSums(f"{shares} shares were written, {sums.rows()} are in {name}")


async def _empty(door: Columnar) -> None:
    """Leave a server's database without tables, as it was found."""
    for name in await _tables(door):
        await door.command(f"DROP TABLE IF EXISTS {name}")


async def _tables(door: Columnar) -> list[str]:
    """Return the tables of the database, views first."""
    found = await door.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() "
        "ORDER BY engine = 'MaterializedView' DESC, name"
    )
    return [str(name) for (name,) in found.rows()]


def _kind(column: Column) -> str:
    return f"UInt{np.asarray(column).dtype.itemsize * 8}"


def _block(load: Load, first: int, rows: int, start_s: int) -> dict[str, Column]:
    """Raw rows as the writer makes them: each worker has a share an interval, at its own moment."""
    number = np.arange(first, first + rows)
    worker = number % load.workers
    return {
        "t": (start_s + number * load.interval_s // load.workers).astype(np.uint32),
        "ms": (number % 1000).astype(np.uint16),
        "pool": np.ones(rows, np.uint32),
        "account": (worker // 10 + 1).astype(np.uint64),
        "worker": worker.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        "region": np.full(rows, 77, np.uint32),
        "slot": np.zeros(rows, np.uint8),
        "height": np.full(rows, 20, np.uint32),
        "weight": np.full(rows, WEIGHT, np.uint64),
        "achieved": np.full(rows, WEIGHT, np.uint64),
        "serial": (number // 10_000).astype(np.uint32),
        "solved": np.zeros(rows, np.uint8),
        "producer": np.full(rows, SEED, np.uint64),
        "seq": (number // load.batch).astype(np.uint64),
        "idx": (number % load.batch).astype(np.uint32),
    }


async def _write_log(log: FileLog, load: Load, start_s: int) -> None:
    writer = await log.writer(shares_topic(POOL), PARTITION)
    accounts: Mapping[int, str] = {
        index: str(address_of_script(PARAMS, p2wpkh(index.to_bytes(20, "big"))))
        for index in range(load.workers // 10 + 1)
    }
    try:
        for sequence, first in enumerate(range(0, load.shares, load.batch)):
            rows = min(load.batch, load.shares - first)
            numbers = range(first, first + rows)
            logins = list(dict.fromkeys(number % load.workers for number in numbers))
            place = {worker: index for index, worker in enumerate(logins)}
            base_ms = (start_s * load.workers + first * load.interval_s) * 1000 // load.workers
            batch = ShareBatch(
                format=FORMAT,
                producer=SEED.to_bytes(16, "big"),
                sequence=sequence,
                promise=20,
                pool=POOL,
                coin=COIN.key,
                region="bench",
                time_base_ms=base_ms,
                segments=[Segment(parent=bytes(32), height=20, bits=0x1F00FFFF, value=1)],
                account=[accounts[worker // 10] for worker in logins],
                worker=[f"rig{worker}" for worker in logins],
                slot=[0] * len(logins),
                best=[WEIGHT] * len(logins),
                login=[place[number % load.workers] for number in numbers],
                segment=[0] * rows,
                weight=[WEIGHT] * rows,
                time_offset_ms=[0] * rows,
                serial=[1] * rows,
                flags=[0] * rows,
            )
            await writer.append(encode_batch(batch))
    finally:
        await writer.close()
