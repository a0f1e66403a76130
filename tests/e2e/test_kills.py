"""Every process is killed again and again under load, and nothing is lost or paid twice.

The seed of the campaign is printed; PITHEAD_KILL_SEED repeats one. Killing the
runtime kills all of its processes with it, so each kind dies more often than
it is chosen.
"""

import asyncio
import os
import random
import secrets
import signal
import sqlite3
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from pithead.coins.address import address_of_script
from pithead.coins.block import parse_block
from pithead.coins.hashing import pow_hash
from pithead.coins.job import make_job, parse_coinbase_mark, pool_tag
from pithead.coins.node import NodeError, RpcNode
from pithead.coins.registry import chain_params
from pithead.config import PayoutsSettings, load
from pithead.contracts import (
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
from pithead.miner.record import Answer, SubmitRecord
from pithead.miner.worker import WorkerSpec
from pithead.rpc import channel
from pithead.up.report import running
from tests.support.manifests import variant, without_demo_miners
from tests.support.pool import RunningPool, free_port, pithead

PARAMS = chain_params("devchain", "regtest")
POOL = "default.quickstart"
KINDS = ("devchain", "ledger", "payouts", "rewards", "shares", "stratum")
WORKERS = 16
ACCOUNTS = 4
SHARE_DIFFICULTY = "0.000000015"
"""About 64 hashes: plenty of shares for little CPU."""
HASHES_PER_S = 4000.0
HASHES_PER_BLOCK = 200_000
"""A block is rare: one share in three thousand."""


@dataclass(frozen=True)
class Size:
    """How much a campaign does."""

    kills_of_each: int
    answered_shares: int
    limit_s: float


SHORT = Size(kills_of_each=30, answered_shares=20_000, limit_s=240)
LONG = Size(kills_of_each=400, answered_shares=400_000, limit_s=3000)

Key = tuple[bytes, str, int]
"""Producer, account, job serial."""


@dataclass
class Heard:
    """What the miners heard."""

    true: Counter[Key] = field(default_factory=Counter)
    unknown: Counter[Key] = field(default_factory=Counter)
    refused: Counter[int | None] = field(default_factory=Counter)

    def take(self, record: SubmitRecord) -> None:
        key = (record.salt, record.login.partition(".")[0], int(record.job, 16))
        if record.answer is Answer.TRUE:
            self.true[key] += 1
        elif record.answer is Answer.NONE:
            self.unknown[key] += 1
        else:
            self.refused[record.code] += 1


def kill(pid: int) -> bool:
    """Kill a process and wait until it is gone; False when it was gone before."""
    try:
        process = psutil.Process(pid)
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    psutil.wait_procs([process], timeout=5)
    return True


async def campaign(
    pool: RunningPool, heard: Heard, chance: random.Random, size: Size
) -> Counter[str]:
    """Kill processes at random moments until each kind has died often enough under enough load."""
    killed: Counter[str] = Counter()
    left = dict.fromkeys((*KINDS, "up"), size.kills_of_each)
    started = time.monotonic()
    while any(left.values()):
        # Some kills fall into a service's start, most into its work.
        await asyncio.sleep(chance.choice((0.05, 0.1, 0.2, 0.4, 0.7, 1.1)))
        running_now = await asyncio.to_thread(pool.services)
        wanted = [kind for kind, count in left.items() if count]
        at_hand = [kind for kind in wanted if kind == "up" or kind in running_now]
        if not at_hand:
            continue
        kind = chance.choices(at_hand, weights=[left[each] for each in at_hand])[0]
        if kind == "up":
            await asyncio.to_thread(pool.kill)
            pool.start()
        elif not await asyncio.to_thread(kill, running_now[kind]):
            continue
        killed[kind] += 1
        left[kind] -= 1
    print(f"last kill after {time.monotonic() - started:.0f} s")
    while heard.true.total() < size.answered_shares:
        await asyncio.sleep(0.2)
    took_s = time.monotonic() - started
    print(f"{killed.total()} kills, {heard.true.total()} shares answered true in {took_s:.0f} s")
    assert took_s < size.limit_s
    return killed


async def logged_shares(data: Path) -> tuple[Counter[Key], Counter[str]]:
    """Shares by producer, account and serial, and weights by account, straight from the log."""
    reader = FileLog(data / "log").reader(shares_topic(POOL))
    shares: Counter[Key] = Counter()
    weights: Counter[str] = Counter()
    seen: set[tuple[bytes, int]] = set()
    for partition in await reader.partitions():
        position = await reader.start(partition)
        while records := await reader.read(partition, position, 1 << 20):
            position = records[-1].next_position
            for batch in (decode_batch(record.payload) for record in records):
                if (batch.producer, batch.sequence) in seen:
                    continue
                seen.add((batch.producer, batch.sequence))
                for login, serial, weight in zip(
                    batch.login, batch.serial, batch.weight, strict=True
                ):
                    account = batch.account[login]
                    shares[batch.producer, account, serial] += 1
                    weights[account] += weight
    await reader.close()
    return shares, weights


def cell_weights(data: Path) -> Counter[str]:
    """Weights by account as accounting has them."""
    with sqlite3.connect(f"file:{data}/db/shares.db?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT accounts.login, SUM(cells.weight) FROM cells"
            " JOIN accounts ON accounts.id = cells.account GROUP BY accounts.login"
        ).fetchall()
    connection.close()
    return Counter({login.partition(".")[0]: int(weight) for login, weight in rows})


async def on_chain(node: RpcNode) -> tuple[Counter[str], int]:
    """What the chain pays each address outside of coinbases, and the pool's blocks on it."""
    paid: Counter[str] = Counter()
    mined = 0
    height = 1
    while (identity := await node.block_hash_at(height)) is not None:
        raw = await node.block_bytes(identity)
        assert raw is not None
        block = parse_block(PARAMS, raw)
        mark = parse_coinbase_mark(PARAMS, block.coinbase)
        mined += mark is not None and mark.tag == pool_tag(POOL)
        for transaction in block.transactions[1:]:
            for out in transaction.outputs:
                paid[address_of_script(PARAMS, out.script) or ""] += out.value
        height += 1
    return paid, mined


async def lose_a_record(node: RpcNode, session: SubmitRecord, script: bytes) -> bytes:
    """Put a block of the pool on the chain that no edge ever wrote down; return its hash."""
    while True:
        template = await node.get_template(PARAMS)
        job = make_job(template, script, pool_tag(POOL), session.salt, 0xFFFF_FF00)
        extranonce2 = secrets.token_bytes(8)
        for nonce in range(400_000):
            header = job.header(
                session.extranonce1, extranonce2, template.time, nonce, template.version
            )
            if pow_hash(PARAMS, header) <= template.target:
                block = job.block(
                    session.extranonce1, extranonce2, template.time, nonce, template.version
                )
                submission = await node.submitted(block)
                if submission.on_chain:
                    return submission.hash
                break
            if nonce % 20_000 == 0:
                await asyncio.sleep(0)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SHORT, marks=[pytest.mark.gate, pytest.mark.timeout(480)], id="short"),
        pytest.param(LONG, marks=[pytest.mark.proof, pytest.mark.timeout(4000)], id="long"),
    ],
)
async def test_answered_shares_survive_every_kill_and_nobody_is_paid_twice(
    tmp_path: Path, size: Size
) -> None:
    seed = os.environ.get("PITHEAD_KILL_SEED") or secrets.token_hex(4)
    print(f"repeat with PITHEAD_KILL_SEED={seed}")
    port, rpc_port = free_port(), free_port()

    def change(objects: dict[str, dict[str, Any]]) -> None:
        without_demo_miners(objects)
        objects["CoinEndpoint"]["spec"]["devchain"] = {
            "hashesPerBlock": HASHES_PER_BLOCK,
            "rpcPort": rpc_port,
        }
        spec = objects["MiningPool"]["spec"]
        spec["listeners"][0] |= {
            "port": port,
            "difficulty": {
                "start": SHARE_DIFFICULTY,
                "min": SHARE_DIFFICULTY,
                "max": SHARE_DIFFICULTY,
            },
        }
        spec["payouts"] |= {"intervalSeconds": 1}
        # One address of this test holds all connections, through every restart.
        spec["bans"] = {"invalidPercent": 100}

    manifests = variant("quickstart", tmp_path / "manifests", change)
    pool = RunningPool(manifests, tmp_path / "data")
    pool.start()
    heard = Heard()
    records: list[SubmitRecord] = []

    def recorder(record: SubmitRecord) -> None:
        heard.take(record)
        records[:] = [record]

    addresses = [demo_address(PARAMS, b"kills", index)[0] for index in range(ACCOUNTS)]
    specs = [
        WorkerSpec(f"{addresses[index % ACCOUNTS]}.rig{index}", hashrate=HASHES_PER_S)
        for index in range(WORKERS)
    ]
    fleet = Fleet(f"stratum+tcp://127.0.0.1:{port}", specs, recorder=recorder)
    stop = asyncio.Event()
    try:
        await pool.wait_ready_async()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fleet.run(stop))
            try:
                killed = await campaign(pool, heard, random.Random(seed), size)
                await pool.wait_ready_async()
            finally:
                stop.set()
        assert all(killed[kind] >= size.kills_of_each for kind in (*KINDS, "up"))
        await check_shares(pool, heard)
        await check_money(pool, records[-1])
        audit = await asyncio.to_thread(pithead, "audit", "--data", str(pool.data))
        assert audit.returncode == 0, audit.stdout + audit.stderr
    finally:
        await asyncio.to_thread(pool.stop)


