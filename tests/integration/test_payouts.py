"""Payouts against real nodes: real ledger, real accounts, real wallet, real blocks.

The same suite runs on the devchain and on litecoind. Amounts are compared to the
unit, on the chain itself: every block is read and every output to a payee counted.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from pithead.coins.address import address_of_script, script_of_address
from pithead.coins.block import Block, parse_block
from pithead.coins.script import p2pkh, p2wpkh
from pithead.coins.wallet import NodeWallet
from pithead.config import (
    CoinSettings,
    LedgerSettings,
    LogSettings,
    NodeSettings,
    PayoutPolicy,
    PayoutsSettings,
    SharesSettings,
    WalletSettings,
    store,
)
from pithead.contracts import (
    accounting_pb2,
    accounting_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    payouts_pb2,
    payouts_pb2_grpc,
)
from pithead.ledger.book import BookKind
from pithead.ledger.posting import Ledger
from pithead.ledger.service import run as run_ledger
from pithead.ledger.verify import verify
from pithead.payouts.rows import Rows
from pithead.payouts.service import run as run_payouts
from pithead.payouts.single import list_payouts, receive_address, run_pass
from pithead.payouts.states import State
from pithead.process import TaskFailed
from pithead.rpc import channel
from pithead.shares.service import run as run_shares
from pithead.store import open_store
from pithead.store.migrate import migrate
from tests.support.doors import peer, peer_of, served
from tests.support.litecoind import Litecoind
from tests.support.node_contract import SOMEBODY, Rig
from tests.support.rigs import devchain_rig, litecoin_rig

DEPTH = 2
FEE_RATE = 20
POOL = "default.payouts"
LIMIT_S = 20.0
KILLS = 8

Running = Callable[[Any, asyncio.Event], Coroutine[Any, Any, None]]


def services_of(
    directory: Path, rig: Rig, **policy: int
) -> tuple[LedgerSettings, SharesSettings, PayoutsSettings]:
    coin = CoinSettings(
        name="endpoint",
        coin=rig.params.coin,
        network=rig.params.network,
        nodes=(
            NodeSettings(
                name=rig.access.name,
                url=rig.access.url,
                user=rig.access.user,
                password=rig.access.password,
            ),
        ),
        wallet=WalletSettings(name=f"payouts-{directory.name}"),
        confirmations=DEPTH,
    )
    (directory / "log").mkdir(parents=True, exist_ok=True)

    def url(service: str) -> str:
        return f"sqlite+aiosqlite:///{directory / f'{service}.db'}"

    return (
        LedgerSettings(database=url("ledger"), serve=served(directory / "l.sock")),
        SharesSettings(
            database=url("shares"),
            serve=served(directory / "s.sock"),
            log=LogSettings(directory=directory / "log"),
            pools=(),
            coins=(coin,),
        ),
        PayoutsSettings(
            database=url("payouts"),
            serve=served(directory / "p.sock"),
            coins=(coin,),
            policies=(
                PayoutPolicy(
                    coin="endpoint",
                    interval_s=policy.get("interval_s", 3600),
                    threshold=policy.get("threshold", 100_000),
                    fee_rate=FEE_RATE,
                    fee_book=POOL,
                ),
            ),
            shares=peer(directory / "s.sock"),
            ledger=peer(directory / "l.sock"),
        ),
    )


@dataclass
class Hub:
    """The money services around one node."""

    rig: Rig
    settings: PayoutsSettings
    ledger_settings: LedgerSettings
    ledger: "ledger_pb2_grpc.LedgerAsyncStub"
    shares: "accounting_pb2_grpc.AccountingAsyncStub"
    payouts: "payouts_pb2_grpc.PayoutsAsyncStub"
    script: bytes = b""
    start_height: int = 0
    credited: dict[int, int] = field(default_factory=dict)
    scripts: dict[int, bytes] = field(default_factory=dict)
    funded: int = 0
    entries: int = 0

    @property
    def coin(self) -> str:
        return self.rig.params.key

    async def begin(self) -> None:
        reply = await self.payouts.Receive(payouts_pb2.ReceiveRequest(coin="endpoint"))
        self.script = reply.script
        self.start_height = (await self.rig.node.chain_info()).blocks

    async def account(self, script: bytes) -> int:
        login = address_of_script(self.rig.params, script)
        request = accounting_pb2.EnsureAccountRequest(coin=self.coin, login=login or "")
        account = await self.shares.EnsureAccount(request)
        self.scripts[account.id] = script
        return int(account.id)

    async def bury(self, count: int) -> None:
        nobody = address_of_script(self.rig.params, SOMEBODY)
        await self.rig.node.call("generatetoaddress", count, nobody)

    async def block(self, identity: bytes) -> Block:
        raw = await self.rig.node.block_bytes(identity)
        assert raw is not None
        return parse_block(self.rig.params, raw)

    async def mine_matured(self, blocks: int) -> int:
        """Mine blocks to the pool and bury them until they can be spent; what they pay."""
        total = 0
        for _ in range(blocks):
            found = await self.block(await self.rig.mine(self.script))
            total += sum(o.value for o in found.transactions[0].outputs if o.script == self.script)
        await self.bury(self.rig.params.coinbase_maturity + 1)
        self.funded += total
        return total

    async def credit(self, amounts: dict[int, int], total: int) -> None:
        """Book matured credits; what is left of `total` is the pool's fee."""
        self.entries += 1
        legs = [(ledger_pb2.BOOK_CHAIN, "", -total)]
        legs += [(ledger_pb2.BOOK_PAYABLE, str(each), amount) for each, amount in amounts.items()]
        legs.append((ledger_pb2.BOOK_FEE, POOL, total - sum(amounts.values())))
        entry = ledger_pb2.Entry(
            id=f"split/test/{self.entries}",
            coin=self.coin,
            kind="split",
            legs=[
                ledger_pb2.Leg(book=ledger_pb2.Book(kind=kind, owner=owner), amount=amount)
                for kind, owner, amount in legs
                if amount
            ],
        )
        await self.ledger.Post(entry)
        for account, amount in amounts.items():
            self.credited[account] = self.credited.get(account, 0) + amount

    async def list(self) -> payouts_pb2.ListReply:
        request = payouts_pb2.ListRequest(coin="endpoint", payments=True)
        reply: payouts_pb2.ListReply = await self.payouts.List(request, wait_for_ready=True)
        return reply

    async def until(
        self, condition: Callable[[payouts_pb2.ListReply], bool], *, mine: bool = True
    ) -> payouts_pb2.ListReply:
        """Poll, with a block now and then, until the list is as wanted."""
        reply = await self.list()
        try:
            async with asyncio.timeout(LIMIT_S):
                while not condition(reply):
                    if mine:
                        await self.bury(1)
                    await asyncio.sleep(0.3)
                    reply = await self.list()
        except TimeoutError:
            raise AssertionError(f"not within {LIMIT_S} s; last: {reply}") from None
        return reply

    async def received(self) -> dict[int, int]:
        """What the main chain paid to each account, read from its blocks."""
        accounts = {script: account for account, script in self.scripts.items()}
        found = dict.fromkeys(self.scripts, 0)
        tip = (await self.rig.node.chain_info()).blocks
        for height in range(self.start_height + 1, tip + 1):
            identity = await self.rig.node.block_hash_at(height)
            assert identity is not None
            for tx in (await self.block(identity)).transactions:
                for out in tx.outputs:
                    if out.script in accounts:
                        found[accounts[out.script]] += out.value
        return found

    async def check_books(self) -> None:
        """The ledger is sound and equal to the chain to the unit."""
        database = open_store(self.ledger_settings.database)
        try:
            assert await verify(database) == []
            balances = await Ledger(database).balances(self.coin)
        finally:
            await database.dispose()
        total = dict.fromkeys(BookKind, 0)
        received = await self.received()
        for book, amount in balances:
            total[book.kind] += amount
            if book.kind is BookKind.PAID and book.owner:
                assert amount == received[int(book.owner)]
        assert total[BookKind.HOLD] == 0
        wallet = NodeWallet(self.rig.node, self.rig.params, self.settings.coins[0].wallet.name)
        in_wallet = sum(coin.amount for coin in await wallet.spendable())
        assert self.funded - total[BookKind.PAID] - total[BookKind.NETWORK_FEE] == in_wallet


