"""Two regions, one with a Kafka of its own: cut off for longer than blocks, nothing is lost.

Real brokers for the hub and the region, real edges in front of a devchain, and all
money services in this loop. The wire between relay and hub is cut twice: for fewer
blocks than nine tenths of maturity, so that seals wait, and for more, so that
heights are sealed without the region and what it brings later is late. In the end
each share answered `true` is counted once, finished splits are what they were, and
every audit agrees.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.node import RpcNode
from pithead.coins.registry import chain_params
from pithead.config import (
    IntakeSettings,
    LogSettings,
    PeerSettings,
    RelayedRegion,
    RelaySettings,
    ServeSettings,
    StratumSettings,
)
from pithead.config.share_log import open_log
from pithead.contracts.rewards_pb2 import BLOCK_MATURE, BlocksReply, SplitRequest
from pithead.ledger.service import run as run_ledger
from pithead.log.topics import blocks_topic, shares_topic
from pithead.rewards.service import run as run_rewards
from pithead.shares import schema, sealer
from pithead.shares.audit import recount
from pithead.shares.regions import ends, stream
from pithead.shares.relay import session
from pithead.shares.relay.service import run as run_relay
from pithead.shares.service import run as run_shares
from pithead.store import open_store, reading
from pithead.store.migrate import migrate_all
from tests.integration.test_kafka_spine import Heard, mine
from tests.integration.test_rewards import COIN, Bed, check_money
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import POOL, address, edge_settings, running_edge
from tests.support.kafka import KafkaBroker, KafkaFiles, make_topics, running_broker
from tests.support.litecoind import free_port
from tests.support.wire import Wire

pytestmark = [pytest.mark.full, pytest.mark.needs("kafka"), pytest.mark.timeout(180)]

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
OVERDUE = PARAMS.coinbase_maturity * 9 // 10
LIMIT_S = 60


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, KafkaBroker]]:
    with (
        running_broker(KafkaFiles(tmp_path_factory.mktemp("hub"))) as hub,
        running_broker(KafkaFiles(tmp_path_factory.mktemp("far"))) as far,
    ):
        yield {"hub": hub, "far": far}


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of minutes as seconds; what is tested is what comes after it."""
    monkeypatch.setattr(sealer, "GRACE_MS", 1_000)
    monkeypatch.setattr(ends, "AWAY_MS", 3_000)
    monkeypatch.setattr(stream, "ANSWER_S", 3.0)
    monkeypatch.setattr(stream, "RELEASE_S", 1.0)
    monkeypatch.setattr(stream, "PAIR_S", 1.0)
    monkeypatch.setattr(session, "RELEASE_PAUSE_S", 1.0)


class TwoRegions(Bed):
    """A hub with its own edge, and a far region with an edge and a Kafka of its own."""

    def fit(self, brokers: dict[str, KafkaBroker], relay_port: int) -> int:
        """Put the logs into Kafka; returns the port of the hub's intake."""
        hub = LogSettings(kafka=brokers["hub"].settings)
        far = LogSettings(kafka=brokers["far"].settings)
        port = free_port()
        self.edge = msgspec.structs.replace(self.edge, log=hub, partition="")
        listener = msgspec.structs.replace(self.edge.listeners[0], port=free_port())
        (self.data / "far").mkdir()
        self.far_edge: StratumSettings = edge_settings(
            self.data / "far",
            PARAMS,
            self.node.access,
            listeners=(listener,),
            region="far",
            log=far,
            partition="",
        )
        intake = IntakeSettings(
            serve=ServeSettings(address=f"127.0.0.1:{port}"),
            regions=(RelayedRegion(region="far", pools=(POOL,)),),
        )
        self.shares = msgspec.structs.replace(self.shares, log=hub, intake=intake)
        self.rewards = msgspec.structs.replace(self.rewards, log=hub)
        self.relay = RelaySettings(
            region="far",
            pools=(POOL,),
            log=far,
            hub=PeerSettings(address=f"127.0.0.1:{relay_port}"),
        )
        return port

    async def block(self, *, ours: bool) -> None:
        """One more block: ours, made as an edge would, or somebody else's."""
        if ours:
            await self.rpc.submitted(await self.solve())
        else:
            await self.generate(1)
        # Edges follow and mine on it.
        await asyncio.sleep(0.5)

    async def height(self) -> int:
        return int(await self.rpc.call("getblockcount"))


