"""Strangers at the port, a failing node under it: a miner that behaves is answered all the while.

One pool on the built-in node serves the whole file. Every share that a miner
heard `true` for is in the books at the end of each test.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pithead.coins.hashing import pow_hash
from pithead.coins.node import RpcNode
from pithead.coins.weight import bits_to_target
from pithead.config import DevchainSettings, load
from tests.support.devchain import access_of
from tests.support.manifests import variant, without_demo_miners
from tests.support.pool import RunningPool, free_port, pithead
from tests.support.strangers import ADDRESS, LOGIN_TIMEOUT_S, PARAMS, STRANGERS
from tests.support.stratum_client import StratumClient

pytestmark = [pytest.mark.gate, pytest.mark.timeout(90)]

SHARE_DIFFICULTY = "0.00000002"
"""Some 86 hashes."""
HASHES_PER_BLOCK = 1 << 20
"""A second or two for the node's own miner; ours leave blocks alone."""
WORST_ANSWER_S = 2.0
STALE = 21


@dataclass
class Live:
    """The live pool, and how often its miners heard `true`."""

    pool: RunningPool
    port: int
    rpc_port: int
    heard_true: int = 0
    unanswered: int = 0
    """Shares of a test that ended in the middle."""

    @property
    def devchain(self) -> DevchainSettings:
        """Settings of its node."""
        return load(self.pool.data / "config" / "devchain.json", DevchainSettings)

    async def all_is_booked(self) -> None:
        """Wait until accounting has what the miners heard, no more and no less."""
        status = await asyncio.to_thread(
            self.pool.wait,
            lambda status: status["shares"]["accepted"] >= self.heard_true,
            "all accepted shares booked",
            20.0,
        )
        assert status["shares"]["accepted"] <= self.heard_true + self.unanswered


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("bad-peers")
    port, rpc_port = free_port(), free_port()

    def change(objects: dict[str, dict[str, Any]]) -> None:
        without_demo_miners(objects)
        objects["CoinEndpoint"]["spec"]["devchain"] = {
            "hashesPerBlock": HASHES_PER_BLOCK,
            "rpcPort": rpc_port,
        }
        spec = objects["MiningPool"]["spec"]
        spec["listeners"][0]["port"] = port
        spec["listeners"][0]["difficulty"] = dict.fromkeys(
            ("start", "min", "max"), SHARE_DIFFICULTY
        )
        spec["limits"] = {"subscribeTimeoutSeconds": LOGIN_TIMEOUT_S}

    with RunningPool(variant("quickstart", root / "manifests", change), root / "data") as pool:
        pool.wait_ready()
        yield Live(pool, port, rpc_port)


@dataclass
class Miner:
    """A well-behaved miner; it submits all the time and measures the answers."""

    live: Live
    client: StratumClient
    answers_s: list[float] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    _extranonce2: int = 0

    async def submit(self) -> int | None:
        """One share on the newest job; its error code, None for `true`."""
        share = await self._share()
        loop = asyncio.get_running_loop()
        asked = loop.time()
        self.live.unanswered += 1
        answer = await self.client.submit(share)
        self.live.unanswered -= 1
        self.answers_s.append(loop.time() - asked)
        code = None if answer["result"] is True else int(answer["error"][0])
        self.codes.append(code)
        self.live.heard_true += code is None
        return code

    async def _share(self) -> list[str]:
        """A share that is no block, so that the tests alone decide when work becomes stale."""
        job = await self.client.job()
        while True:
            self._extranonce2 += 1
            share = self.client.solve(job, self._extranonce2)
            extranonce2, ntime, nonce = (
                bytes.fromhex(share[2]),
                int(share[3], 16),
                int(share[4], 16),
            )
            header = job.header(self.client.extranonce1, extranonce2, ntime, nonce, job.version)
            if pow_hash(PARAMS, header) > bits_to_target(job.bits):
                return share

    async def mine(self, stop: asyncio.Event, pause_s: float = 0.02) -> None:
        """Submit until `stop`."""
        while not stop.is_set():
            await self.submit()
            await asyncio.sleep(pause_s)

    async def until(self, code: int | None, limit_s: float) -> None:
        """Submit until it is answered so."""
        async with asyncio.timeout(limit_s):
            while await self.submit() != code:
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def miner(live: Live, worker: str) -> AsyncIterator[Miner]:
    """A logged-in miner; its connection must last as long as it is used."""
    async with StratumClient(PARAMS, live.port) as client:
        assert (await client.login(f"{ADDRESS}.{worker}"))["result"] is True
        yield Miner(live, client)
        assert not client.closed.is_set(), "the well-behaved miner was disconnected"


async def test_strangers_are_answered_or_closed_by_rule_and_disturb_nobody(live: Live) -> None:
    async with miner(live, "steady") as steady, miner(live, "idle"):
        assert await steady.submit() is None
        stop = asyncio.Event()
        async with asyncio.timeout(40), asyncio.TaskGroup() as mining:
            mining.create_task(steady.mine(stop))
            async with asyncio.TaskGroup() as tasks:
                for stranger in STRANGERS:
                    tasks.create_task(stranger(live.port), name=stranger.__name__)
            # The crowd and the candidates for a ban are gone: anybody is welcome.
            async with miner(live, "late") as late:
                assert await late.submit() is None
            stop.set()
        assert set(steady.codes) == {None}
        assert len(steady.answers_s) > 50
        worst = max(steady.answers_s)
        print(f"{len(steady.answers_s)} answers, the worst after {worst * 1000:.0f} ms")
        assert worst < WORST_ANSWER_S
    await live.all_is_booked()


