"""The service: starts, stops, tells what is wrong, and survives SIGKILL at any moment."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from pithead.coins.address import script_of_address
from pithead.coins.node import NodeError, RpcNode
from pithead.coins.registry import chain_params
from pithead.coins.wallet import NodeWallet
from pithead.config import SettingsError
from pithead.devchain.service import run
from tests.support.devchain import DevchainProcess, DevchainTask, devchain_settings
from tests.support.node_contract import SOMEBODY, solve

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")


async def test_a_restart_finds_chain_wallet_and_mempool_again(tmp_path: Path) -> None:
    settings = devchain_settings(tmp_path / "chain")
    async with DevchainTask(settings) as devchain, RpcNode(devchain.access) as node:
        wallet = NodeWallet(node, PARAMS)
        await wallet.ensure()
        address = await wallet.receive_address("pool")
        await node.call("generatetoaddress", 12, address)
        payment = await wallet.build_payment([(SOMEBODY, 100_000)], 7)
        await wallet.broadcast(payment.raw)
        before = await node.chain_info()
        coins = await wallet.spendable()
    async with DevchainTask(settings) as devchain, RpcNode(devchain.access) as node:
        wallet = NodeWallet(node, PARAMS)
        assert await node.chain_info() == before
        assert await wallet.receive_address("pool") == address
        assert await wallet.spendable() == coins
        found = await wallet.transaction(payment.txid)
        assert found is not None
        assert (found.confirmations, found.fee) == (0, payment.fee)
        template = await node.get_template(PARAMS)
        assert [tx.txid for tx in template.transactions] == [payment.txid]
        assert (await node.submitted(solve(PARAMS, template))).on_chain
        found = await wallet.transaction(payment.txid)
        assert found is not None
        assert found.confirmations == 1


async def test_a_port_in_use_is_told_with_the_remedy(tmp_path: Path) -> None:
    async with DevchainTask(devchain_settings(tmp_path / "one")) as devchain:
        other = devchain_settings(tmp_path / "two", port=devchain.settings.port)
        with pytest.raises(SettingsError, match="choose another port"):
            await run(other, asyncio.Event())
    # The failed start let go of its directory.
    async with DevchainTask(other):
        pass


async def test_a_directory_in_use_is_told(tmp_path: Path) -> None:
    async with DevchainTask(devchain_settings(tmp_path / "one")):
        with pytest.raises(SettingsError, match="in use"):
            await run(devchain_settings(tmp_path / "one"), asyncio.Event())


async def test_stop_by_rpc_ends_it_in_spite_of_a_long_poll(tmp_path: Path) -> None:
    settings = devchain_settings(tmp_path / "chain")
    async with DevchainTask(settings) as devchain, RpcNode(devchain.access) as node:
        template = await node.get_template(PARAMS)
        waiting = asyncio.create_task(node.get_template(PARAMS, template.longpoll_id))
        await asyncio.sleep(0.1)
        assert await node.call("stop") == "Devchain stopping"
        async with asyncio.timeout(5):
            with pytest.raises(NodeError):
                await waiting


async def test_killed_at_any_moment_it_keeps_what_it_answered(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    process = DevchainProcess(devchain_settings(tmp_path / "chain"))
    accepted: list[bytes] = []
    addresses: list[str] = []
    sent: list[bytes] = []
    try:
        for round_number in range(8):
            started = time.monotonic()
            await process.start()
            assert time.monotonic() - started < 10
            async with RpcNode(process.access, timeout_s=5) as node:
                wallet = NodeWallet(node, PARAMS)
                await wallet.ensure()
                for identity in accepted:
                    header = await node.block_header(identity)
                    assert header is not None
                    assert header.confirmations > 0
                assert set(addresses) <= await known_addresses(node)
                for txid in sent:
                    assert await wallet.transaction(txid) is not None
                working = asyncio.create_task(work(node, wallet, accepted, addresses, sent))
                await asyncio.sleep(draw.uniform(0.02, 0.25) + (0.3 if round_number == 0 else 0))
                process.kill()
                with pytest.raises(NodeError):
                    await working
        assert len(accepted) > 20
        assert sent
        await process.start()
        assert process.terminate() == 0
    finally:
        process.kill()


async def known_addresses(node: RpcNode) -> set[str]:
    try:
        return set(await node.call("getaddressesbylabel", "kept", wallet="pool"))
    except NodeError:
        return set()


async def work(
    node: RpcNode,
    wallet: NodeWallet,
    accepted: list[bytes],
    addresses: list[str],
    sent: list[bytes],
) -> None:
    """Blocks, addresses and payments without end; each noted when it was answered."""
    while True:
        address = str(await node.call("getnewaddress", "kept", "bech32", wallet="pool"))
        addresses.append(address)
        for _ in range(6):
            template = await node.get_template(PARAMS)
            block = solve(PARAMS, template, script_of_address(PARAMS, address))
            submission = await node.submitted(block)
            assert submission.on_chain
            accepted.append(submission.hash)
        if await wallet.spendable():
            payment = await wallet.build_payment([(SOMEBODY, 10_000)], 5)
            await wallet.broadcast(payment.raw)
            sent.append(payment.txid)


async def test_a_start_on_a_long_chain_is_quick(tmp_path: Path) -> None:
    settings = devchain_settings(tmp_path / "chain")
    async with DevchainTask(settings) as devchain, RpcNode(devchain.access) as node:
        wallet = NodeWallet(node, PARAMS)
        await wallet.ensure()
        address = await wallet.receive_address("pool")
        await node.call("generatetoaddress", 1500, address, timeout_s=30)
    started = time.process_time()
    async with DevchainTask(settings) as devchain, RpcNode(devchain.access) as node:
        assert (await node.chain_info()).blocks == 1500
        # CPU time: 5,000 blocks in 1.5 s, imports apart.
        assert time.process_time() - started < 1.5 * 1500 / 5000 + 0.2
