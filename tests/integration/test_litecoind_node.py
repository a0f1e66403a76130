"""Node and wallet by their contracts, on a real litecoind in regtest."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from pithead.coins.node import NodeAddress, NodeUnreachable, RpcNode
from pithead.coins.wallet import NodeWallet
from pithead.shares.fees import fees_of
from tests.support.litecoind import NOBODY, PASSWORD, USER, Litecoind, free_port
from tests.support.node_contract import NodeContract, Rig
from tests.support.rigs import litecoin_rig
from tests.support.wallet_contract import WalletContract, empty_wallet, wallet

pytestmark = [pytest.mark.gate, pytest.mark.needs("litecoind")]

__all__ = ["empty_wallet", "wallet"]


@pytest.fixture(scope="module")
def litecoind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Litecoind]:
    node = Litecoind(tmp_path_factory.mktemp("litecoind"))
    asyncio.run(node.start())
    yield node
    node.stop()


@pytest.fixture
async def rig(litecoind: Litecoind) -> AsyncIterator[Rig]:
    async with litecoin_rig(litecoind.access) as made:
        yield made


class TestNodeOfLitecoind(NodeContract):
    """The node's contract."""


class TestWalletOfLitecoind(WalletContract):
    """The wallet's contract."""


async def test_a_wallet_that_the_node_let_go_is_loaded_again(rig: Rig, wallet: NodeWallet) -> None:
    coins = await wallet.spendable()
    await rig.node.call("unloadwallet", wallet.name)
    assert {coin.outpoint for coin in await wallet.spendable()} == {coin.outpoint for coin in coins}
    await rig.node.call("unloadwallet", wallet.name)
    await wallet.ensure()
    assert len(await wallet.spendable()) == len(coins)


async def test_the_wrapper_runs_a_command_beside_a_node_and_ends_both(tmp_path: Path) -> None:
    port = free_port()
    script = (
        "import asyncio, sys\n"
        "from pithead.coins.node import NodeAddress, RpcNode\n"
        "from pithead.coins.registry import chain_params\n"
        "async def main():\n"
        f"    access = NodeAddress('n', 'http://127.0.0.1:{port}', '{USER}', '{PASSWORD}')\n"
        "    async with RpcNode(access) as node:\n"
        "        await node.get_template(chain_params('litecoin', 'regtest'))\n"
        "asyncio.run(main())\n"
        "sys.exit(7)\n"
    )
    command = [
        *(sys.executable, "-m", "tests.support.litecoind"),
        *("--datadir", str(tmp_path / "node"), "--rpcport", str(port)),
        *("--", sys.executable, "-c", script),
    ]
    root = Path(__file__).resolve().parents[2]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=root, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 7, done.stderr
    async with RpcNode(NodeAddress("n", f"http://127.0.0.1:{port}", USER, PASSWORD)) as node:
        with pytest.raises(NodeUnreachable):
            await node.best_hash()


async def test_fees_are_what_a_coinbase_holds_above_the_subsidy(
    rig: Rig, wallet: NodeWallet
) -> None:
    amount = Decimal((await wallet.spendable())[0].amount // 2).scaleb(-rig.params.decimals)
    txid = await rig.node.call("sendtoaddress", NOBODY, f"{amount:f}", wallet=wallet.name)
    sent = await rig.node.call("gettransaction", txid, wallet=wallet.name)
    identity = await rig.mine()
    found = await rig.node.coinbase(rig.params, identity)
    assert found is not None
    height = (await rig.node.chain_info()).blocks
    value = sum(output.value for output in found[1].outputs)
    fees = -int(sent["fee"] * 10**rig.params.decimals)
    assert fees > 0
    assert fees_of(value, rig.params.subsidy(height)) == fees
