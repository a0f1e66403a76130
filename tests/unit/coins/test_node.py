"""The node client by its contract on the devchain, and against a server that misbehaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from pithead.coins import node as node_module
from pithead.coins.node import (
    NodeAddress,
    NodeBusy,
    NodeError,
    NodeGarbled,
    NodeNotConnected,
    NodeRefused,
    NodeSyncing,
    NodeTimeout,
    NodeUnreachable,
    RpcFault,
    RpcNode,
)
from pithead.coins.registry import chain_params
from tests.support.node_contract import NodeContract, Rig, solve
from tests.support.rigs import devchain_rig

pytestmark = pytest.mark.gate


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with devchain_rig(tmp_path / "chain") as made:
        await made.node.call("generatetoaddress", 12, "dvc1qqf57sulg037qt3afp46svf5htfkqxvlvsl5man")
        yield made


class TestNodeOfDevchain(NodeContract):
    """The contract."""


DEVCHAIN = chain_params("devchain", "regtest")
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[RpcNode]:
    """A client of a server that answers every connection by `answer` and then hangs up."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    access = NodeAddress("odd", f"http://127.0.0.1:{port}", "user", "secret")
    async with RpcNode(access, timeout_s=2) as node:
        yield node
    listening.close()
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)


def says(
    body: bytes, *, status: int = 200, length: int | None = None, then_wait_s: float = 0.0
) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        size = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\n\r\n".encode() + body)
        await writer.drain()
        await asyncio.sleep(then_wait_s)

    return answer


async def failure(answer: Answer) -> NodeError:
    async with server(answer) as node:
        with pytest.raises(NodeError) as caught:
            await node.best_hash()
        text = str(caught.value)
        assert "node odd at http://127.0.0.1:" in text
        assert "getbestblockhash" in text
        assert "secret" not in text
        return caught.value


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        pytest.param(says(b'{"result": "ab'), NodeGarbled, "not JSON", id="cut JSON"),
        pytest.param(says(b"<html>", status=200), NodeGarbled, "is this the RPC port", id="html"),
        pytest.param(says(b"[1]"), NodeGarbled, "not a JSON-RPC reply", id="list"),
        pytest.param(says(b'{"result": 7}'), NodeGarbled, "unexpected answer", id="number"),
        pytest.param(says(b'{"result": "zz"}'), NodeGarbled, "unexpected answer", id="short"),
        pytest.param(says(b"{}", length=9), NodeGarbled, "cut off", id="cut body"),
        pytest.param(says(b"[" * 100_000), NodeGarbled, "not JSON", id="deep nesting"),
        pytest.param(says(b"", status=401), NodeRefused, "correct the RPC user", id="401"),
        pytest.param(says(b"", status=403), NodeRefused, "rpcallowip", id="403"),
        pytest.param(says(b"Work queue depth exceeded", status=503), NodeBusy, "Work", id="503"),
        pytest.param(
            says(b'{"error": {"code": -28, "message": "Loading"}}', status=500),
            NodeSyncing,
            "Loading",
            id="warm-up",
        ),
        pytest.param(
            says(b'{"error": {"code": -10, "message": "sync"}}', status=500),
            NodeSyncing,
            "wait until it is done",
            id="initial download",
        ),
        pytest.param(
            says(b'{"error": {"code": -9, "message": "alone"}}', status=500),
            NodeNotConnected,
            "connect it to its network",
            id="no peers",
        ),
        pytest.param(
            says(b'{"error": {"code": -1, "message": "' + b"x" * 5000 + b'"}}', status=500),
            RpcFault,
            "error -1",
            id="long fault",
        ),
        pytest.param(says(b'{"error": "no"}', status=500), NodeGarbled, "code", id="odd error"),
    ],
)
async def test_each_trouble_has_its_class_and_names_the_node(
    answer: Answer, kind: type[NodeError], text: str
) -> None:
    error = await failure(answer)
    assert type(error) is kind
    assert text in str(error)
    assert len(str(error)) < 600


async def test_an_answer_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "ANSWER_BYTES_MAX", 1000)
    filler = b" " * 900
    async with server(says(filler + b'{"result": 5}')) as node:
        assert await node.call("x") == 5
    error = await failure(says(filler + b" " * 200 + b'{"result": 5}'))
    assert isinstance(error, NodeGarbled)
    assert "above 1000 bytes" in str(error)


async def test_a_silent_server_times_out() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(30)

    async with server(silent) as node:
        with pytest.raises(NodeTimeout, match=r"no answer within 0\.2 s"):
            await node.call("x", timeout_s=0.2)


async def test_a_server_that_hangs_up_without_an_answer_is_unreachable() -> None:
    async def rude(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    assert isinstance(await failure(rude), NodeUnreachable)


async def test_a_connection_closed_while_idle_is_made_anew() -> None:
    async with server(says(b'{"result": 1}')) as node:
        for _ in range(3):
            assert await node.call("x") == 1
            await asyncio.sleep(0.02)


async def test_a_closed_client_says_so() -> None:
    node = RpcNode(NodeAddress("gone", "http://127.0.0.1:1", "u", "p"))
    await node.close()
    with pytest.raises(NodeUnreachable, match="closed"):
        await node.call("x")


async def test_an_address_that_is_no_url_is_unreachable() -> None:
    async with RpcNode(NodeAddress("odd", "not a url", "u", "p")) as node:
        with pytest.raises(NodeUnreachable, match="correct the address"):
            await node.call("x")


async def test_a_template_that_is_none_is_garbled() -> None:
    # The same words answer the question for the chain, which comes first.
    reply = {
        "chain": "regtest",
        "blocks": 1,
        "headers": 1,
        "bestblockhash": "00" * 32,
        "initialblockdownload": False,
        "verificationprogress": 1,
    }
    async with server(says(json.dumps({"result": reply}).encode())) as node:
        with pytest.raises(NodeGarbled, match="getblocktemplate"):
            await node.get_template(DEVCHAIN)


async def test_a_lying_submit_does_not_make_a_block(rig: Rig) -> None:
    block = solve(rig.params, await rig.template())
    await rig.node.call("devchain_fault", {"swallow": "submitblock"})
    submission = await rig.node.submitted(block)
    assert (submission.word, submission.confirmations) == (None, None)
    assert not submission.on_chain
    await rig.node.call("devchain_fault", {"hang": "submitblock", "seconds": 30})
    hurried = RpcNode(rig.access, timeout_s=0.3)
    submission = await hurried.submitted(block)
    await hurried.close()
    assert submission.word is not None
    assert "no answer" in submission.word
    await rig.node.call("devchain_fault", {})
    assert (await rig.node.submitted(block)).on_chain


def test_it_works_under_uvloop(tmp_path: Path) -> None:
    async def main() -> int:
        async with devchain_rig(tmp_path / "chain") as rig:
            await rig.mine()
            return (await rig.node.chain_info()).blocks

    assert uvloop.run(main()) == 1


def test_a_password_is_not_shown() -> None:
    access = NodeAddress("n", "http://h:1", "u", "hidden")
    assert "hidden" not in repr(access) + repr(RpcNode(access))