@dataclass
class Scene:
    """Everything that runs."""

    bed: TwoRegions
    wire: Wire
    store: AsyncEngine

    async def sealed(self) -> int:
        async with reading(self.store) as connection:
            return await connection.scalar(select(schema.pools.c.sealed_height)) or 0

    async def until_sealed(self, height: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while await self.sealed() < height:
                await asyncio.sleep(0.1)

    async def sealed_without(self) -> list[str]:
        table = schema.decisions.c
        async with reading(self.store) as connection:
            return list(
                await connection.scalars(
                    select(table.subject).where(table.action == "seal without regions")
                )
            )

    async def shares(self) -> dict[str, int]:
        """Shares in cells by login, once no more come."""
        before: dict[str, int] = {}
        cells, accounts = schema.cells.c, schema.accounts.c
        query = (
            select(accounts.login, func.sum(cells.shares))
            .where(cells.account == accounts.id)
            .group_by(accounts.login)
        )
        while True:
            async with reading(self.store) as connection:
                found = {row[0]: int(row[1]) for row in await connection.execute(query)}
            if found == before:
                return found
            before = found
            await asyncio.sleep(2)

    async def late(self) -> int:
        cells = schema.cells.c
        async with reading(self.store) as connection:
            query = select(func.sum(cells.shares)).where(cells.seal > 0)
            return int(await connection.scalar(query) or 0)


@asynccontextmanager
async def scene(tmp_path: Path, brokers: dict[str, KafkaBroker]) -> AsyncIterator[Scene]:
    await make_topics(brokers["hub"], shares_topic(POOL), blocks_topic(POOL), partitions=3)
    await make_topics(brokers["far"], shares_topic(POOL), blocks_topic(POOL), partitions=2)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            DevchainTask(devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS))
        )
        rpc = await stack.enter_async_context(RpcNode(node.access))
        bed = TwoRegions(tmp_path, node, rpc)
        # The wire's port is known only once it listens on it.
        port = bed.fit(brokers, 1)
        wire = await stack.enter_async_context(Wire(port))
        bed.relay = msgspec.structs.replace(
            bed.relay, hub=PeerSettings(address=f"127.0.0.1:{wire.port}")
        )
        await migrate_all(bed.urls)
        await bed.generate(1)
        store = open_store(bed.urls["shares"])
        stack.push_async_callback(store.dispose)
        for name, run in (
            ("ledger", run_ledger),
            ("shares", run_shares),
            ("rewards", run_rewards),
            ("relay", run_relay),
        ):
            bed.start(name, run)
        await bed.apply()
        try:
            yield Scene(bed, wire, store)
        finally:
            wire.mend()
            for name in ("relay", "rewards", "shares", "ledger"):
                await bed.end(name)


async def test_a_region_cut_off_for_longer_than_blocks_loses_nothing_and_changes_no_split(
    tmp_path: Path, brokers: dict[str, KafkaBroker]
) -> None:
    heard = Heard()
    async with (
        scene(tmp_path, brokers) as it,
        running_edge(it.bed.edge) as near,
        running_edge(it.bed.far_edge) as far,
        asyncio.TaskGroup() as group,
    ):
        miners = [
            group.create_task(mine(port, worker, heard))
            for worker, port in ((1, near.port), (2, far.port), (3, far.port))
        ]
        bed = it.bed
        await heard_from_all(heard)
        for number in range(4):
            await bed.block(ours=number % 2 == 0)
        await it.until_sealed(await bed.height() - 2)

        # Cut for fewer blocks than anybody is given up after: seals wait.
        it.wire.cut()
        began = await bed.height()
        trues = heard.trues[2]
        for number in range(4):
            await bed.block(ours=number % 2 == 0)
        await asyncio.sleep(3)
        assert await it.sealed() < began
        assert heard.trues[2] > trues, "cut off, it goes on mining"
        it.wire.mend()
        await it.until_sealed(began + 1)
        assert await it.sealed_without() == []
        assert await it.late() == 0

        # Cut for more: heights are sealed without it, and splits become final.
        it.wire.cut()
        began = await bed.height()
        for number in range(OVERDUE + 3):
            await bed.block(ours=number % 3 == 0)
        await it.until_sealed(began + 2)
        assert await it.sealed_without()
        finished = await finals(bed)
        it.wire.mend()
        await it.until_sealed(await bed.height() - 3)
        for miner in miners:
            miner.cancel()
        assert await it.late() > 0
        found = await it.shares()
        after = await finals(bed)
        assert finished
        assert {name: after[name] for name in finished} == finished

        for worker in (1, 2, 3):
            lost_answers = heard.refused[worker] + heard.cut[worker] + 1
            count = found[address(PARAMS, worker)]
            assert heard.trues[worker] <= count <= heard.trues[worker] + lost_answers
        print(f"true {dict(heard.trues)}, counted {found}, late {await it.late()}")
        await check_money(bed, await settled(bed))
        assert await recount(it.store, open_log(bed.shares.log)) == []
        await region_is_cut(bed)


async def heard_from_all(heard: Heard) -> None:
    async with asyncio.timeout(LIMIT_S):
        while min(heard.trues[worker] for worker in (1, 2, 3)) < 3:
            await asyncio.sleep(0.05)


async def finals(bed: TwoRegions) -> dict[bytes, bytes]:
    """Each split that is final, by the block's hash."""
    splits = {}
    reply = await bed.listing()
    async with bed.stub() as stub:
        for block in reply.blocks:
            if block.split_final:
                split = await stub.Split(SplitRequest(coin=COIN, hash=block.hash))
                splits[block.hash] = split.SerializeToString(deterministic=True)
    return splits


async def region_is_cut(bed: TwoRegions) -> None:
    """Wait until the region's Kafka has let go of what was counted."""
    reader = open_log(bed.relay.log).reader(shares_topic(POOL))
    try:
        async with asyncio.timeout(LIMIT_S):
            while not any([await reader.start(name) for name in await reader.partitions()]):
                await asyncio.sleep(0.2)
    finally:
        await reader.close()


async def settled(bed: TwoRegions) -> BlocksReply:
    for _ in range(PARAMS.coinbase_maturity + bed.edge.coin.confirmations + 2):
        await bed.generate(1)
        await asyncio.sleep(0.1)
    return await bed.until(
        lambda reply: (
            reply.candidate + reply.confirmed == 0
            and all(block.split_final for block in reply.blocks if block.state == BLOCK_MATURE)
        )
    )
