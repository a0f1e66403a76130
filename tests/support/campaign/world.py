"""The set-up of a campaign: two regions, a hub, and a chain that grows.

Region `eu` writes the hub's Kafka itself; region `asia` has a Kafka of its own and a relay, whose
way to the hub goes through a cable that can be cut. Edges keep a spool.
"""

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import msgspec

from pithead.coins.node import NodeError, RpcNode
from pithead.coins.registry import chain_params
from pithead.config import (
    CoinSettings,
    HealthSettings,
    IntakeSettings,
    KafkaSettings,
    LogSettings,
    NodeSettings,
    PeerSettings,
    PoolSettings,
    RelayedRegion,
    RelaySettings,
    ServeSettings,
    SharesSettings,
    SlotSettings,
    SpoolSettings,
    StratumSettings,
)
from pithead.contracts import accounting_pb2, edge_pb2
from pithead.contracts.accounting_pb2_grpc import AccountingStub
from pithead.contracts.edge_pb2_grpc import EdgeStub
from pithead.log.topics import blocks_topic, shares_topic
from pithead.rpc import channel
from pithead.store.migrate import migrate
from tests.support.campaign.cable import Cable
from tests.support.campaign.faults import Lane
from tests.support.campaign.load import Region
from tests.support.campaign.members import BrokerMember, CutMember, DatabaseMember, ServiceMember
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.doors import peer_of, served
from tests.support.edge import POOL, address, edge_settings
from tests.support.kafka import KafkaBroker, KafkaFiles, make_topics
from tests.support.litecoind import free_port
from tests.support.postgresql import FAST, PostgresServer

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
"""One share in 65,536 solves a block; most blocks come by the clock."""
BLOCK_S = 2.0
MATURITY = 100
"""Blocks: a region that is cut off is waited for, for nine tenths of it."""
HUB_PARTITIONS = 4
REGION_PARTITIONS = 3
EDGES = {"eu": 2, "asia": 1}
MINERS = {"eu": range(1, 141), "asia": range(1001, 1071)}
DATABASE = "campaign"
CRASH_SAFE = {**FAST, "synchronous_commit": "on"}
"""What was committed survives a kill; only a machine's crash may lose it."""
SLOT = 3


@dataclass
class World:
    """What runs, and how it is broken."""

    folder: Path
    kafka: KafkaBroker
    """The hub's."""
    kafka_asia: KafkaBroker
    server: PostgresServer
    database: str
    shares: SharesSettings
    node: RpcNode
    cable: Cable
    edges: list[ServiceMember] = field(default_factory=list)
    services: list[ServiceMember] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)

    @property
    def members(self) -> list[ServiceMember]:
        """All processes of ours."""
        return [*self.edges, *self.services]

    def tails(self) -> str:
        """What the processes printed last."""
        return "\n".join(member.tail() for member in self.members)


