"""The whole edge over real sockets, before a devchain node, with a real log."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pithead.coins.hashing import block_hash
from pithead.coins.node import RpcNode
from pithead.coins.registry import chain_params
from pithead.config import LimitSettings
from pithead.process import Stop
from pithead.stratum import transport
from pithead.stratum.failures import PortUnusable
from pithead.stratum.service import run
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import RunningEdge, address, edge_settings, running_edge
from tests.support.stratum_client import StratumClient

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
"""One block in 2^16 hashes: the shares of these tests are no blocks."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DevchainTask]:
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)) as running:
        yield running


@pytest.fixture
async def edge(tmp_path: Path, node: DevchainTask) -> AsyncIterator[RunningEdge]:
    async with running_edge(edge_settings(tmp_path, PARAMS, node.access)) as running:
        yield running


async def test_every_true_is_in_the_log_when_it_is_heard(edge: RunningEdge) -> None:
    user = address(PARAMS, 1) + ".rig"
    async with StratumClient(PARAMS, edge.port) as client:
        assert (await client.login(user))["result"] is True
        job = await client.job()
        accepted = 0
        for number in range(20):
            answer = await client.submit(client.solve(job, number))
            assert answer["result"] is True, answer
            accepted += 1
            batches = await edge.batches()
            assert sum(len(batch.weight) for batch in batches) >= accepted
    batches = await edge.batches()
    assert [batch.sequence for batch in batches] == list(range(len(batches)))
    shares = [(batch, index) for batch in batches for index in range(len(batch.login))]
    for batch, index in shares:
        login = batch.login[index]
        assert (batch.account[login], batch.worker[login], batch.slot[login]) == (
            address(PARAMS, 1),
            "rig",
            3,
        )
        assert batch.best[login] >= batch.weight[index]
        assert batch.segments[batch.segment[index]].parent == job.parent
        assert batch.serial[index] == int(job.job_id, 16)
    assert len(shares) == accepted


async def test_the_session_record_lies_in_the_log_before_the_first_job(edge: RunningEdge) -> None:
    async with StratumClient(PARAMS, edge.port) as client:
        await client.login(address(PARAMS, 2))
        await client.job()
        sessions = [session for batch in await edge.batches() for session in batch.sessions]
        assert [session.extranonce1 for session in sessions] == [client.extranonce1]
        assert sessions[0].agent == "test/1"


async def test_a_solved_block_reaches_the_node_and_the_log(tmp_path: Path) -> None:
    async with (
        DevchainTask(devchain_settings(tmp_path / "chain")) as node,
        running_edge(edge_settings(tmp_path, PARAMS, node.access, start_weight=64)) as edge,
        StratumClient(PARAMS, edge.port) as client,
        RpcNode(node.access) as rpc,
    ):
        await client.login(address(PARAMS, 1))
        for _ in range(5):
            job = await client.job()
            # Sent at the network's weight, not at the listener's: each share is a block.
            answer = await client.submit(client.solve(job))
            assert answer["result"] is True
            await client.until(lambda known=job: client.jobs[-1].parent != known.parent)
            assert client.jobs[-1].clean
        assert (await rpc.chain_info()).blocks == 5
        records = await edge.blocks()
        assert [record.height for record in records] == [1, 2, 3, 4, 5]
        for record in records:
            assert await rpc.block_hash_at(record.height) == record.hash
            assert record.hash == block_hash(record.block[:80])
            assert record.extranonce1 == client.extranonce1
            assert record.login.account == address(PARAMS, 1)
        assert await rpc.best_hash() == client.jobs[-1].parent


async def test_refusals_carry_their_codes(edge: RunningEdge) -> None:
    async with StratumClient(PARAMS, edge.port) as client:
        nobody = ["nobody", "1", "00" * 8, "00000000", "00000000"]
        assert (await client.submit(nobody))["error"][0] == 25
        assert (await client.login("not-an-address"))["error"][0] == 24
        assert (await client.submit(nobody))["error"][0] == 24
        assert (await client.call("mining.authorize", address(PARAMS, 1)))["result"] is True
        client.user = address(PARAMS, 1)
        job = await client.job()
        share = client.solve(job)
        assert (await client.submit(share))["result"] is True
        assert (await client.submit(share))["error"][0] == 22
        assert (await client.submit([share[0], "ffff", *share[2:]]))["error"][0] == 21
        assert (await client.submit(["other", *share[1:]]))["error"][0] == 24
        late = f"{job.ntime + 7001:08x}"
        assert (await client.submit([*share[:3], late, share[4]]))["error"][0] == 20
        assert (await client.submit([*share[:2], "00" * 7, *share[3:]]))["error"][0] == 20
        assert (await client.submit([*share, "20000000"]))["error"][0] == 20
    status = await edge.status()
    assert (status.accepted, status.stale, status.duplicate) == (1, 1, 1)
    assert status.invalid == 6


async def test_a_low_share_is_error_23(tmp_path: Path, node: DevchainTask) -> None:
    settings = edge_settings(tmp_path, PARAMS, node.access)
    async with (
        running_edge(settings) as edge,
        StratumClient(PARAMS, edge.port) as client,
    ):
        await client.login(address(PARAMS, 1), "d=0.00001")
        job = await client.job()
        assert client.difficulty == pytest.approx(0.00001, rel=0.01)
        assert (await client.submit(client.solve(job, good=False)))["error"][0] == 23
        assert (await client.submit(client.solve(job)))["result"] is True