@contextlib.asynccontextmanager
async def node_of(live: Live) -> AsyncIterator[RpcNode]:
    async with RpcNode(access_of(live.devchain)) as node:
        yield node
        await node.call("devchain_fault", {})


async def test_shares_on_work_whose_successor_is_known_are_stale_until_the_node_gives_work_again(
    live: Live,
) -> None:
    """The node tells of a new block but gives no template: 5 s later nothing is credited."""
    async with miner(live, "fresh") as it, node_of(live) as node:
        assert await it.submit() is None
        await node.call("devchain_fault", {"refuse": "getblocktemplate"})
        # The long poll that was open before the fault still brings the first block's work.
        await node.call("generatetoaddress", 1, ADDRESS, timeout_s=60)
        tip = await node.best_hash()
        await it.client.until(lambda: it.client.jobs[-1].parent == tip)
        assert await it.submit() is None
        await node.call("generatetoaddress", 1, ADDRESS, timeout_s=60)
        await it.until(STALE, 12.0)
        status = await asyncio.to_thread(live.pool.wait, lambda s: not s["ready"], "not ready", 5.0)
        assert status["troubles"] == [
            "edge local: no node gives fresh work, so that no share can be credited",
            (
                f"node devchain: http://127.0.0.1:{live.rpc_port} answers error -1: "
                "getblocktemplate is refused by devchain_fault"
            ),
        ]
        await node.call("devchain_fault", {})
        await it.until(None, 12.0)
        assert (await it.client.job()).parent == await node.best_hash()
        assert set(it.codes) == {None, STALE}
    await live.all_is_booked()


async def hang_and_die(live: Live) -> None:
    """Let the node hang until that is told, go on until its end is told, and kill it."""
    said = live.pool.output.read_text
    pid = live.pool.services()["devchain"]
    trouble = (
        f"node devchain: http://127.0.0.1:{live.rpc_port} gives no answer within 3 s; "
        "see whether it hangs or has too much to do"
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        while f"trouble: {trouble}" not in said():
            await asyncio.sleep(0.1)
    finally:
        os.kill(pid, signal.SIGCONT)
    while not live.pool.is_over("node devchain"):
        await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    while live.pool.services().get("devchain", pid) == pid:
        await asyncio.sleep(0.1)
    assert "devchain ended, killed by signal 9; it is started again" in said()
    await live.pool.wait_ready_async()


async def test_miners_stay_while_their_node_hangs_or_dies(live: Live) -> None:
    async with miner(live, "patient") as it:
        stop = asyncio.Event()
        async with asyncio.timeout(45), asyncio.TaskGroup() as mining:
            mining.create_task(it.mine(stop))
            await hang_and_die(live)
            stop.set()
        # Work of less than a minute ago is good, with the node or without.
        assert set(it.codes) == {None}
        assert len(it.codes) > 50
    await live.all_is_booked()


# The JSON for scripts.

STATUS: dict[str, Any] = {
    "name": str,
    "coin": str,
    "ready": bool,
    "connections": int,
    "hashrate": (int, float),
    "shares": {"accepted": int, "stale": int, "duplicate": int, "low": int},
    "blocks": {"candidate": int, "confirmed": int, "mature": int, "orphaned": int},
    "credits": {"immature": "amount", "payable": "amount"},
    "payouts": {"pending": int, "confirmed": int, "amount": "amount"},
    "regions": [{"id": str, "ready": bool}],
    "listeners": [{"port": int, "scheme": str, "tls": bool}],
}


def check_shape(value: Any, shape: Any, path: str) -> None:
    if isinstance(shape, dict):
        assert isinstance(value, dict), path
        for key, inner in shape.items():
            assert key in value, f"{path}.{key}"
            check_shape(value[key], inner, f"{path}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), path
        assert value, path
        for index, item in enumerate(value):
            check_shape(item, shape[0], f"{path}[{index}]")
    elif shape == "amount":
        assert isinstance(value, str), path
        assert re.fullmatch(r"0|[1-9][0-9]*", value), f"{path} is {value!r}"
    else:
        assert isinstance(value, shape), f"{path} is {value!r}"
        # True is an int to Python, but not to the readers of JSON.
        assert isinstance(value, bool) is (shape is bool), f"{path} is {value!r}"


async def test_status_for_scripts_has_every_documented_key_and_type(live: Live) -> None:
    async with miner(live, "counted") as it:
        assert await it.submit() is None
        await live.all_is_booked()
        answer = await asyncio.to_thread(
            pithead, "status", "--data", str(live.pool.data), "-o", "json"
        )
    assert answer.returncode == 0
    assert answer.stderr == ""
    document = json.loads(answer.stdout)
    check_shape(document, {"pools": [STATUS]}, "")
    (pool,) = document["pools"]
    assert pool["name"] == "quickstart"
    assert pool["coin"] == "devchain"
    assert pool["ready"] is True
    assert pool["connections"] >= 1
    assert pool["regions"][0]["id"] == "local"
    assert pool["listeners"] == [{"port": live.port, "scheme": "pplns", "tls": False}]
