"""Shares of a month, bulk inserted through the real tables, so that every rollup exists.

What is made depends on the figures of the load alone; only its end is the hour in which
it was made, as the store drops raw shares by age. A directory that holds the same load
already is taken as it is, and served with the clock of its end.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pithead.coins.address import address_of_script
from pithead.coins.registry import chain_params
from pithead.coins.script import p2wpkh
from pithead.config import CoinSettings, NodeSettings, PoolSettings, SlotSettings
from pithead.shares.analytics.ddl import NEWEST, VERSIONS
from pithead.shares.analytics.reading import region_id, worker_id
from pithead.shares.books import AccountBook
from pithead.shares.pools import Pool, register
from pithead.store import open_store, transaction
from pithead.store.columnar import Column, Columnar
from pithead.store.columnar.embedded import open_embedded
from pithead.store.columnar.migrate import migrate_columnar
from pithead.store.migrate import migrate

POOL = "bench.api"
DAYS = 30
CHUNK = 500_000
"""Shares in one insert."""
REGIONS = ("eu", "us", "ap")
BLOCK_S = 600
REFUSED = 50
"""One refused share for so many accepted ones."""
SEED = 7
KEEP_DAYS = 3650
"""Raw shares of a benchmark stay: a later run must find as many."""

PARAMS = chain_params("bitcoin", "mainnet")
COIN = CoinSettings(
    name="bench",
    coin="bitcoin",
    network="mainnet",
    nodes=(NodeSettings(name="none", url="http://127.0.0.1:1", user="", password=""),),
)
SETTINGS = PoolSettings(
    pool=POOL,
    name="bench",
    coin="bench",
    regions=REGIONS,
    slots=tuple(
        SlotSettings(slot=slot, scheme=name, revision=f"{slot:02}", effective_height=1)
        for slot, name in enumerate(("pplns", "solo"))
    ),
)


@dataclass(frozen=True, slots=True)
class Load:
    """What a store holds."""

    shares: int
    workers: int
    """All of one account."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A store that holds a load."""

    columnar: Path
    database: str
    end_s: int
    """Unix seconds right after the last share."""
    account: int
    seconds: float
    cpu_s: float
    """What loading took; 0 when it was there."""


def names_of(load: Load) -> list[str]:
    """Names of the workers."""
    return [f"farm{number % 40}-rig{number:05}" for number in range(load.workers)]


async def loaded(load: Load, directory: Path) -> Loaded:
    """Return the store of a load in a directory, made when it is not there."""
    wanted = {**asdict(load), "schema": NEWEST, "seed": SEED}
    found = _found(directory, wanted)
    if found is not None:
        return found
    wall, cpu = time.monotonic(), time.process_time()
    pool, account = await _books(directory)
    end_s = int(time.time()) // 3600 * 3600 + 1800
    door = await open_embedded(directory / "columnar")
    try:
        await migrate_columnar(door, VERSIONS)
        for table in ("shares", "rejects"):
            await door.command(f"ALTER TABLE {table} MODIFY TTL t + INTERVAL {KEEP_DAYS} DAY")
        await _fill(door, load, pool.id, account, end_s)
    finally:
        await door.close()
    _state(directory).write_text(json.dumps({**wanted, "end_s": end_s, "account": account}))
    return Loaded(
        directory / "columnar",
        _url(directory),
        end_s,
        account,
        time.monotonic() - wall,
        time.process_time() - cpu,
    )


def _found(directory: Path, wanted: dict[str, int]) -> Loaded | None:
    """The load that is there; what is there of another one is removed."""
    state = _state(directory)
    if state.exists():
        facts = json.loads(state.read_text())
        end_s, account = facts.pop("end_s"), facts.pop("account")
        if facts == wanted:
            return Loaded(directory / "columnar", _url(directory), end_s, account, 0.0, 0.0)
        state.unlink()
    # Nothing but what an earlier run of this benchmark made.
    shutil.rmtree(directory / "columnar", ignore_errors=True)
    for part in ("shares.db", "shares.db-wal", "shares.db-shm"):
        (directory / part).unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    return None


def _state(directory: Path) -> Path:
    return directory / "load.json"