async def test_stale_job_is_refused_after_new_parent(edge: RunningEdge, node: DevchainTask) -> None:
    async with StratumClient(PARAMS, edge.port) as client, RpcNode(node.access) as rpc:
        await client.login(address(PARAMS, 1))
        old = await client.job()
        share = client.solve(old)
        await rpc.call("generatetoaddress", 1, address(PARAMS, 9))
        await client.until(lambda: client.jobs[-1].parent != old.parent)
        assert (await client.submit(share))["error"][0] == 21
        assert (await client.submit(client.solve(client.jobs[-1])))["result"] is True


async def test_garbage_of_one_peer_never_disturbs_another(edge: RunningEdge) -> None:
    source = random.Random(20260101)
    async with StratumClient(PARAMS, edge.port) as client:
        await client.login(address(PARAMS, 1))
        job = await client.job()

        async def noise() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            try:
                for _ in range(20):
                    writer.write(source.randbytes(source.randrange(1, 3000)))
                    if source.random() < 0.3:
                        writer.write(b"\n")
                    await writer.drain()
                await reader.read()
            except ConnectionError:
                pass
            finally:
                writer.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(noise())
            for number in range(20):
                assert (await client.submit(client.solve(job, number)))["result"] is True
    status = await edge.status()
    assert (status.accepted, status.ready) == (20, True)


async def test_drain_asks_to_reconnect_credits_what_comes_and_marks_the_end(
    tmp_path: Path, node: DevchainTask
) -> None:
    async with running_edge(edge_settings(tmp_path, PARAMS, node.access)) as edge:
        async with StratumClient(PARAMS, edge.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            shares = [client.solve(job, number) for number in range(2)]
            assert (await client.submit(shares[0]))["result"] is True
            edge.stop.set()
            await client.until(
                lambda: any(note.get("method") == "client.reconnect" for note in client.notices)
            )
            assert (await client.submit(shares[1]))["result"] is True
            await client.closed.wait()
        await edge.end()
        batches = await edge.batches()
        assert [batch.end for batch in batches] == [False] * (len(batches) - 1) + [True]
        assert sum(len(batch.weight) for batch in batches) == 2


async def test_promise_never_falls_and_idle_seconds_carry_it(edge: RunningEdge) -> None:
    await asyncio.sleep(1.3)
    batches = await edge.batches()
    assert len(batches) >= 2
    promises = [batch.promise for batch in batches]
    assert promises == sorted(promises)
    bases = [batch.time_base_ms for batch in batches]
    assert bases == sorted(bases)


async def test_a_port_in_use_is_one_sentence_with_its_remedy(
    edge: RunningEdge, tmp_path: Path
) -> None:
    node = edge.settings.coin.nodes[0]
    listeners = edge.settings.listeners
    taken = edge_settings(tmp_path / "second", PARAMS, node, listeners=listeners)
    with pytest.raises(PortUnusable, match="give this listener another"):
        await run(taken, Stop())


async def test_more_connections_than_allowed_are_closed(tmp_path: Path, node: DevchainTask) -> None:
    settings = edge_settings(tmp_path, PARAMS, node.access, limits=LimitSettings(connections_max=2))
    async with (
        running_edge(settings) as edge,
        StratumClient(PARAMS, edge.port) as one,
        StratumClient(PARAMS, edge.port) as two,
    ):
        assert (await one.call("mining.ping"))["result"] == "pong"
        assert (await two.call("mining.ping"))["result"] == "pong"
        async with StratumClient(PARAMS, edge.port) as three:
            await asyncio.wait_for(three.closed.wait(), 5)
        assert (await one.call("mining.ping"))["result"] == "pong"


async def test_who_does_not_subscribe_is_closed(tmp_path: Path, node: DevchainTask) -> None:
    settings = edge_settings(
        tmp_path, PARAMS, node.access, limits=LimitSettings(subscribe_timeout_ms=200)
    )
    async with running_edge(settings) as edge, StratumClient(PARAMS, edge.port) as client:
        await asyncio.wait_for(client.closed.wait(), 5)


async def test_a_peer_that_never_reads_is_not_listened_to_and_harms_nobody(
    edge: RunningEdge,
) -> None:
    line = b'{"id":"' + b"x" * 250 + b'","method":"mining.ping"}\n'
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1024)

    async def flood() -> None:
        while True:
            # Its own buffer fills once the edge has stopped reading.
            writer.write(line * 1000)
            await writer.drain()

    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 1.0)
        assert not reader.at_eof()
        async with StratumClient(PARAMS, edge.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            assert (await client.submit(client.solve(job)))["result"] is True
    finally:
        writer.transport.abort()


async def test_a_closed_peer_that_never_reads_does_not_keep_its_connection(
    tmp_path: Path, node: DevchainTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LINGER_S", 0.2)
    limits = LimitSettings(subscribe_timeout_ms=1500)
    async with running_edge(edge_settings(tmp_path, PARAMS, node.access, limits=limits)) as edge:
        loop = asyncio.get_running_loop()
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.setblocking(False)
            await loop.sock_connect(peer, ("127.0.0.1", edge.port))
            line = b'{"id":"' + b"x" * 250 + b'","method":"mining.ping"}\n'

            async def flood() -> None:
                while True:
                    await loop.sock_sendall(peer, line * 1000)

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(), 1)
            assert (await edge.status()).connections == 1
            async with asyncio.timeout(5):
                while (await edge.status()).connections:
                    await asyncio.sleep(0.05)