@asynccontextmanager
async def world(rate: float) -> AsyncIterator[World]:
    """Everything started and serving; all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pithead-campaign-", dir="/tmp"))
    folder.chmod(0o755)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        kafka, kafka_asia = (KafkaBroker(KafkaFiles(folder / name)) for name in ("hub", "asia"))
        server = PostgresServer(
            folder / "postgresql", password=secrets.token_urlsafe(12), options=dict(CRASH_SAFE)
        )
        for server_start, server_stop in (
            (kafka.start, kafka.kill),
            (kafka_asia.start, kafka_asia.kill),
            (server.start, server.stop),
        ):
            stack.callback(server_stop)
            await asyncio.to_thread(server_start)
        chain = devchain_settings(folder / "chain", bits=RARE_BLOCKS, maturity=MATURITY)
        node = await stack.enter_async_context(DevchainTask(chain))
        for broker, partitions in ((kafka, HUB_PARTITIONS), (kafka_asia, REGION_PARTITIONS)):
            await broker.until_ready()
            await make_topics(broker, shares_topic(POOL), blocks_topic(POOL), partitions=partitions)
        database = await _database(server)
        intake = free_port()
        made = World(
            folder=folder,
            kafka=kafka,
            kafka_asia=kafka_asia,
            server=server,
            database=database,
            shares=_shares_settings(folder, database, _coin(node), kafka, intake),
            node=await stack.enter_async_context(RpcNode(node.access)),
            cable=await stack.enter_async_context(Cable(intake)),
        )
        _add_edges(made, node, "eu", kafka.settings, rate * 2 / 3)
        _add_edges(made, node, "asia", kafka_asia.settings, rate / 3)
        _add_hub(made)
        _add_relay(made)
        for member in made.members:
            await member.start()
            stack.push_async_callback(member.kill)
        for member in made.members:
            await member.until_ready()
        growing = asyncio.create_task(_grow(made.node))
        stack.callback(growing.cancel)
        yield made


def _coin(node: DevchainTask) -> CoinSettings:
    access = node.access
    return CoinSettings(
        name="coin",
        coin=PARAMS.coin,
        network=PARAMS.network,
        nodes=(
            NodeSettings(
                name=access.name, url=access.url, user=access.user, password=access.password
            ),
        ),
        poll_interval_ms=200,
    )


async def _database(server: PostgresServer) -> str:
    connection = await asyncpg.connect(
        host=str(server.directory), port=server.port, user="postgres", database="postgres"
    )
    try:
        await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close()
    url = server.socket_url(DATABASE)
    await migrate(url, "pithead.shares")
    return url


def _shares_settings(
    folder: Path, database: str, coin: CoinSettings, kafka: KafkaBroker, intake: int
) -> SharesSettings:
    slot = SlotSettings(slot=SLOT, scheme="pplns", revision="aa", effective_height=0)
    pool = PoolSettings(
        pool=POOL, name="quick", coin=coin.name, regions=("eu", "asia"), slots=(slot,)
    )
    return SharesSettings(
        database=database,
        serve=served(folder / "shares.sock"),
        log=LogSettings(kafka=kafka.settings),
        pools=(pool,),
        coins=(coin,),
        intake=IntakeSettings(
            serve=ServeSettings(address=f"127.0.0.1:{intake}"),
            regions=(RelayedRegion(region="asia", pools=(POOL,)),),
        ),
    )


def _add_edges(
    made: World, node: DevchainTask, region: str, kafka: KafkaSettings, rate: float
) -> None:
    ports = []
    for number in range(EDGES[region]):
        folder = made.folder / f"{region}-{number}"
        settings = edge_settings(
            folder,
            PARAMS,
            node.access,
            region=region,
            log=LogSettings(kafka=kafka),
            partition="",
            spool=SpoolSettings(directory=folder / "spool"),
        )
        # Every submit is a share: vardiff has nothing to choose.
        (listener,) = settings.listeners
        listener = msgspec.structs.replace(listener, max_weight=1)
        ports.append(listener.port)
        member = edge_member(
            f"edge {region}-{number}",
            msgspec.structs.replace(settings, listeners=(listener,)),
            folder,
        )
        made.edges.append(member)
        made.lanes.append(Lane(member, every_s=3.0, kill=2))
    made.regions.append(Region(ports, MINERS[region], rate))
    broker = made.kafka if region == "eu" else made.kafka_asia
    made.lanes.append(
        Lane(
            BrokerMember(f"kafka of {region}", broker),
            every_s=10.0,
            down_s=(0.0, 3.0),
            pause_s=(0.2, 6.0),
        )
    )


def edge_member(kind: str, settings: StratumSettings, folder: Path) -> ServiceMember:
    """An edge as a member."""

    async def ready() -> None:
        async with channel(peer_of(settings.serve)) as opened:
            stub = EdgeStub(opened)
            while True:
                reply = await stub.Status(edge_pb2.StatusRequest(), wait_for_ready=True, timeout=60)
                if reply.ready:
                    return
                await asyncio.sleep(0.05)

    return ServiceMember(kind, ("stratum",), settings, folder, ready)


def _add_hub(made: World) -> None:
    async def ready() -> None:
        async with channel(peer_of(made.shares.serve)) as opened:
            request = accounting_pb2.CountersRequest(pool=POOL)
            await AccountingStub(opened).Counters(request, wait_for_ready=True, timeout=60)

    member = ServiceMember("shares", ("shares",), made.shares, made.folder / "shares", ready)
    made.services.append(member)
    made.lanes.append(Lane(member, every_s=2.0, kill=2))
    made.lanes.append(Lane(DatabaseMember(made.server), every_s=5.0, pause_s=(0.2, 4.0)))


def _add_relay(made: World) -> None:
    health = HealthSettings(host="127.0.0.1", port=free_port())

    async def ready() -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(health.host, health.port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return

    settings = RelaySettings(
        region="asia",
        pools=(POOL,),
        log=LogSettings(kafka=made.kafka_asia.settings),
        hub=PeerSettings(address=f"127.0.0.1:{made.cable.port}"),
        health=health,
    )
    member = ServiceMember("relay", ("relay",), settings, made.folder / "relay", ready)
    made.services.append(member)
    made.lanes.append(Lane(member, every_s=2.5, kill=2))
    # Now and then for longer than several blocks.
    cut = CutMember("way from asia to the hub", made.cable.cut)
    made.lanes.append(Lane(cut, every_s=6.0, down_s=(0.5, 12.0), pause_s=(0.2, 4.0)))


async def _grow(node: RpcNode) -> None:
    """Add a block now and then, to nobody of the pool."""
    while True:
        await asyncio.sleep(BLOCK_S)
        with contextlib.suppress(NodeError):
            await node.call("generatetoaddress", 1, address(PARAMS, 99_999))
