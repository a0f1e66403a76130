"""Wallet methods beyond what the wallet contract asks."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pithead.coins.node import RpcFault
from tests.support.node_contract import Rig
from tests.support.rigs import devchain_rig

pytestmark = pytest.mark.gate

ELSEWHERE = "dvc1qqf57sulg037qt3afp46svf5htfkqxvlvsl5man"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with devchain_rig(tmp_path / "chain") as made:
        await made.node.call("createwallet", "w")
        yield made


async def coin(rig: Rig) -> dict[str, Any]:
    """A mature coin of the wallet."""
    address = await rig.node.call("getnewaddress")
    await rig.node.call("generatetoaddress", 1, address)
    await rig.node.call("generatetoaddress", 10, ELSEWHERE)
    (found,) = await rig.node.call("listunspent")
    assert isinstance(found, dict)
    return found


async def code_of(rig: Rig, method: str, *params: object) -> int:
    with pytest.raises(RpcFault) as caught:
        await rig.node.call(method, *params)
    return caught.value.code


async def test_wallets_are_made_once_and_named(rig: Rig) -> None:
    assert await rig.node.call("listwallets") == ["w"]
    assert await code_of(rig, "createwallet", "w") == -4
    assert await code_of(rig, "createwallet", "a/b") == -4
    assert await code_of(rig, "loadwallet", "w") == -4
    assert await code_of(rig, "loadwallet", "v") == -18
    await rig.node.call("createwallet", "v")
    assert await code_of(rig, "getbalance") == -19
    assert await rig.node.call("getbalance", wallet="v") == 0


async def test_addresses_are_told_apart(rig: Rig) -> None:
    own = await rig.node.call("getnewaddress", "tag", "legacy")
    shown = await rig.node.call("getaddressinfo", own)
    assert (shown["ismine"], shown["labels"], shown["ischange"]) == (True, ["tag"], False)
    assert (await rig.node.call("getaddressinfo", ELSEWHERE))["ismine"] is False
    assert (await rig.node.call("validateaddress", ELSEWHERE))["witness_version"] == 0
    assert (await rig.node.call("validateaddress", "x"))["isvalid"] is False
    assert await code_of(rig, "getaddressinfo", "x") == -5
    assert await code_of(rig, "getnewaddress", "", "taproot") == -5
    assert await code_of(rig, "getaddressesbylabel", "none") == -11


async def test_money_moves_by_raw_transactions(rig: Rig) -> None:
    found = await coin(rig)
    assert found["amount"] == Decimal("50.00000000")
    assert await rig.node.call("getbalance") == 50
    point = {"txid": found["txid"], "vout": found["vout"]}
    bare = await rig.node.call(
        "createrawtransaction", [point], [{ELSEWHERE: Decimal("1.25").to_eng_string()}]
    )
    decoded = await rig.node.call("decoderawtransaction", bare)
    assert decoded["vout"][0]["value"] == Decimal("1.25")
    assert decoded["vin"][0]["txid"] == found["txid"]
    (verdict,) = await rig.node.call("testmempoolaccept", [bare])
    assert verdict["reject-reason"].startswith("mandatory-script-verify-flag-failed")
    signed = await rig.node.call("signrawtransactionwithwallet", bare)
    (verdict,) = await rig.node.call("testmempoolaccept", [signed["hex"]])
    assert verdict["fees"]["base"] == Decimal("48.75")
    txid = await rig.node.call("sendrawtransaction", signed["hex"])
    shown = await rig.node.call("gettransaction", txid)
    assert (shown["amount"], shown["fee"]) == (Decimal("-1.25"), Decimal("-48.75"))
    assert shown["details"][0]["category"] == "send"
    assert await rig.node.call("getbalance") == 0
    assert txid in await rig.node.call("getrawmempool", True)


async def test_what_cannot_be_signed_is_named(rig: Rig) -> None:
    point = {"txid": "07" * 32, "vout": 0}
    bare = await rig.node.call("createrawtransaction", [point], {ELSEWHERE: 1})
    signed = await rig.node.call("signrawtransactionwithwallet", bare)
    assert signed["complete"] is False
    assert signed["errors"][0]["txid"] == "07" * 32


@pytest.mark.parametrize(
    "amount",
    [
        pytest.param("0.000000001", id="nine places"),
        pytest.param("-1", id="negative"),
        pytest.param("1e9", id="more than there can be"),
        pytest.param("much", id="text"),
        pytest.param(True, id="boolean"),
    ],
)
async def test_odd_amounts_are_refused(rig: Rig, amount: object) -> None:
    point = {"txid": "07" * 32, "vout": 0}
    assert await code_of(rig, "createrawtransaction", [point], [{ELSEWHERE: amount}]) == -3


async def test_output_points_are_checked(rig: Rig) -> None:
    assert await code_of(rig, "createrawtransaction", [{"txid": "07"}], []) == -8
    odd = [{"txid": "07" * 32, "vout": -1}]
    assert await code_of(rig, "createrawtransaction", odd, []) == -8
    assert await code_of(rig, "createrawtransaction", ["x"], []) == -3


async def test_locks_are_told_and_all_let_go_at_once(rig: Rig) -> None:
    found = await coin(rig)
    point = [{"txid": found["txid"], "vout": found["vout"]}]
    assert await rig.node.call("lockunspent", False, point) is True
    assert await rig.node.call("listunspent") == []
    assert await code_of(rig, "lockunspent", False, point) == -8
    assert await rig.node.call("lockunspent", True) is True
    assert len(await rig.node.call("listunspent")) == 1
    assert await code_of(rig, "lockunspent", True, point) == -8


async def test_history_tells_immature_generated_and_orphaned(rig: Rig) -> None:
    address = await rig.node.call("getnewaddress")
    (mined,) = await rig.node.call("generatetoaddress", 1, address)
    history = await rig.node.call("listsinceblock")
    assert [one["category"] for one in history["transactions"]] == ["immature"]
    await rig.node.call("generatetoaddress", 10, ELSEWHERE)
    history = await rig.node.call("listsinceblock")
    assert [one["category"] for one in history["transactions"]] == ["generate"]
    await rig.node.call("invalidateblock", mined)
    history = await rig.node.call("listsinceblock", mined)
    assert [one["category"] for one in history["transactions"]] == ["orphan"]
    assert [one["category"] for one in history["removed"]] == ["orphan"]
    (orphan,) = history["transactions"]
    assert (await rig.node.call("gettransaction", orphan["txid"]))["confirmations"] == 0
    assert await code_of(rig, "listsinceblock", "07" * 32) == -5
    assert await code_of(rig, "listsinceblock", "", 0) == -8