async def check_shares(pool: RunningPool, heard: Heard) -> None:
    """Answered `true` is in the log once, and the cells are the log."""
    logged, weights = await logged_shares(pool.data)
    for key, count in heard.true.items():
        # What was never answered may or may not have been written.
        assert count <= logged[key] <= count + heard.unknown[key], key
    strangers = logged.keys() - heard.true.keys() - heard.unknown.keys()
    assert not strangers, "the log holds shares that nobody submitted"
    deadline = time.monotonic() + 30
    while (cells := cell_weights(pool.data)) != weights and time.monotonic() < deadline:
        await asyncio.sleep(0.3)
    assert cells == weights


async def check_money(pool: RunningPool, session: SubmitRecord) -> None:
    """Find a lost block again, let all mature, and compare the chain with the book."""
    settings = load(pool.data / "config" / "payouts.json", PayoutsSettings)
    coin = settings.coins[0]
    runtime = running(pool.data)
    async with (
        RpcNode(coin.nodes[0]) as node,
        channel(runtime.rewards) as rewards_channel,
        channel(runtime.ledger) as ledger_channel,
        channel(runtime.payouts) as payouts_channel,
    ):
        payouts = payouts_pb2_grpc.PayoutsStub(payouts_channel)
        receive = await payouts.Receive(payouts_pb2.ReceiveRequest(coin=coin.name), timeout=30)
        lost = await lose_a_record(node, session, receive.script)
        rewards = rewards_pb2_grpc.RewardsStub(rewards_channel)
        found = await find_block(rewards, lost)
        assert found.from_watcher
        assert found.finder == session.login

        nobody = demo_address(PARAMS, secrets.token_bytes(16), 0)[0]
        await node.call("generatetoaddress", PARAMS.coinbase_maturity + 3, nobody)
        await wait_settled(pool, node, nobody)
        _, mined = await on_chain(node)
        blocks = await rewards.Blocks(rewards_pb2.BlocksRequest(pool=POOL, limit=1))
        assert blocks.mature == mined
        await check_paid_once(node, ledger_pb2_grpc.LedgerStub(ledger_channel), payouts, coin.name)


