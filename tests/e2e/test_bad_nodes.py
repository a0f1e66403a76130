"""A real node that is down, syncing, closed to us or killed: the pool says so, waits and goes on.

One litecoind serves two pools at once. The first is started before its node and
meets it absent, syncing, mining, killed and back. The second has the wrong
password for it.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pithead.coins.node import NodeSyncing, NodeUnreachable, RpcNode
from pithead.coins.registry import chain_params
from pithead.miner.demo import demo_address
from tests.support.litecoind import NOBODY, Litecoind
from tests.support.manifests import variant, without_demo_miners
from tests.support.pool import RunningPool, free_port, pithead
from tests.support.stratum_client import StratumClient

pytestmark = [pytest.mark.gate, pytest.mark.needs("litecoind"), pytest.mark.timeout(90)]

PARAMS = chain_params("litecoin", "regtest")
ADDRESS = demo_address(PARAMS, b"bad nodes", 0)[0]
WRONG_PASSWORD = "open-sesame-31337"
SAID_LIMIT_S = 25.0


class FreshLitecoind(Litecoind):
    """A node that is left in its initial block download, but for a peer."""

    async def _wait(self, node: RpcNode) -> None:
        while True:
            try:
                await node.chain_info()
                break
            except (NodeUnreachable, NodeSyncing):
                await asyncio.sleep(0.1)
        self._peer = socket.create_connection(("127.0.0.1", self.p2p_port), timeout=5)


def pool_on(node_port: int, port: int, root: Path, *, password: str = "pithead") -> RunningPool:
    """The Litecoin example on this node, without miners."""

    def change(objects: dict[str, dict[str, Any]]) -> None:
        without_demo_miners(objects)
        objects["CoinEndpoint"]["spec"]["nodes"][0]["url"] = f"http://127.0.0.1:{node_port}"
        objects["MiningPool"]["spec"]["listeners"][0]["port"] = port
        objects["Secret"]["stringData"]["password"] = password

    manifests = variant("litecoin-regtest", root.with_name(f"{root.name}-manifests"), change)
    return RunningPool(manifests, root)


@contextlib.asynccontextmanager
async def started(pool: RunningPool) -> AsyncIterator[RunningPool]:
    """Run it; it must still run at the end, and end cleanly."""
    pool.start()
    try:
        yield pool
        assert pool.exited() is None
    finally:
        code = await asyncio.to_thread(pool.stop)
    assert code == 0
    assert "Traceback" not in pool.tail(10_000)


async def until_said(pool: RunningPool, sentence: str, limit_s: float = SAID_LIMIT_S) -> None:
    """Wait until a line of the pool's own output ends so."""
    line = re.compile(re.escape(sentence) + "$", re.MULTILINE)
    try:
        async with asyncio.timeout(limit_s):
            while not line.search(pool.output.read_text()):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"it never said: {sentence}\n{pool.tail()}") from None