@asynccontextmanager
async def running(run: Running, settings: object) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


@asynccontextmanager
async def hub(
    directory: Path, rig: Rig, *, with_payouts: bool = True, **policy: int
) -> AsyncIterator[Hub]:
    ledger, shares, payouts = services_of(directory, rig, **policy)
    for name, settings in (("ledger", ledger), ("shares", shares), ("payouts", payouts)):
        await migrate(settings.database, f"pithead.{name}")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(run_ledger, ledger))
        await stack.enter_async_context(running(run_shares, shares))
        if with_payouts:
            await stack.enter_async_context(running(run_payouts, payouts))
        channels = [
            await stack.enter_async_context(channel(peer_of(settings.serve)))
            for settings in (ledger, shares, payouts)
        ]
        for each in channels[: 3 if with_payouts else 2]:
            await asyncio.wait_for(each.channel_ready(), 10)
        yield Hub(
            rig,
            payouts,
            ledger,
            ledger_pb2_grpc.LedgerStub(channels[0]),
            accounting_pb2_grpc.AccountingStub(channels[1]),
            payouts_pb2_grpc.PayoutsStub(channels[2]),
        )


@pytest.fixture(scope="module")
def litecoind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Litecoind]:
    node = Litecoind(tmp_path_factory.mktemp("litecoind"))
    asyncio.run(node.start())
    yield node
    node.stop()


