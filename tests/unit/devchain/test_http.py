"""The HTTP shell: credentials, statuses, batches, faults, amounts; and a full disk."""

import asyncio
import json
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pithead.coins.node import (
    NodeGarbled,
    NodeNotConnected,
    NodeSyncing,
    NodeUnreachable,
    RpcFault,
    RpcNode,
)
from pithead.devchain.service import run
from pithead.devchain.state import StoreFailed
from pithead.devchain.store import Step, Store
from tests.support.devchain import access_of, devchain_settings, until_serving
from tests.support.node_contract import Rig
from tests.support.rigs import devchain_rig

pytestmark = pytest.mark.gate


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with devchain_rig(tmp_path / "chain") as made:
        yield made


async def post(
    rig: Rig, body: bytes, *, path: str = "/", password: str = "pithead"
) -> tuple[int, bytes]:
    token = b64encode(f"pithead:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(rig.access.url + path, data=body, headers=headers) as response,
    ):
        return response.status, await response.read()


def error_of(data: bytes) -> dict[str, Any]:
    error = json.loads(data)["error"]
    assert isinstance(error, dict)
    return error


async def test_statuses_are_those_of_litecoind(rig: Rig) -> None:
    assert (await post(rig, b"{}", password="wrong")) == (401, b"")
    status, data = await post(rig, b'{"method": "nonesuch", "id": 3}')
    assert (status, error_of(data)["code"]) == (404, -32601)
    assert json.loads(data)["id"] == 3
    status, data = await post(rig, b"not json")
    assert (status, error_of(data)["code"]) == (500, -32700)
    status, data = await post(rig, b"[" * 100_000)
    assert (status, error_of(data)["code"]) == (500, -32700)
    status, data = await post(rig, b'"text"')
    assert (status, error_of(data)["code"]) == (400, -32600)
    status, data = await post(rig, b'{"method": "getblockhash", "params": [10000]}')
    assert (status, error_of(data)["code"]) == (500, -8)
    status, data = await post(rig, b'{"method": "getblockhash", "params": {"height": 0}}')
    assert (status, error_of(data)["code"]) == (500, -8)
    status, _ = await post(rig, b'{"method": "uptime"}', path="/elsewhere")
    assert status == 404


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(b"[]", id="missing"),
        pytest.param(b'["1"]', id="text"),
        pytest.param(b"[true]", id="boolean"),
        pytest.param(b"[1.5]", id="fraction"),
    ],
)
async def test_parameters_of_a_wrong_kind_are_refused(rig: Rig, params: bytes) -> None:
    status, data = await post(rig, b'{"method": "getblockhash", "params": ' + params + b"}")
    assert status == 500
    assert error_of(data)["code"] in (-1, -3)


async def test_a_batch_is_answered_in_order(rig: Rig) -> None:
    status, data = await post(
        rig, b'[{"method": "getblockcount", "id": 1}, {"method": "no", "id": 2}]'
    )
    assert status == 200
    first, second = json.loads(data)
    assert (first["id"], first["result"]) == (1, 0)
    assert second["error"]["code"] == -32601


async def test_amounts_are_numbers_with_eight_places(rig: Rig) -> None:
    _, data = await post(rig, b'{"method": "getmempoolinfo"}')
    assert b'"minrelaytxfee":0.00001000' in data


async def test_a_wallet_that_is_not_there_is_told(rig: Rig) -> None:
    status, data = await post(rig, b'{"method": "getbalance"}', path="/wallet/none")
    assert (status, error_of(data)["code"]) == (500, -18)
    status, data = await post(rig, b'{"method": "getbalance"}')
    assert (status, error_of(data)["code"]) == (500, -18)


async def test_each_fault_looks_like_its_real_cause(rig: Rig) -> None:
    async def fault(**plan: object) -> None:
        await rig.node.call("devchain_fault", plan)

    await fault(refuse="getblocktemplate")
    with pytest.raises(RpcFault, match="refused by devchain_fault"):
        await rig.template()
    assert await rig.node.call("getblockcount") == 0
    await fault(drop=["getblocktemplate"])
    with pytest.raises(NodeUnreachable):
        await rig.template()
    await fault(garble="getblocktemplate")
    with pytest.raises(NodeGarbled):
        await rig.template()
    await fault(initialblockdownload=True)
    assert (await rig.node.chain_info()).ibd
    with pytest.raises(NodeSyncing):
        await rig.template()
    await fault(disconnected=True)
    assert await rig.node.call("getpeerinfo") == []
    with pytest.raises(NodeNotConnected):
        await rig.template()
    await fault(hang="*", seconds=0.2)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await rig.template()
    assert loop.time() - before > 0.1
    await fault(delay_ms=100)
    before = loop.time()
    await rig.node.call("getblockcount")
    assert loop.time() - before >= 0.1
    await fault()
    with pytest.raises(RpcFault, match="explode"):
        await fault(explode=True)


async def test_a_step_that_cannot_be_written_ends_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = devchain_settings(tmp_path / "chain")
    access = access_of(settings)
    task = asyncio.create_task(run(settings, asyncio.Event()))
    await until_serving(access)

    def full(_store: Store, _step: Step) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with RpcNode(access) as node:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "commit", full)
            with pytest.raises(RpcFault, match="disk is full"):
                await node.call(
                    "generatetoaddress", 1, "dvc1qqf57sulg037qt3afp46svf5htfkqxvlvsl5man"
                )
            with pytest.raises(StoreFailed):
                await task
    task = asyncio.create_task(run(settings, stop := asyncio.Event()))
    await until_serving(access)
    async with RpcNode(access) as node:
        assert (await node.chain_info()).blocks == 0
    stop.set()
    await task
