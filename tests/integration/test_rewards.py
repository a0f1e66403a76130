"""Rewards beside a real devchain node, edge, share processor and ledger, in one loop.

What is checked at the end is money: every base unit that the chain pays the pool
stands in the ledger, and an audit recomputes every split without a difference.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pithead.coins.block import parse_block_coinbase
from pithead.coins.hashing import pow_hash
from pithead.coins.job import coinbase_value_to, make_job, pool_tag
from pithead.coins.node import RpcNode
from pithead.coins.registry import chain_params
from pithead.config import (
    LedgerSettings,
    ListenerSettings,
    PoolSettings,
    RewardsSettings,
    SharesSettings,
    SlotSettings,
)
from pithead.config.share_log import open_log
from pithead.contracts.accounting_pb2_grpc import AccountingStub
from pithead.contracts.ledger_pb2 import BalancesRequest, BookKind
from pithead.contracts.ledger_pb2_grpc import LedgerStub
from pithead.contracts.rewards_pb2 import (
    BLOCK_CONFIRMED,
    BLOCK_MATURE,
    BLOCK_ORPHANED,
    ApplySchemesRequest,
    Block,
    BlocksReply,
    BlocksRequest,
    SchemeSpec,
    SplitRequest,
)
from pithead.contracts.rewards_pb2_grpc import RewardsStub
from pithead.contracts.share_log_pb2 import BlockRecord, Login
from pithead.ledger.service import run as run_ledger
from pithead.log.topics import blocks_topic
from pithead.rewards.audit import recompute_splits
from pithead.rewards.database import Database
from pithead.rewards.nodes import Nodes
from pithead.rewards.scheme import revision_of
from pithead.rewards.service import run as run_rewards
from pithead.rpc import channel
from pithead.shares.service import run as run_shares
from pithead.store import open_store
from pithead.store.migrate import migrate_all
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.doors import peer_of, served
from tests.support.edge import POOL, address, edge_settings, running_edge
from tests.support.litecoind import free_port
from tests.support.stratum_client import StratumClient

if TYPE_CHECKING:
    from pithead.contracts.rewards_pb2_grpc import RewardsAsyncStub

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
COIN = PARAMS.key
PPLNS = '{"fee_ppm":10000,"method":"PPLNS","window":{"weight":"20"}}'
LIMIT_S = 40.0


@dataclass
class Bed:
    """All services of one pool but payouts; rewards can be killed and started again."""

    data: Path
    node: DevchainTask
    rpc: RpcNode
    tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=dict)
    restarts: int = 0

    def __post_init__(self) -> None:
        edge = edge_settings(self.data, PARAMS, self.node.access, start_weight=1)
        listener = ListenerSettings(
            name="main",
            host="127.0.0.1",
            port=free_port(),
            slot=0,
            start_weight=1,
            min_weight=1,
            max_weight=4,
        )
        self.edge = edge_settings(
            self.data, PARAMS, self.node.access, listeners=(listener,), start_weight=1
        )
        self.script = bytes.fromhex(edge.payout_script)
        pool = PoolSettings(
            pool=POOL,
            name="quick",
            coin="coin",
            regions=("local",),
            payout_script=edge.payout_script,
        )
        slot = SlotSettings(slot=0, scheme="main", revision=revision_of(PPLNS), effective_height=0)
        urls = {
            name: f"sqlite+aiosqlite:///{self.data / name}.db"
            for name in ("ledger", "shares", "rewards")
        }
        self.urls = urls
        self.ledger = LedgerSettings(
            database=urls["ledger"], serve=served(self.data / "ledger.sock")
        )
        self.shares = SharesSettings(
            database=urls["shares"],
            serve=served(self.data / "shares.sock"),
            log=self.edge.log,
            pools=(msgspec.structs.replace(pool, slots=(slot,)),),
            coins=(self.edge.coin,),
        )
        self.rewards = RewardsSettings(
            database=urls["rewards"],
            serve=served(self.data / "rewards.sock"),
            log=self.edge.log,
            pools=(pool,),
            coins=(self.edge.coin,),
            shares=peer_of(self.shares.serve),
            ledger=peer_of(self.ledger.serve),
        )

    def start(self, name: str, run: Callable[[Any, asyncio.Event], Awaitable[None]]) -> None:
        stop = asyncio.Event()

        async def body() -> None:
            await run(getattr(self, name), stop)

        self.tasks[name] = (asyncio.create_task(body(), name=name), stop)

    async def end(self, name: str) -> None:
        task, stop = self.tasks.pop(name)
        stop.set()
        await task

    @asynccontextmanager
    async def stub(self) -> AsyncIterator["RewardsAsyncStub"]:
        async with channel(peer_of(self.rewards.serve)) as opened:
            yield RewardsStub(opened)

    async def apply(self) -> None:
        spec = SchemeSpec(name="main", method="PPLNS", parameters=PPLNS)
        request = ApplySchemesRequest(pool=POOL, coin=COIN, schemes=[spec])
        async with self.stub() as stub:
            await stub.ApplySchemes(request, wait_for_ready=True, timeout=10)

    async def listing(self) -> BlocksReply:
        async with self.stub() as stub:
            return await stub.Blocks(
                BlocksRequest(pool=POOL, limit=1000), wait_for_ready=True, timeout=10
            )

    async def until(self, true: Callable[[BlocksReply], bool]) -> BlocksReply:
        reply = BlocksReply()
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    for task, _ in self.tasks.values():
                        if task.done():
                            task.result()
                    reply = await self.listing()
                    if true(reply):
                        return reply
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"in {LIMIT_S} s it only came to {reply}") from None

    async def until_block(self, block: bytes, true: Callable[[Block], bool]) -> Block:
        identity = parse_block_coinbase(PARAMS, block)[0].hash()

        def found(reply: BlocksReply) -> bool:
            return any(one.hash == identity and true(one) for one in reply.blocks)

        reply = await self.until(found)
        return next(one for one in reply.blocks if one.hash == identity)

    async def generate(self, count: int) -> None:
        """Blocks of somebody else."""
        await self.rpc.call("generatetoaddress", count, address(PARAMS, 99))

    async def solve(self) -> bytes:
        """A block of the pool, as an edge would make it; not submitted."""
        template = await self.rpc.get_template(PARAMS)
        job = make_job(template, self.script, pool_tag(POOL), bytes(16), 1)
        extranonce1 = bytes([0, 0, 0, 0, 1])
        for nonce in range(1 << 20):
            extras = (extranonce1, bytes(8), template.time, nonce, template.version)
            if pow_hash(PARAMS, job.header(*extras)) <= template.target:
                return job.block(*extras)
        raise AssertionError("no nonce")

    async def balances(self) -> dict[str, int]:
        async with channel(peer_of(self.ledger.serve)) as opened:
            reply = await LedgerStub(opened).Balances(BalancesRequest(coin=COIN, non_zero=True))
        books: dict[str, int] = {}
        for one in reply.balances:
            kind = BookKind.Name(one.book.kind).removeprefix("BOOK_")
            books[kind] = books.get(kind, 0) + one.amount
        return books

    async def on_chain(self, block: Block) -> int:
        """Base units that a block pays the pool, read from the node."""
        raw = await self.rpc.block_bytes(block.hash)
        assert raw is not None
        return coinbase_value_to(parse_block_coinbase(PARAMS, raw)[1], self.script)

    async def differences(self) -> tuple[int, tuple[object, ...]]:
        engine = open_store(self.urls["rewards"])
        try:
            async with (
                channel(peer_of(self.shares.serve)) as shares,
                channel(peer_of(self.ledger.serve)) as ledger,
            ):
                audited = await recompute_splits(
                    Database(engine),
                    COIN,
                    Nodes(PARAMS, [self.rpc]),
                    AccountingStub(shares),
                    LedgerStub(ledger),
                )
        finally:
            await engine.dispose()
        return audited.splits, audited.differences


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(DevchainTask(devchain_settings(tmp_path / "chain")))
        rpc = await stack.enter_async_context(RpcNode(node.access))
        bed = Bed(tmp_path, node, rpc)
        await migrate_all(bed.urls)
        await bed.generate(1)
        for name, run in (
            ("ledger", run_ledger),
            ("shares", run_shares),
            ("rewards", run_rewards),
        ):
            bed.start(name, run)
        await bed.apply()
        yield bed
        for name in ("rewards", "shares", "ledger"):
            await bed.end(name)


async def mine(bed: Bed, port: int, number: int, shares: int) -> None:
    """Mine until so many shares were answered true; on this chain half of them are blocks."""
    accepted = 0
    async with StratumClient(PARAMS, port) as client:
        await client.login(address(PARAMS, number) + ".rig")
        for attempt in range(shares * 20):
            job = await client.job()
            answer = await client.submit(client.solve(job, attempt))
            accepted += bool(answer.get("result"))
            if accepted >= shares:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"only {accepted} shares were accepted")


async def all_settled(bed: Bed) -> BlocksReply:
    """Bury what was found, so that every block is mature or orphaned and every split final."""
    for _ in range(PARAMS.coinbase_maturity + bed.edge.coin.confirmations + 2):
        await bed.generate(1)
        await asyncio.sleep(0.02)
    return await bed.until(
        lambda reply: (
            reply.candidate + reply.confirmed == 0
            and all(block.split_final for block in reply.blocks if block.state == BLOCK_MATURE)
            and bool(reply.blocks)
        )
    )


async def until_books(bed: Bed, true: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    books: dict[str, int] = {}
    try:
        async with asyncio.timeout(LIMIT_S):
            while not true(books := await bed.balances()):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"in {LIMIT_S} s the books only came to {books}") from None
    return books


async def check_money(bed: Bed, reply: BlocksReply) -> None:
    """Every unit that the chain pays the pool is owed to somebody, and replays."""
    mature = [block for block in reply.blocks if block.state == BLOCK_MATURE]
    paid = sum([await bed.on_chain(block) for block in mature])
    books = await until_books(
        bed, lambda books: books.get("CHAIN") == -paid and "IMMATURE" not in books
    )
    assert books["PAYABLE"] + books["FEE"] + books.get("REMAINDER", 0) == paid
    assert books["FEE"] == sum(block.value // 100 for block in mature)
    final = sum(block.split_final for block in reply.blocks)
    assert await bed.differences() == (final, ())


async def test_mined_blocks_become_payable_to_the_last_unit(bed: Bed) -> None:
    async with running_edge(bed.edge) as edge:
        await asyncio.gather(mine(bed, edge.port, 1, 12), mine(bed, edge.port, 2, 6))
        reply = await all_settled(bed)
        assert reply.mature >= 1
        await check_money(bed, reply)
        newest = next(block for block in reply.blocks if block.state == BLOCK_MATURE)
        async with bed.stub() as stub:
            split = await stub.Split(SplitRequest(coin=COIN, hash=newest.hash))
        assert {share.login for share in split.shares} <= {address(PARAMS, n) for n in (1, 2)}
        assert sum(share.amount for share in split.shares) + split.fee == newest.value


async def test_a_block_without_a_record_is_found_and_its_finder_named(bed: Bed) -> None:
    async with running_edge(bed.edge) as edge:
        await mine(bed, edge.port, 1, 3)
        lost = await bed.solve()
        await bed.rpc.submitted(lost)
        block = await bed.until_block(lost, lambda one: one.state == BLOCK_CONFIRMED)
        assert block.from_watcher
        assert block.value == await bed.on_chain(block)
        await check_money(bed, await all_settled(bed))


async def test_a_block_that_was_recorded_but_never_submitted_is_submitted(bed: Bed) -> None:
    block = await bed.solve()
    header, coinbase = parse_block_coinbase(PARAMS, block)
    record = BlockRecord(
        format=1,
        producer=bytes(16),
        pool=POOL,
        coin=COIN,
        region="local",
        hash=header.hash(),
        parent=header.parent,
        bits=header.bits,
        block=block,
        value=coinbase_value_to(coinbase, bed.script),
        login=Login(account=address(PARAMS, 1), worker="rig"),
        extranonce1=bytes(5),
        found_ms=1,
    )
    writer = await open_log(bed.edge.log).writer(blocks_topic(POOL), "gone-0")
    await writer.append(record.SerializeToString())
    await writer.close()
    found = await bed.until_block(block, lambda one: one.state == BLOCK_CONFIRMED)
    assert not found.from_watcher
    assert await bed.rpc.best_hash() == found.hash


async def test_a_reorganisation_reverses_the_money_and_its_return_books_it_again(bed: Bed) -> None:
    async with running_edge(bed.edge) as edge:
        await mine(bed, edge.port, 1, 3)
        ours = await bed.solve()
        await bed.rpc.submitted(ours)
        await bed.generate(3)
        before = await bed.until_block(ours, lambda one: one.split_final)
        shown = before.hash[::-1].hex()
        others = sum(
            block.value
            for block in (await bed.listing()).blocks
            if block.split_final and block.hash != before.hash
        )
        await until_books(bed, lambda books: books.get("CHAIN", 0) == -others - before.value)
        await bed.rpc.call("invalidateblock", shown)
        await bed.generate(bed.edge.coin.confirmations + 3)
        await bed.until_block(ours, lambda one: one.state == BLOCK_ORPHANED)
        await until_books(bed, lambda books: books.get("CHAIN", 0) == -others)
        competing = await bed.rpc.call("getblockhash", before.height)
        await bed.rpc.call("reconsiderblock", shown)
        await bed.rpc.call("invalidateblock", competing)
        reply = await all_settled(bed)
        assert next(one for one in reply.blocks if one.hash == before.hash).state == BLOCK_MATURE
        await check_money(bed, reply)