class Contract:
    """What payouts do on every chain; `rig` comes from the class below."""

    async def test_everybody_is_paid_to_the_unit_and_the_address_stays(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        amounts = [1_234_567_891, 700_000_003, 99_999, 100_000]
        async with hub(tmp_path, rig) as h:
            await h.begin()
            accounts = [
                await h.account(script(20 * n))
                for n, script in enumerate([p2wpkh_of, p2pkh_of, p2wpkh_of, p2pkh_of], 1)
            ]
            total = await h.mine_matured(2)
            await h.credit(dict(zip(accounts, amounts, strict=True)), total)
            reply = await h.payouts.RunNow(payouts_pb2.RunNowRequest(coin="endpoint"))
            assert "is broadcast" in reply.outcome
            listed = await h.until(lambda r: r.confirmed == 3)
            assert listed.pending == 0
            assert listed.amount == str(sum(amounts) - 99_999)
            assert listed.trouble == ""
            (payout,) = listed.payouts
            assert payout.state == payouts_pb2.PAYOUT_BURIED
            assert payout.network_fee > 0
            received = await h.received()
            assert [received[each] for each in accounts] == [amounts[0], amounts[1], 0, amounts[3]]
            await h.check_books()
            first = await h.payouts.Receive(payouts_pb2.ReceiveRequest(coin=h.coin))
        async with hub(tmp_path, rig) as h:
            again = await h.payouts.Receive(payouts_pb2.ReceiveRequest(coin="endpoint"))
            assert (again.address, again.script) == (first.address, first.script)
            assert (await h.list()).confirmed == 3

    async def test_a_foreign_spend_stops_payouts_until_it_is_adopted(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        async with hub(tmp_path, rig) as h:
            await h.begin()
            account = await h.account(p2wpkh_of(21))
            total = await h.mine_matured(2)
            await h.credit({account: 300_000_000}, total)
            wallet = NodeWallet(rig.node, rig.params, h.settings.coins[0].wallet.name)
            stranger = await wallet.build_payment([(SOMEBODY, 5_000_000)], FEE_RATE)
            await wallet.broadcast(stranger.raw)
            shown = stranger.txid[::-1].hex()
            reply = await h.payouts.RunNow(payouts_pb2.RunNowRequest(coin="endpoint"))
            assert f"pithead payouts adopt {shown}" in reply.outcome
            assert shown in (await h.list()).trouble
            with pytest.raises(grpc.aio.AioRpcError, match="a reason is one line"):
                await h.payouts.Adopt(payouts_pb2.AdoptRequest(coin="endpoint", txid=shown))
            adopted = await h.payouts.Adopt(
                payouts_pb2.AdoptRequest(coin="endpoint", txid=shown, reason="paid a bill by hand")
            )
            assert f"5000000 base units and a fee of {stranger.fee}" in adopted.outcome
            await h.bury(1)
            await h.payouts.RunNow(payouts_pb2.RunNowRequest(coin="endpoint"))
            await h.until(lambda r: r.confirmed == 1)
            assert await h.received() == {account: 300_000_000}
            await h.check_books()
            request = ledger_pb2.EntriesRequest(coin=h.coin, kind="adopt")
            entries = [entry async for entry in h.ledger.Entries(request)]
            assert [entry.memo for entry in entries] == ["foreign transaction: paid a bill by hand"]


def p2wpkh_of(seed: int) -> bytes:
    return p2wpkh(bytes([seed]) * 20)


def p2pkh_of(seed: int) -> bytes:
    return p2pkh(bytes([seed]) * 20)


@pytest.mark.gate
class TestPayoutsOnDevchain(Contract):
    """On the built-in chain."""

    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[Rig]:
        async with devchain_rig(tmp_path / "chain") as made:
            yield made

    async def test_spending_an_input_behind_the_back_never_pays_twice(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        """A signed payout cannot be sent; its coin goes elsewhere; the payee is paid once."""
        async with hub(tmp_path / "h", rig, with_payouts=False) as h:
            await run_pass(h.settings, "endpoint", within_s=0)
            wallet = NodeWallet(rig.node, rig.params, h.settings.coins[0].wallet.name)
            h.script = script_of_address(
                rig.params, await wallet.receive_address("pithead-receive")
            )
            account = await h.account(p2wpkh_of(22))
            total = await h.mine_matured(3)
            await h.credit({account: 300_000_000}, total)
            await rig.node.call("devchain_fault", {"refuse": "sendrawtransaction"})
            with pytest.raises(TaskFailed):
                await run_pass(h.settings, "endpoint", within_s=0)
            await rig.node.call("devchain_fault", {})
            database = open_store(h.settings.database)
            payout = await Rows(database).open(h.coin)
            await database.dispose()
            assert payout is not None
            assert payout.state is State.SIGNED
            (point,) = payout.attempts[0].inputs
            rival = await wallet.build_payment([(SOMEBODY, 1_000_000)], FEE_RATE, point)
            await wallet.broadcast(rival.raw)
            await h.bury(1)
            async with running(run_payouts, h.settings):
                shown = rival.txid[::-1].hex()
                await h.until(lambda r: shown in r.trouble, mine=False)
                await h.payouts.Adopt(
                    payouts_pb2.AdoptRequest(coin="endpoint", txid=shown, reason="a test")
                )
                await h.until(lambda r: r.payouts[0].state == payouts_pb2.PAYOUT_RELEASED)
                await h.payouts.RunNow(payouts_pb2.RunNowRequest(coin="endpoint"))
                await h.until(lambda r: r.confirmed == 1)
            assert await h.received() == {account: 300_000_000}
            await h.check_books()

    async def test_a_pass_sends_what_is_due_and_a_later_one_settles_it(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        async with hub(tmp_path / "h", rig, with_payouts=False) as h:
            first = await run_pass(h.settings, "endpoint", within_s=5)
            assert first["outcome"] == "nobody is due"
            row = await receive_address(h.settings.database, h.settings.coins[0])
            assert row.script is not None
            h.script = row.script
            account = await h.account(p2wpkh_of(22))
            await h.credit({account: 300_000_000}, await h.mine_matured(3))
            sent = await run_pass(h.settings, "endpoint", within_s=10)
            assert "broadcast, 0 of" in sent["outcome"]
            assert (sent["pending"], sent["confirmed"]) == (1, 0)
            waiting = await run_pass(h.settings, "endpoint", within_s=10)
            assert waiting == sent, "nothing happened, so nothing changes"
            await h.bury(h.settings.coins[0].confirmations + 1)
            settled = await run_pass(h.settings, "endpoint", within_s=10)
            assert (settled["pending"], settled["confirmed"]) == (0, 1)
            assert settled["amount"] == "300000000"
            (payout,) = await list_payouts(h.settings, 10)
            assert payout.state == payouts_pb2.PAYOUT_BURIED
            again = await receive_address(h.settings.database, h.settings.coins[0])
            assert (again.address, again.script) == (row.address, row.script)
            h.start_height = 0
            assert await h.received() == {account: 300_000_000}
            await h.check_books()

    async def test_passes_killed_at_any_moment_pay_everybody_once(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        """SIGKILL at random moments of passes, some of them two at once."""
        seed = int(os.environ.get("PITHEAD_TEST_SEED", "0")) or random.randrange(1 << 32)
        print(f"seed {seed}; again with PITHEAD_TEST_SEED={seed}")
        chance = random.Random(seed)
        (tmp_path / "h").mkdir()
        async with hub(tmp_path / "h", rig, with_payouts=False, threshold=1000) as h:
            row = await receive_address(h.settings.database, h.settings.coins[0])
            h.script = row.script or b""
            accounts = [await h.account(p2wpkh_of(100 + n)) for n in range(3)]
            config = tmp_path / "payouts.json"
            store(config, h.settings)
            command = [sys.executable, "-m", "pithead.cli", "payouts", "run"]
            command += ["--config", str(config), "--coin", "endpoint", "--within", "5"]
            for _ in range(KILLS):
                total = await h.mine_matured(1)
                parts = [chance.randrange(2000, total // 5) for _ in accounts]
                await h.credit(dict(zip(accounts, parts, strict=True)), total)
                passes = [
                    subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    for _ in range(chance.choice((1, 2)))
                ]
                await asyncio.sleep(chance.uniform(0.8, 1.8))
                await h.bury(chance.choice((0, 1, 3)))
                for process in passes:
                    process.kill()
                    await asyncio.to_thread(process.wait)
                for account, amount in (await h.received()).items():
                    assert amount <= h.credited[account]
            due = str(sum(h.credited.values()))
            async with asyncio.timeout(LIMIT_S):
                while True:
                    told = await run_pass(h.settings, "endpoint", within_s=2)
                    if told["amount"] == due and not told["pending"]:
                        break
                    await h.bury(2)
            assert await h.received() == h.credited
            await h.check_books()

    async def test_a_service_killed_at_any_moment_pays_everybody_once(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        """SIGKILL at random moments while credits come in and blocks are found."""
        seed = int(os.environ.get("PITHEAD_TEST_SEED", "0")) or random.randrange(1 << 32)
        print(f"seed {seed}; again with PITHEAD_TEST_SEED={seed}")
        chance = random.Random(seed)
        (tmp_path / "h").mkdir()
        async with hub(tmp_path / "h", rig, with_payouts=False, interval_s=1, threshold=1000) as h:
            await run_pass(h.settings, "endpoint", within_s=0)
            wallet = NodeWallet(rig.node, rig.params, h.settings.coins[0].wallet.name)
            h.script = script_of_address(
                rig.params, await wallet.receive_address("pithead-receive")
            )
            accounts = [await h.account(p2wpkh_of(100 + n)) for n in range(4)]
            config = tmp_path / "payouts.json"
            store(config, h.settings)
            for _ in range(KILLS):
                total = await h.mine_matured(1)
                parts = [chance.randrange(2000, total // 5) for _ in accounts]
                await h.credit(dict(zip(accounts, parts, strict=True)), total)
                process = subprocess.Popen(
                    [sys.executable, "-m", "pithead.cli", "payouts", "--config", str(config)],
                    stderr=subprocess.DEVNULL,
                )
                deadline = asyncio.get_running_loop().time() + chance.uniform(0.6, 2.5)
                while asyncio.get_running_loop().time() < deadline:
                    await asyncio.sleep(chance.uniform(0.02, 0.3))
                    await h.bury(1)
                process.kill()
                await asyncio.to_thread(process.wait)
                for account, amount in (await h.received()).items():
                    assert amount <= h.credited[account]
            async with running(run_payouts, h.settings):
                due = sum(h.credited.values())
                await h.until(lambda r: r.amount == str(due) and not r.pending)
            assert await h.received() == h.credited
            await h.check_books()


@pytest.mark.gate
@pytest.mark.needs("litecoind")
class TestPayoutsOnLitecoind(Contract):
    """On the real node."""

    @pytest.fixture
    async def rig(self, litecoind: Litecoind) -> AsyncIterator[Rig]:
        async with litecoin_rig(litecoind.access) as made:
            yield made
