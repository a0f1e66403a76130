"""Two and three processes that share a pool on PostgreSQL, killed again and again.

Whatever dies, every share is counted once, all partitions are read, the ones that are
added meanwhile too, and heights are sealed in order by one of them at a time.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.node import RpcNode
from pithead.config import NodeSettings
from pithead.config.share_log import open_log
from pithead.contracts import accounting_pb2 as pb
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.shares import schema
from pithead.store import open_store, reading
from tests.support.accounting import Bench
from tests.support.databases import DATABASES
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.doors import served
from tests.support.postgresql import PostgresServer
from tests.support.shares import POOL, Share, address, make_batch, make_store, payload, producer_id
from tests.unit.shares.test_service import running, settings_in, until, window

pytestmark = [pytest.mark.full, pytest.mark.needs("postgres")]

LEASE_MS = 800
SEED = 11
FIRST_HEIGHT = 20
ACCOUNTS = 40
DIVIDED_S = 20.0
CATCH_UP_S = 30.0
KILLS = 4


class Feed:
    """Producers, one a partition, that write and remember what was durable."""

    def __init__(self, log: FileLog, chance: random.Random) -> None:
        self.log = log
        self.chance = chance
        self.height = FIRST_HEIGHT
        self.partitions = 4
        self.written: Counter[tuple[str, int]] = Counter()
        self.sequences: Counter[int] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        writers = {}
        while not stop.is_set():
            for number in range(self.partitions):
                if number not in writers:
                    writers[number] = await self.log.writer(shares_topic(POOL), str(number))
                await writers[number].append(self.batch(number))
            await asyncio.sleep(0.005)
        for number, writer in writers.items():
            await writer.append(self.batch(number, end=True))
            await writer.close()

    def batch(self, number: int, *, end: bool = False) -> bytes:
        shares = [
            Share(self.chance.randint(1, ACCOUNTS), self.height, weight=self.chance.randint(1, 9))
            for _ in range(20)
        ]
        for share in shares:
            self.written[address(share.account), share.height] += share.weight
        sequence = self.sequences[number]
        self.sequences[number] += 1
        promise = self.height - 1
        return payload(make_batch(producer_id(number), sequence, shares, promise=promise, end=end))


@contextmanager
def killed_at_the_end() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        yield processes
    finally:
        for process in processes.values():
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


async def weights(engine: AsyncEngine) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    async with reading(engine) as connection:
        rows = await connection.execute(
            select(schema.accounts.c.login, schema.segments.c.height, schema.cells.c.weight).where(
                schema.cells.c.account == schema.accounts.c.id,
                schema.cells.c.segment == schema.segments.c.id,
            )
        )
        for login, height, weight in rows:
            found[login, height] += weight
    return found


async def owners(engine: AsyncEngine) -> Counter[str]:
    now_ms = time.time_ns() // 1_000_000
    async with reading(engine) as connection:
        rows = await connection.execute(select(schema.claims))
        return Counter(row.owner for row in rows if row.until_ms > now_ms)


@pytest.mark.parametrize("count", [2, 3], ids=["two", "three"])
async def test_every_share_is_counted_once_whoever_is_killed(
    tmp_path: Path, postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(DATABASES, "server", postgresql)
    chance = random.Random(SEED)
    engine, pool = await make_store(tmp_path)
    url = engine.url.render_as_string(hide_password=False)
    height = tmp_path / "height"
    height.write_text(str(FIRST_HEIGHT - 1))
    feed = Feed(FileLog(tmp_path / "log"), chance)
    stop = asyncio.Event()
    started = 0
    async with Bench(tmp_path, engine, pool) as bench:
        with killed_at_the_end() as processes:

            def start() -> None:
                nonlocal started
                name = f"c{started}"
                started += 1
                module = "tests.support.consumer_process"
                arguments = [url, str(tmp_path / "log"), name, str(LEASE_MS), str(height)]
                processes[name] = subprocess.Popen([sys.executable, "-m", module, *arguments])

            for _ in range(count):
                start()
            feeding = asyncio.create_task(feed.run(stop))
            for turn in range(KILLS):
                async with asyncio.timeout(DIVIDED_S):
                    while len(await owners(engine)) != count:
                        await asyncio.sleep(0.05)
                await asyncio.sleep(chance.uniform(0, 0.5))
                victim = chance.choice(sorted(processes))
                processes[victim].kill()
                processes.pop(victim).wait()
                feed.height += 1
                height.write_text(str(feed.height - 1))
                if turn == 2:
                    feed.partitions = 7
                start()
            stop.set()
            await feeding
            await bench.settle_segments()
            height.write_text(str(feed.height + 10))
            deadline = time.monotonic() + CATCH_UP_S
            while (await weights(engine) != feed.written) and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            assert await weights(engine) == feed.written
            await bench.settle_segments()
            while await bench.sealed_height() != feed.height + 8 and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
        assert await bench.sealed_height() == feed.height + 8
        async with reading(engine) as connection:
            seals = (
                await connection.execute(select(schema.seals).order_by(schema.seals.c.last_height))
            ).all()
        assert seals[0].first_height <= FIRST_HEIGHT
        for before, after in pairwise(seals):
            assert after.first_height == before.last_height + 1
        assert sum(feed.written.values()) > 10_000


async def test_two_whole_services_share_a_pool_and_one_goes_on_alone(
    tmp_path: Path, postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DATABASES, "server", postgresql)
    chain = devchain_settings(tmp_path / "chain")
    async with DevchainTask(chain) as devchain, RpcNode(devchain.access) as node:
        access = devchain.access
        settings = msgspec.structs.replace(
            settings_in(
                tmp_path,
                NodeSettings(name="n", url=access.url, user=access.user, password=access.password),
            ),
            database=await DATABASES.migrated(tmp_path, "shares"),
        )
        other = msgspec.structs.replace(settings, serve=served(tmp_path / "o"))
        await node.call("generatetoaddress", 2, address(99))
        tip = await node.best_hash()
        bits = int((await node.call("getblockheader", tip[::-1].hex(), True))["bits"], 16)
        log = open_log(settings.log)
        writers = [await log.writer(shares_topic(POOL), str(number)) for number in range(4)]

        async def write(sequence: int, height: int, *, shares: int, end: bool = False) -> None:
            for number, writer in enumerate(writers):
                each = [Share(number + 1, height)] * shares
                batch = make_batch(producer_id(number), sequence, each, promise=height, end=end)
                for segment in batch.segments:
                    segment.parent, segment.bits = tip, bits
                await writer.append(payload(batch))

        engine = open_store(settings.database)
        try:
            async with running(settings) as stub:

                async def accepted(shares: int) -> bool:
                    reply = await stub.Counters(pb.CountersRequest(pool=POOL))
                    return bool(reply.accepted == shares)

                async def divided() -> bool:
                    return sorted((await owners(engine)).values()) == [2, 2]

                async with running(other):
                    await write(0, 3, shares=5)
                    await until(partial(accepted, 20))
                    await until(divided)
                    await write(1, 3, shares=7)
                    await until(partial(accepted, 48))
                # The one that has ended gave its claims back: nobody waits for its lease.
                await write(2, 3, shares=1)
                await until(partial(accepted, 52))
                assert list((await owners(engine)).values()) == [4]
                await node.call("generatetoaddress", 3, address(99))
                await write(3, 6, shares=0, end=True)

                async def sealed() -> bool:
                    reply = await stub.Seals(pb.SealsRequest(pool=POOL))
                    return bool(reply.any and reply.sealed_height == 3)

                await until(sealed)
                head = (await window(stub, height=3, parent=tip))[0].header
                assert (head.sealed, head.group_weight) == (True, bytes([52]))
        finally:
            await engine.dispose()
            for writer in writers:
                await writer.close()
