"""A real node accepts the pool's blocks, and every unit of a block reaches its miners."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pithead.coins.address import address_of_script
from pithead.coins.block import parse_block
from pithead.coins.node import RpcNode
from pithead.coins.registry import chain_params
from pithead.config import PeerSettings
from pithead.contracts import (
    accounting_pb2,
    accounting_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    payouts_pb2,
    payouts_pb2_grpc,
    rewards_pb2,
    rewards_pb2_grpc,
)
from pithead.log.codec import decode_batch
from pithead.log.file_log import FileLog
from pithead.log.topics import shares_topic
from pithead.miner.demo import demo_address
from pithead.miner.fleet import Fleet
from pithead.miner.worker import WorkerSpec
from pithead.rpc import channel
from pithead.up.report import running
from tests.support.litecoind import Litecoind
from tests.support.manifests import variant, without_demo_miners
from tests.support.pool import RunningPool, free_port, pithead

pytestmark = [pytest.mark.gate, pytest.mark.needs("litecoind"), pytest.mark.timeout(300)]

PARAMS = chain_params("litecoin", "regtest")
POOL = "default.litecoin-regtest"
STRENGTHS = (8, 4, 2, 1)
HASHES_PER_S = 1.6
"""Of the weakest account: about 12 shares a second in all."""
WINDOW_WEIGHT = 400
"""200 shares of 2 hashes."""
WANTED_SHARES = 260
NOBODY = "rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5"


@dataclass
class Scene:
    """A node, a pool on it, and its miners' addresses."""

    node: RpcNode
    pool: RunningPool
    port: int
    addresses: list[str]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Litecoind(tmp_path / "node") as litecoind, RpcNode(litecoind.access) as node:
        port = free_port()

        def change(objects: dict[str, dict[str, Any]]) -> None:
            without_demo_miners(objects)
            objects["CoinEndpoint"]["spec"]["nodes"][0]["url"] = litecoind.url
            objects["MiningPool"]["spec"]["listeners"][0]["port"] = port
            objects["MiningPool"]["spec"]["payouts"] |= {"intervalSeconds": 1}
            objects["RewardScheme"]["spec"]["pplns"]["window"]["weight"] = WINDOW_WEIGHT

        manifests = variant("litecoin-regtest", tmp_path / "manifests", change)
        pool = RunningPool(manifests, tmp_path / "data")
        pool.start()
        try:
            await pool.wait_ready_async()
            addresses = [demo_address(PARAMS, b"end to end", i)[0] for i in range(4)]
            yield Scene(node, pool, port, addresses)
        finally:
            await asyncio.to_thread(pool.stop)


async def mine_until(scene: Scene, wanted: int) -> None:
    """Mine with four accounts paced 8:4:2:1 until so many shares were answered `true`."""
    specs = [
        WorkerSpec(f"{address}.rig", hashrate=HASHES_PER_S * strength)
        for address, strength in zip(scene.addresses, STRENGTHS, strict=True)
    ]
    fleet = Fleet(f"stratum+tcp://127.0.0.1:{scene.port}", specs, algorithm="scrypt")
    stop = asyncio.Event()
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.run(stop))
        while fleet.tally.accepted < wanted:
            await asyncio.sleep(0.1)
        stop.set()


async def eventually(
    scene: Scene, what: str, condition: Callable[[dict[str, Any]], object], limit_s: float = 60
) -> dict[str, Any]:
    return await asyncio.to_thread(scene.pool.wait, condition, what, limit_s)


async def logged_groups(scene: Scene) -> dict[tuple[int, bytes, int], Counter[str]]:
    """Weights by group (height, parent, minute) and account, straight from the log."""
    reader = FileLog(scene.pool.data / "log").reader(shares_topic(POOL))
    groups: dict[tuple[int, bytes, int], Counter[str]] = {}
    for partition in await reader.partitions():
        position = await reader.start(partition)
        while records := await reader.read(partition, position, 1 << 20):
            position = records[-1].next_position
            for batch in (decode_batch(record.payload) for record in records):
                rows = zip(
                    batch.login, batch.segment, batch.weight, batch.time_offset_ms, strict=True
                )
                for login, segment, weight, offset in rows:
                    at = batch.segments[segment]
                    minute = (batch.time_base_ms + offset) // 60_000
                    cells = groups.setdefault((at.height, at.parent, minute), Counter())
                    cells[batch.account[login]] += weight
    await reader.close()
    return groups