async def until_status(
    pool: RunningPool, what: str, condition: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    return await asyncio.to_thread(pool.wait, condition, what, SAID_LIMIT_S)


class Counted:
    """A miner over one connection that must never be closed; nearly every share is a block."""

    def __init__(self, client: StratumClient) -> None:
        self.client = client
        self.heard_true = 0
        self._extranonce2 = 0

    async def submit(self) -> int | None:
        """One share on the newest job; its error code, None for `true`."""
        self._extranonce2 += 1
        share = self.client.solve(await self.client.job(), self._extranonce2)
        answer = await self.client.submit(share)
        assert not self.client.closed.is_set()
        if answer["result"] is True:
            self.heard_true += 1
            return None
        return int(answer["error"][0])

    async def mine(self, wanted: int) -> None:
        """Submit until so many more shares were answered `true`."""
        goal = self.heard_true + wanted
        async with asyncio.timeout(SAID_LIMIT_S):
            while self.heard_true < goal:
                await self.submit()
                await asyncio.sleep(0.2)


async def meets_an_absent_node(pool: RunningPool, url: str) -> None:
    waiting = (
        f"waiting for the wallet of litecoin: node litecoind at {url}: getblockchaininfo: "
        "cannot be reached (Connection refused); start the node or correct the address"
    )
    await until_said(pool, waiting)
    answer = await asyncio.to_thread(pithead, "status", "--data", str(pool.data))
    assert answer.returncode == 1
    assert answer.stderr == (
        f"pithead status: the pool on {pool.data} is still starting: {waiting}\n"
    )


async def meets_a_syncing_node(pool: RunningPool) -> None:
    await until_said(pool, "the wallet of litecoin: there now")
    sentence = "node litecoind: still syncing: block 0 of 0; wait until it is done"
    await until_said(pool, f"trouble: {sentence}")
    status = await until_status(pool, "its trouble", lambda status: status["troubles"])
    assert not status["ready"]
    assert sentence in status["troubles"]


async def meets_a_killed_node(
    pool: RunningPool, litecoind: Litecoind, miner: Counted, url: str
) -> None:
    """Shares of the last minute's work are credited on, and the connection stays."""
    async with RpcNode(litecoind.access) as node:
        # It writes its chain now; else it would come back some blocks behind, without peers to ask.
        await node.call("gettxoutsetinfo")
        height = (await node.chain_info()).blocks
    await asyncio.to_thread(litecoind.kill)
    sentence = (
        f"{url} cannot be reached (Connection refused); start the node or correct the address"
    )
    await until_said(pool, f"trouble: node litecoind: {sentence}")
    await miner.mine(5)
    await litecoind.start()
    async with asyncio.timeout(SAID_LIMIT_S):
        while not pool.is_over("node litecoind"):
            await asyncio.sleep(0.1)
    await miner.mine(5)
    async with RpcNode(litecoind.access) as node:
        assert (await node.chain_info()).blocks > height


async def meets_a_node_that_refuses_it(pool: RunningPool, url: str) -> None:
    await until_said(
        pool,
        f"waiting for the wallet of litecoin: node litecoind at {url}: getblockchaininfo: "
        "refuses user 'pithead' (HTTP status 401); correct the RPC user and password of this node",
    )
    said = pool.tail(10_000)
    assert WRONG_PASSWORD not in said
    # Only settings hold it, and only their owner may read them.
    for path in pool.data.rglob("*"):
        if path.is_file() and WRONG_PASSWORD.encode() in path.read_bytes():
            assert path.parent.name == "config"
            assert path.stat().st_mode & 0o077 == 0


async def test_node_that_is_absent_syncing_or_killed_is_waited_for(tmp_path: Path) -> None:
    litecoind = FreshLitecoind(tmp_path / "node")
    url, port = litecoind.url, free_port()
    stranger = pool_on(litecoind.rpc_port, free_port(), tmp_path / "b", password=WRONG_PASSWORD)
    try:
        async with (
            started(pool_on(litecoind.rpc_port, port, tmp_path / "a")) as pool,
            started(stranger),
        ):
            await meets_an_absent_node(pool, url)
            await litecoind.start()
            await asyncio.gather(
                meets_a_syncing_node(pool), meets_a_node_that_refuses_it(stranger, url)
            )
            async with RpcNode(litecoind.access) as node:
                await node.call("generatetoaddress", 1, NOBODY)
            await pool.wait_ready_async()
            async with StratumClient(PARAMS, port) as client:
                assert (await client.login(f"{ADDRESS}.rig"))["result"] is True
                miner = Counted(client)
                await miner.mine(5)
                await meets_a_killed_node(pool, litecoind, miner, url)
            status = await until_status(
                pool,
                "all accepted shares booked",
                lambda status: status["shares"]["accepted"] >= miner.heard_true,
            )
            assert status["shares"]["accepted"] == miner.heard_true
    finally:
        await asyncio.to_thread(litecoind.stop)