def _url(directory: Path) -> str:
    return f"sqlite+aiosqlite:///{directory / 'shares.db'}"


async def _books(directory: Path) -> tuple[Pool, int]:
    """Accounting's tables with the pool and its one account."""
    await migrate(_url(directory), "pithead.shares")
    engine = open_store(_url(directory))
    try:
        (pool,) = await register(engine, [SETTINGS], [COIN])
        login = address_of_script(PARAMS, p2wpkh(bytes(20)))
        assert login is not None
        async with transaction(engine) as connection:
            book = AccountBook(pool.coin, pool.params)
            ids = await book.resolve(connection, [login], create=True)
    finally:
        await engine.dispose()
    return pool, ids[login]


async def _fill(door: Columnar, load: Load, pool: int, account: int, end_s: int) -> None:
    names = names_of(load)
    workers = np.array([worker_id(POOL, account, name) for name in names], np.uint64)
    await door.insert(
        "workers",
        {
            "worker": workers,
            "pool": np.full(len(names), pool, np.uint32),
            "account": np.full(len(names), account, np.uint64),
            "name": names,
            "first": np.full(len(names), end_s - DAYS * 86_400, np.uint32),
            "ver": np.zeros(len(names), np.uint32),
        },
    )
    numbers = np.array([region_id(name) for name in REGIONS], np.uint32)
    await door.insert("regions", {"region": numbers, "name": list(REGIONS)})
    for table, number, columns in _chunks(load, pool, account, workers, numbers, end_s):
        await door.insert(table, columns, token=f"bench/{table}/{number}")
        # A signal must be able to end a long load between two inserts.
        await asyncio.sleep(0)


def _chunks(
    load: Load,
    pool: int,
    account: int,
    workers: NDArray[np.uint64],
    regions: NDArray[np.uint32],
    end_s: int,
) -> Iterator[tuple[str, int, dict[str, Column]]]:
    """(table, number, columns) of the whole month, in order of time."""
    start_s, length_s = end_s - DAYS * 86_400, DAYS * 86_400
    chunks = -(-load.shares // CHUNK)
    for number in range(chunks):
        chance = np.random.default_rng((SEED, number))
        rows = min(CHUNK, load.shares - number * CHUNK)
        first, last = length_s * number // chunks, length_s * (number + 1) // chunks
        ms = np.sort(chance.integers(first * 1000, last * 1000, rows))
        which = chance.integers(0, load.workers, rows)
        places = _places(which, ms, number, pool, account, workers, regions, start_s)
        # Some strong workers, many weak ones.
        weight = np.uint64(1) << (which % 8).astype(np.uint64)
        shares: dict[str, Column] = {
            **places,
            "ms": (ms % 1000).astype(np.uint16),
            "height": (850_000 + ms // (1000 * BLOCK_S)).astype(np.uint32),
            "weight": weight,
            "achieved": (weight / (1.0 - chance.random(rows))).astype(np.uint64),
            "serial": np.ones(rows, np.uint32),
            "solved": np.zeros(rows, np.uint8),
        }
        yield "shares", number, shares
        refused = slice(None, None, REFUSED)
        rejects: dict[str, Column] = {name: column[refused] for name, column in places.items()}
        rejects["reason"] = (1 + which[refused] % 4).astype(np.uint8)
        rejects["count"] = np.ones(len(which[refused]), np.uint32)
        yield "rejects", number, rejects


def _places(
    which: NDArray[np.int64],
    ms: NDArray[np.int64],
    number: int,
    pool: int,
    account: int,
    workers: NDArray[np.uint64],
    regions: NDArray[np.uint32],
    start_s: int,
) -> dict[str, NDArray[np.generic]]:
    """What rows of both kinds have: a worker keeps to one region and one scheme."""
    rows = len(which)
    return {
        "t": (start_s + ms // 1000).astype(np.uint32),
        "pool": np.full(rows, pool, np.uint32),
        "account": np.full(rows, account, np.uint64),
        "worker": workers[which],
        "region": regions[which % len(regions)],
        "slot": (which % 5 == 0).astype(np.uint8),
        "producer": np.full(rows, SEED, np.uint64),
        "seq": np.full(rows, number, np.uint64),
        "idx": np.arange(rows, dtype=np.uint32),
    }