def judge(
    groups: dict[tuple[int, bytes, int], Counter[str]],
    ids: dict[str, int],
    last: tuple[int, bytes],
    payable: int,
) -> dict[str, int]:
    """The PPLNS split by its definition, written a second time and without shortcuts."""
    order = sorted(key for key in groups if key[:2] <= last)
    taken: Counter[str] = Counter()
    scale, missing = 1, WINDOW_WEIGHT
    for key in reversed(order):
        whole = groups[key].total()
        if whole <= missing:
            taken.update({account: weight * scale for account, weight in groups[key].items()})
            missing -= whole
            if missing == 0:
                break
            continue
        taken = Counter({account: weight * whole for account, weight in taken.items()})
        taken.update({account: weight * missing for account, weight in groups[key].items()})
        break
    total = taken.total()
    floors = {account: payable * weight // total for account, weight in taken.items()}
    left = payable - sum(floors.values())
    order_by_rest = sorted(taken, key=lambda login: (-(payable * taken[login] % total), ids[login]))
    for account in itertools.islice(order_by_rest, left):
        floors[account] += 1
    return floors


async def test_blocks_that_litecoind_accepts_are_split_matured_and_paid_to_the_unit(
    scene: Scene,
) -> None:
    await mine_until(scene, WANTED_SHARES)
    groups = await logged_groups(scene)
    assert sum(cells.total() for cells in groups.values()) >= WINDOW_WEIGHT

    # Bury all that was mined: every height is sealed, every coinbase mature.
    await scene.node.call("generatetoaddress", 103, NOBODY)
    status = await eventually(
        scene,
        "all blocks mature",
        lambda s: (
            s["blocks"]["mature"] > 50 and not s["blocks"]["candidate"] + s["blocks"]["confirmed"]
        ),
    )
    assert status["shares"]["accepted"] >= WANTED_SHARES
    # A dozen blocks a second: some are siblings that met the node a moment too late.
    assert status["blocks"]["orphaned"] < status["blocks"]["mature"]

    runtime = running(scene.pool.data)
    async with channel(runtime.rewards) as rewards_channel, channel(runtime.payouts) as pay_channel:
        rewards = rewards_pb2_grpc.RewardsStub(rewards_channel)
        blocks = (await rewards.Blocks(rewards_pb2.BlocksRequest(pool=POOL, limit=1000))).blocks
        mature = [block for block in blocks if block.state == rewards_pb2.BLOCK_MATURE]
        credited: Counter[str] = Counter()
        full_windows = 0
        for block in mature:
            split = await final_split(rewards, block)
            await check_split(scene, groups, block, split, credited)
            full_windows += window_is_full(groups, block.height)
        assert full_windows >= 5, "too few blocks had a full window of 200 shares"

        # Every account above the threshold is paid; a few more blocks bury the payout.
        for _ in range(20):
            await scene.node.call("generatetoaddress", 2, NOBODY)
            await asyncio.sleep(1)
            status = await asyncio.to_thread(scene.pool.wait_ready)
            if status["payouts"]["confirmed"] >= 4 and status["payouts"]["pending"] == 0:
                break
        stub = payouts_pb2_grpc.PayoutsStub(pay_channel)
        listed = await stub.List(
            payouts_pb2.ListRequest(coin="litecoin", limit=1000, payments=True)
        )
        paid = await check_payments_on_chain(scene, listed)

    assert set(paid) == set(scene.addresses)
    await check_books(runtime.ledger, runtime.shares, credited, paid)
    audit = await asyncio.to_thread(pithead, "audit", "--data", str(scene.pool.data))
    assert audit.returncode == 0, audit.stdout + audit.stderr


def window_is_full(groups: dict[tuple[int, bytes, int], Counter[str]], height: int) -> bool:
    before = sum(cells.total() for key, cells in groups.items() if key[0] <= height)
    return before >= WINDOW_WEIGHT


async def final_split(
    rewards: "rewards_pb2_grpc.RewardsAsyncStub", block: rewards_pb2.Block
) -> rewards_pb2.SplitReply:
    """The block's split once its height is sealed, which a chain in a hurry may outrun."""
    request = rewards_pb2.SplitRequest(coin=PARAMS.key, hash=block.hash)
    async with asyncio.timeout(60):
        while not (split := await rewards.Split(request)).final:
            await asyncio.sleep(0.2)
    return split


async def check_split(
    scene: Scene,
    groups: dict[tuple[int, bytes, int], Counter[str]],
    block: rewards_pb2.Block,
    split: rewards_pb2.SplitReply,
    credited: Counter[str],
) -> None:
    """Credits, fee and remainder are what the coinbase pays the pool, as the chain has it."""
    assert split.found
    assert split.final
    raw = await scene.node.block_bytes(block.hash)
    assert raw is not None
    parsed = parse_block(PARAMS, raw)
    on_chain = sum(out.value for out in parsed.coinbase.outputs)
    credits = {share.login.partition(".")[0]: share.amount for share in split.shares}
    assert sum(credits.values()) + split.fee + split.remainder == on_chain == block.value
    assert split.fee == on_chain // 100
    ids = {share.login.partition(".")[0]: share.account for share in split.shares}
    last = (block.height, parsed.header.parent)
    expected = judge(groups, ids, last, on_chain - split.fee)
    assert {k: v for k, v in credits.items() if v} == {k: v for k, v in expected.items() if v}
    credited.update(credits)


async def check_payments_on_chain(scene: Scene, listed: payouts_pb2.ListReply) -> Counter[str]:
    """Each payment stands in its transaction, at its address, with its amount, exactly once."""
    paid: Counter[str] = Counter()
    for payout in listed.payouts:
        assert payout.state == payouts_pb2.PAYOUT_BURIED, payout
        transaction = await scene.node.call("getrawtransaction", payout.txid, True)
        assert transaction["confirmations"] >= 2
        outputs: Counter[str | None] = Counter()
        for out in transaction["vout"]:
            script = bytes.fromhex(out["scriptPubKey"]["hex"])
            outputs[address_of_script(PARAMS, script)] += int(out["value"] * 10**8)
        for payment in payout.payments:
            address = payment.login.partition(".")[0]
            assert outputs[address] == payment.amount
            paid[address] += payment.amount
    return paid


async def check_books(
    ledger: PeerSettings, shares: PeerSettings, credited: Counter[str], paid: Counter[str]
) -> None:
    """What was credited is paid or still owed, for every account to the unit."""
    async with channel(ledger) as ledger_channel, channel(shares) as shares_channel:
        stub = ledger_pb2_grpc.LedgerStub(ledger_channel)
        balances = await stub.Balances(ledger_pb2.BalancesRequest(coin=PARAMS.key))
        accounts = accounting_pb2_grpc.AccountingStub(shares_channel)
        owners = {
            int(balance.book.owner)
            for balance in balances.balances
            if balance.book.kind == ledger_pb2.BOOK_PAYABLE
        }
        known = await accounts.Accounts(accounting_pb2.AccountsRequest(ids=sorted(owners)))
    address_of = {str(account.id): account.login.partition(".")[0] for account in known.accounts}
    assert sum(balance.amount for balance in balances.balances) == 0
    owed: Counter[str] = Counter()
    for balance in balances.balances:
        if balance.book.kind in {ledger_pb2.BOOK_PAYABLE, ledger_pb2.BOOK_HOLD}:
            owed[address_of[balance.book.owner]] += balance.amount
    for address, amount in credited.items():
        assert paid[address] + owed[address] == amount
