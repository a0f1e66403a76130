"""Edges, a real Kafka broker and accounting: what was answered `true` is credited exactly once.

Two edges and the share processor run over one broker. Miners submit all the time, one share in
flight each; one edge is killed, then the broker is, and both come back. Afterwards each account
has at least the shares that it heard `true` for, and at most those whose answer it lost.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pithead.coins.registry import chain_params
from pithead.config import CoinSettings, LogSettings, PoolSettings, SharesSettings, SlotSettings
from pithead.config.share_log import open_log
from pithead.contracts import accounting_pb2 as pb
from pithead.contracts.accounting_pb2_grpc import AccountingStub
from pithead.log.topics import blocks_topic, shares_topic
from pithead.rpc import channel
from pithead.shares.audit import recount
from pithead.shares.service import run
from pithead.store import open_store
from tests.support.databases import DATABASES
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.doors import peer_of, served
from tests.support.edge import (
    POOL,
    EdgeProcess,
    RunningEdge,
    address,
    edge_settings,
    running_edge,
)
from tests.support.kafka import KafkaBroker, KafkaFiles, make_topics, running_broker
from tests.support.stratum_client import StratumClient

pytestmark = [pytest.mark.full, pytest.mark.needs("kafka"), pytest.mark.timeout(120)]

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
PARTITIONS = 2
"""Fewer than producers in the end, so that some share one."""

BACK_S_MAX = 10.0
OTHER = 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with running_broker(KafkaFiles(tmp_path_factory.mktemp("kafka"))) as running:
        yield running


@dataclass
class Heard:
    """What miners were told, by worker."""

    trues: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    """With error 20: these may have been credited all the same."""
    cut: Counter[int] = field(default_factory=Counter)
    """Connections that ended under a share."""

    async def more_trues(self, limit_s: float) -> float:
        """Wait until another `true` is heard from each worker; the seconds it took."""
        began, before = time.monotonic(), Counter(self.trues)
        async with asyncio.timeout(limit_s):
            while any(self.trues[worker] <= before[worker] for worker in before):
                await asyncio.sleep(0.02)
        return time.monotonic() - began


async def mine(port: int, worker: int, heard: Heard) -> None:
    """Submit one share after another, and connect again when cut off, until cancelled."""
    for session in itertools.count():
        try:
            async with StratumClient(PARAMS, port) as client:
                # Refused while the log is away.
                if (await client.login(f"{address(PARAMS, worker)}.{session}"))["result"] is True:
                    await client.job()
                    await mine_on(client, worker, heard)
        except (ConnectionError, TimeoutError):
            pass
        await asyncio.sleep(0.1)


async def mine_on(client: StratumClient, worker: int, heard: Heard) -> None:
    for number in itertools.count():
        share = client.solve(client.jobs[-1], number)
        if client.closed.is_set():
            raise ConnectionResetError("closed by the edge")
        try:
            answer = await client.submit(share)
        except (ConnectionError, TimeoutError):
            heard.cut[worker] += 1
            raise
        if answer["result"] is True:
            heard.trues[worker] += 1
        elif answer["error"][0] == OTHER:
            heard.refused[worker] += 1
        # One share in flight of each is the load that is meant, not a test of speed.
        await asyncio.sleep(0.01)


@asynccontextmanager
async def accounting(settings: SharesSettings) -> AsyncIterator["asyncio.Task[None]"]:
    """The share processor for the length of the context."""
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def credited(settings: SharesSettings, total_min: int) -> dict[str, int]:
    """Shares by account, once there are at least so many and no more come."""
    async with channel(peer_of(settings.serve)) as opened, asyncio.timeout(20):
        stub = AccountingStub(opened)
        before = -1
        while True:
            reply = await stub.Counters(pb.CountersRequest(pool=POOL), wait_for_ready=True)
            if reply.accepted >= total_min and reply.accepted == before:
                return {each.login: each.shares for each in reply.accounts}
            before = reply.accepted
            await asyncio.sleep(1.0)


async def test_every_true_is_credited_once_through_kills_of_edge_and_broker(
    tmp_path: Path, broker: KafkaBroker
) -> None:
    log = LogSettings(kafka=broker.settings)
    await make_topics(broker, shares_topic(POOL), blocks_topic(POOL), partitions=PARTITIONS)
    heard = Heard()
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)) as node:
        first = edge_settings(tmp_path / "one", PARAMS, node.access, log=log, partition="")
        second = edge_settings(tmp_path / "two", PARAMS, node.access, log=log, partition="")
        for settings in (first, second):
            Path(settings.serve.address.removeprefix("unix:")).parent.mkdir()
        database = await DATABASES.migrated(tmp_path, "shares")
        shares = shares_settings(tmp_path, database, first.coin, log)
        mortal = EdgeProcess(second)
        await mortal.start()
        try:
            async with accounting(shares), running_edge(first) as edge:
                async with asyncio.TaskGroup() as group:
                    miners = [
                        group.create_task(mine(port, worker, heard))
                        for worker, port in (
                            (1, edge.port),
                            (2, edge.port),
                            (3, second.listeners[0].port),
                        )
                    ]
                    await outages(broker, mortal, edge, heard)
                    for miner in miners:
                        miner.cancel()
                assert mortal.terminate() == 0
                found = await credited(shares, sum(heard.trues.values()))
        finally:
            mortal.kill()
    print(f"true {dict(heard.trues)}, refused {dict(heard.refused)}, cut {dict(heard.cut)}")
    for worker in (1, 2, 3):
        lost_answers = heard.refused[worker] + heard.cut[worker] + 1
        assert heard.trues[worker] > 5
        count = found[address(PARAMS, worker)]
        assert heard.trues[worker] <= count <= heard.trues[worker] + lost_answers
    assert heard.refused[1] > 0, "the edge has refused while the log was away"
    engine = open_store(shares.database)
    try:
        assert await recount(engine, open_log(log)) == []
    finally:
        await engine.dispose()


async def outages(
    broker: KafkaBroker, mortal: EdgeProcess, edge: RunningEdge, heard: Heard
) -> None:
    """Kill one edge, then the broker, each with shares under way."""
    async with asyncio.timeout(10):
        while len(heard.trues) < 3 or min(heard.trues.values()) < 5:
            await asyncio.sleep(0.02)
    mortal.kill()
    await mortal.start()
    await heard.more_trues(BACK_S_MAX)
    broker.kill()
    # Miners are told, and hear nothing good until the broker is back.
    async with asyncio.timeout(5):
        while not heard.refused[1]:
            await asyncio.sleep(0.02)
    assert "does not confirm" in (await edge.status()).trouble
    while_away = heard.trues.total()
    await asyncio.sleep(1)
    assert heard.trues.total() == while_away
    broker.start()
    await broker.until_ready()
    print(f"answered true again {await heard.more_trues(BACK_S_MAX):.1f} s after the broker")


def shares_settings(
    directory: Path, database: str, coin: CoinSettings, log: LogSettings
) -> SharesSettings:
    """The share processor of the edges' pool."""
    return SharesSettings(
        database=database,
        serve=served(directory / "shares.sock"),
        log=log,
        pools=(
            PoolSettings(
                pool=POOL,
                name="quick",
                coin=coin.name,
                regions=("local",),
                slots=(SlotSettings(slot=3, scheme="pplns", revision="aa", effective_height=0),),
            ),
        ),
        coins=(coin,),
    )
