"""Chain methods beyond what the node contract asks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pithead.coins.block import parse_header
from pithead.coins.node import RpcFault
from tests.support.node_contract import Rig
from tests.support.rigs import devchain_rig

pytestmark = pytest.mark.gate

ADDRESS = "dvc1qqf57sulg037qt3afp46svf5htfkqxvlvsl5man"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with devchain_rig(tmp_path / "chain") as made:
        await made.node.call("generatetoaddress", 3, ADDRESS)
        yield made


async def test_a_block_is_shown_in_three_forms(rig: Rig) -> None:
    tip = await rig.node.call("getbestblockhash")
    raw = await rig.node.call("getblock", tip, 0)
    brief = await rig.node.call("getblock", tip)
    full = await rig.node.call("getblock", tip, 2)
    assert brief["tx"] == [one["txid"] for one in full["tx"]]
    assert brief["height"] == 3
    assert brief["size"] == len(raw) // 2
    assert "coinbase" in full["tx"][0]["vin"][0]
    assert full["tx"][0]["vout"][0]["scriptPubKey"]["addresses"] == [ADDRESS]
    header = await rig.node.call("getblockheader", tip, False)
    assert parse_header(bytes.fromhex(header)).hash()[::-1].hex() == tip
    assert raw.startswith(header)


async def test_hashes_are_checked(rig: Rig) -> None:
    for method in ("getblock", "getblockheader", "invalidateblock"):
        with pytest.raises(RpcFault) as caught:
            await rig.node.call(method, "zz")
        assert caught.value.code == -8
    with pytest.raises(RpcFault) as caught:
        await rig.node.call("getblock", "zz" * 32)
    assert caught.value.code == -8
    with pytest.raises(RpcFault, match="No such mempool or blockchain transaction"):
        await rig.node.call("getrawtransaction", "07" * 32)


async def test_an_output_is_there_until_it_is_spent(rig: Rig) -> None:
    block = await rig.node.call("getblock", await rig.node.call("getblockhash", 1), 2)
    txid = block["tx"][0]["txid"]
    shown = await rig.node.call("gettxout", txid, 0)
    assert (shown["value"], shown["confirmations"], shown["coinbase"]) == (50, 3, True)
    assert await rig.node.call("gettxout", txid, 9) is None


async def test_the_node_tells_of_itself(rig: Rig) -> None:
    assert (await rig.node.call("getnetworkinfo"))["connections"] == 1
    assert len(await rig.node.call("getpeerinfo")) == 1
    assert await rig.node.call("uptime") >= 0
    assert await rig.node.call("getblockcount") == 3
    assert (await rig.node.call("getmempoolinfo"))["size"] == 0


async def test_garbage_is_no_transaction(rig: Rig) -> None:
    for text in ("", "00", "zz"):
        with pytest.raises(RpcFault) as caught:
            await rig.node.call("sendrawtransaction", text)
        assert caught.value.code == -22