async def find_block(
    rewards: "rewards_pb2_grpc.RewardsAsyncStub", identity: bytes
) -> rewards_pb2.Block:
    async with asyncio.timeout(30):
        while True:
            listed = await rewards.Blocks(rewards_pb2.BlocksRequest(pool=POOL, limit=20))
            for block in listed.blocks:
                # The finder is looked up after the block was written down.
                if block.hash == identity and block.finder:
                    return block
            await asyncio.sleep(0.2)


async def wait_settled(pool: RunningPool, node: RpcNode, nobody: str) -> None:
    """Bury payouts until none is under way and nothing payable waits above the threshold."""
    quiet = 0
    async with asyncio.timeout(90):
        while quiet < 3:
            try:
                await node.call("generatetoaddress", 1, nobody)
            except NodeError:
                await asyncio.sleep(0.5)
                continue
            await asyncio.sleep(0.7)
            status = await asyncio.to_thread(pool.status)
            blocks = status["blocks"] if status else {"candidate": 1, "confirmed": 1}
            pending = status["payouts"]["pending"] if status else 1
            settled = not pending and not blocks["candidate"] and not blocks["confirmed"]
            quiet = quiet + 1 if settled else 0


async def check_paid_once(
    node: RpcNode,
    ledger: "ledger_pb2_grpc.LedgerAsyncStub",
    payouts: "payouts_pb2_grpc.PayoutsAsyncStub",
    coin: str,
) -> None:
    """The chain holds each payment of the book once, to the unit, and no other."""
    listed = await payouts.List(payouts_pb2.ListRequest(coin=coin, limit=10_000, payments=True))
    booked: Counter[str] = Counter()
    by_account: dict[str, int] = defaultdict(int)
    for payout in listed.payouts:
        if payout.state != payouts_pb2.PAYOUT_BURIED:
            continue
        for payment in payout.payments:
            booked[payment.login.partition(".")[0]] += payment.amount
            by_account[str(payment.account)] += payment.amount
    assert booked, "the campaign paid nobody"
    paid, _ = await on_chain(node)
    for address, amount in booked.items():
        assert paid[address] == amount, address
    balances = await ledger.Balances(ledger_pb2.BalancesRequest(coin=PARAMS.key))
    assert sum(balance.amount for balance in balances.balances) == 0
    for balance in balances.balances:
        if balance.book.kind == ledger_pb2.BOOK_PAID:
            assert balance.amount == by_account[balance.book.owner]
