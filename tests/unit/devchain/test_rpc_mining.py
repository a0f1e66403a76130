"""Templates, long polls and mining by the node, beyond what the node contract asks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pithead.coins.node import RpcFault
from pithead.coins.wallet import NodeWallet
from pithead.devchain import rpc_mining
from tests.support.node_contract import SOMEBODY, Rig, solve
from tests.support.rigs import devchain_rig

pytestmark = pytest.mark.gate

ADDRESS = "dvc1qqf57sulg037qt3afp46svf5htfkqxvlvsl5man"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with devchain_rig(tmp_path / "chain") as made:
        yield made


async def waiting_payments(rig: Rig) -> list[bytes]:
    """A payment and its child in the mempool; their txids."""
    wallet = NodeWallet(rig.node, rig.params)
    await wallet.ensure()
    address = await wallet.receive_address("x")
    await rig.node.call("generatetoaddress", 11, address)
    parent = await wallet.build_payment([(SOMEBODY, 100_000)], 10)
    await wallet.broadcast(parent.raw)
    change = {"txid": parent.txid[::-1].hex(), "vout": 1}
    bare = await rig.node.call("createrawtransaction", [change], [{address: "1.5"}])
    signed = await rig.node.call("signrawtransactionwithwallet", bare)
    assert signed["complete"]
    child = await rig.node.call("sendrawtransaction", signed["hex"])
    return [parent.txid, bytes.fromhex(child)[::-1]]


async def test_a_template_takes_parents_before_children_and_their_fees(rig: Rig) -> None:
    txids = await waiting_payments(rig)
    reply = await rig.node.call("getblocktemplate", {"rules": ["segwit"]})
    assert [one["txid"] for one in reply["transactions"]] == [t[::-1].hex() for t in txids]
    assert [one["depends"] for one in reply["transactions"]] == [[], [1]]
    fees = sum(one["fee"] for one in reply["transactions"])
    assert reply["coinbasevalue"] == 50 * 10**8 + fees
    assert (await rig.node.submitted(solve(rig.params, await rig.template()))).on_chain
    assert await rig.node.call("getrawmempool") == []
    for txid in txids:
        shown = await rig.node.call("getrawtransaction", txid[::-1].hex(), True)
        assert shown["confirmations"] == 1


async def test_a_long_poll_tells_of_a_new_transaction_after_a_while(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_mining, "MEMPOOL_NEWS_MS", 300)
    before = await rig.template()
    waiting = asyncio.create_task(rig.node.get_template(rig.params, before.longpoll_id))
    await asyncio.sleep(0.05)
    txids = await waiting_payments(rig)
    first = await waiting
    assert first.parent != before.parent
    known = await rig.node.get_template(rig.params, first.longpoll_id)
    assert [tx.txid for tx in known.transactions] == txids


async def test_a_long_poll_whose_asker_has_gone_leaves_nothing_behind(rig: Rig) -> None:
    template = await rig.template()
    for _ in range(20):
        waiting = asyncio.create_task(rig.node.get_template(rig.params, template.longpoll_id))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert (await rig.template()).parent == template.parent


async def test_the_node_mines_to_an_address_and_refuses_others(rig: Rig) -> None:
    hashes = await rig.node.call("generatetoaddress", 3, ADDRESS)
    assert [bytes.fromhex(text)[::-1] for text in hashes] == [
        await rig.node.block_hash_at(height) for height in (1, 2, 3)
    ]
    with pytest.raises(RpcFault, match="another network") as caught:
        await rig.node.call("generatetoaddress", 1, "rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5")
    assert caught.value.code == -5
    with pytest.raises(RpcFault):
        await rig.node.call("generatetoaddress", -1, ADDRESS)


async def test_figures_about_mining_follow_the_chain(rig: Rig) -> None:
    await rig.node.call("generatetoaddress", 2, ADDRESS)
    shown = await rig.node.call("getmininginfo")
    assert (shown["blocks"], shown["pooledtx"]) == (2, 0)
