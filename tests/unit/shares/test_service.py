"""The whole service over its socket, with a real log, database and devchain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import msgspec
import pytest

from pithead.coins.node import RpcNode
from pithead.config import LogSettings, NodeSettings, SharesSettings, Unusable
from pithead.config.share_log import open_log
from pithead.contracts import accounting_pb2 as pb
from pithead.contracts.accounting_pb2_grpc import AccountingStub
from pithead.log.topics import shares_topic
from pithead.rpc import channel
from pithead.shares.fees import INDEX_BLOCKS
from pithead.shares.service import run
from pithead.store.migrate import migrate
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.doors import peer_of, served
from tests.support.shares import (
    COIN,
    COIN_SETTINGS,
    PARAMS,
    POOL,
    POOL_SETTINGS,
    Share,
    address,
    make_batch,
    payload,
    producer_id,
    store_url,
)

if TYPE_CHECKING:
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub

pytestmark = pytest.mark.gate


def settings_in(directory: Path, node: NodeSettings | None = None) -> SharesSettings:
    coin = msgspec.structs.replace(COIN_SETTINGS, nodes=(node,)) if node else COIN_SETTINGS
    return SharesSettings(
        database=store_url(directory),
        serve=served(directory / "s"),
        log=LogSettings(directory=directory / "log"),
        pools=(POOL_SETTINGS,),
        coins=(coin,),
    )


@asynccontextmanager
async def running(settings: SharesSettings) -> "AsyncIterator[AccountingAsyncStub]":
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group, channel(peer_of(settings.serve)) as to_service:
        task = group.create_task(run(settings, stop))
        stub = AccountingStub(to_service)
        try:
            await until(lambda: answers(stub, task))
            yield stub
        finally:
            stop.set()
            async with asyncio.timeout(5):
                await asyncio.wait({task})


async def answers(stub: "AccountingAsyncStub", task: "asyncio.Task[None]") -> bool:
    if task.done():
        return True
    try:
        await stub.Counters(pb.CountersRequest(pool=POOL), timeout=1)
    except grpc.aio.AioRpcError:
        # Not listening yet; `until` has a limit.
        return False
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.02)


async def window(stub: "AccountingAsyncStub", **changes: object) -> list[pb.WindowPart]:
    question: dict[str, object] = {"pool": POOL, "scheme": "pplns", "weight": "100"}
    parts = stub.Window(pb.WindowRequest(**(question | changes)), timeout=5)  # type: ignore[arg-type]
    return [part async for part in parts]


async def test_shares_in_the_log_become_a_final_window(tmp_path: Path) -> None:
    settings = devchain_settings(tmp_path / "chain")
    async with DevchainTask(settings) as devchain, RpcNode(devchain.access) as node:
        await node.call("generatetoaddress", 2, address(99))
        tip = await node.best_hash()
        bits = (await node.call("getblockheader", tip[::-1].hex(), True))["bits"]
        batch = make_batch(
            producer_id(1),
            0,
            [Share(1, 3, weight=70), Share(2, 3, weight=20)],
            promise=3,
            rejects=[(address(1), 1, 4), (address(1), 5, 2)],
            sessions=[(b"\x00abcd", 2)],
        )
        batch.segments[0].parent = tip
        batch.segments[0].bits = int(bits, 16)
        access = devchain.access
        shares = settings_in(
            tmp_path,
            NodeSettings(name="n", url=access.url, user=access.user, password=access.password),
        )
        await migrate(shares.database, "pithead.shares")
        async with running(shares) as stub:
            # The log begins only after the service.
            writer = await open_log(shares.log).writer(shares_topic(POOL), "eu-0")
            await writer.append(payload(batch))

            async def counted() -> bool:
                reply = await stub.Counters(pb.CountersRequest(pool=POOL))
                return bool(reply.accepted == 2)

            await until(counted)
            await node.call("generatetoaddress", 3, address(99))
            last = make_batch(producer_id(1), 1, promise=6, end=True)
            await writer.append(payload(last))

            async def sealed() -> bool:
                reply = await stub.Seals(pb.SealsRequest(pool=POOL))
                return bool(reply.any and reply.sealed_height == 3 and reply.open_producers == 0)

            await until(sealed)
            head, part = await window(stub, height=3, parent=tip)
            assert head.header.sealed
            assert (head.header.groups, head.header.filled) == (1, False)
            assert head.header.group_weight == head.header.needed == bytes([90])
            assert len(head.header.hash) == 32
            assert [int.from_bytes(last, "big") for last in part.last] == [70, 20]
            assert list(part.full) == [b"", b""]

            async def archived() -> bool:
                return (await stub.Seals(pb.SealsRequest(pool=POOL))).archived_height == 3

            await until(archived)
            cells = await window(stub, height=3, parent=tip)
            assert len(cells[0].header.archive_hash) == 32
            assert await window(stub, height=3, parent=tip, archived=True) == cells
            await check_people(stub)
            await writer.close()


async def test_it_follows_the_chain_and_serves_what_its_blocks_pay(tmp_path: Path) -> None:
    chain = devchain_settings(tmp_path / "chain")
    async with DevchainTask(chain) as devchain, RpcNode(devchain.access) as node:
        await node.call("generatetoaddress", INDEX_BLOCKS + 6, address(99))
        access = devchain.access
        shares = settings_in(
            tmp_path,
            NodeSettings(name="n", url=access.url, user=access.user, password=access.password),
        )
        await migrate(shares.database, "pithead.shares")
        async with running(shares) as stub:
            writer = await open_log(shares.log).writer(shares_topic(POOL), "eu-0")
            await writer.append(payload(make_batch(producer_id(1), 0, promise=INDEX_BLOCKS + 2)))
            tip = INDEX_BLOCKS + 6
            question = pb.ChainFactsRequest(coin=COIN, first_height=tip, last_height=tip + 5)

            async def followed() -> bool:
                return len((await stub.ChainFacts(question)).blocks) == 2

            await until(followed)
            newest, following = (await stub.ChainFacts(question)).blocks
            subsidy = PARAMS.subsidy(tip)
            assert (newest.height, newest.hash) == (tip, await node.best_hash())
            assert (newest.bits, newest.subsidy, newest.settled) == (chain.bits, subsidy, False)
            assert (newest.fees, newest.fee_index) == (0, 0)
            assert newest.HasField("fees")
            assert (following.hash, following.subsidy) == (b"", subsidy)
            assert following.HasField("fee_index")
            assert not following.HasField("fees")
            wrong = pb.ChainFactsRequest(coin=COIN, first_height=9, last_height=8)
            with pytest.raises(grpc.aio.AioRpcError, match="heights: expected 1 to 2016"):
                await stub.ChainFacts(wrong)
            with pytest.raises(grpc.aio.AioRpcError, match="no coin x/y here"):
                await stub.ChainFacts(pb.ChainFactsRequest(coin="x/y"))
            await writer.close()


async def check_people(stub: "AccountingAsyncStub") -> None:
    counters = await stub.Counters(pb.CountersRequest(pool=POOL))
    assert (counters.stale, counters.invalid, counters.weight) == (4, 2, "90")
    assert [(entry.login, entry.weight) for entry in counters.accounts] == [
        (address(1), "70"),
        (address(2), "20"),
    ]
    session = await stub.FindSession(
        pb.FindSessionRequest(producer=producer_id(1), extranonce1=b"\x00abcd")
    )
    assert (session.found, session.account, session.worker) == (True, address(2), "rig")
    unknown = await stub.FindSession(
        pb.FindSessionRequest(producer=producer_id(1), extranonce1=b"\x00xxxx")
    )
    assert unknown == pb.FindSessionReply()
    accounts = await stub.Accounts(pb.AccountsRequest(ids=[session.account_id, 77, 1 << 63]))
    assert [account.login for account in accounts.accounts] == [address(2)]
    ensured = await stub.EnsureAccount(pb.EnsureAccountRequest(coin=COIN, login=address(2)))
    assert ensured == accounts.accounts[0]
    made = await stub.EnsureAccount(pb.EnsureAccountRequest(coin=COIN, login=address(3)))
    assert (made.login, len(made.script)) == (address(3), 22)


async def test_it_serves_while_node_and_log_are_away_and_refuses_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    await migrate(settings.database, "pithead.shares")
    async with running(settings) as stub:
        assert await stub.Seals(pb.SealsRequest(pool=POOL)) == pb.SealsReply()
        (head,) = await window(stub, height=3, parent=bytes(32))
        assert (head.header.groups, head.header.filled, head.header.sealed) == (0, False, False)
        refused: list[tuple[Awaitable[object], grpc.StatusCode]] = [
            (window(stub, pool="nobody", parent=bytes(32)), grpc.StatusCode.NOT_FOUND),
            (window(stub, scheme="pps", parent=bytes(32)), grpc.StatusCode.NOT_FOUND),
            (
                window(stub, parent=bytes(32), archived=True),
                grpc.StatusCode.FAILED_PRECONDITION,
            ),
            (window(stub, parent=b"short"), grpc.StatusCode.INVALID_ARGUMENT),
            (window(stub, parent=bytes(32), weight="0"), grpc.StatusCode.INVALID_ARGUMENT),
            (window(stub, parent=bytes(32), weight="1e9"), grpc.StatusCode.INVALID_ARGUMENT),
            (window(stub, parent=bytes(32), weight="9" * 99), grpc.StatusCode.INVALID_ARGUMENT),
            (
                stub.EnsureAccount(pb.EnsureAccountRequest(coin=COIN, login="nobody")),
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
            (
                stub.EnsureAccount(pb.EnsureAccountRequest(coin="x/y", login=address(1))),
                grpc.StatusCode.NOT_FOUND,
            ),
        ]
        for call, code in refused:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is code


async def test_a_batch_that_cannot_be_read_stops_seals_until_somebody_decides(
    tmp_path: Path,
) -> None:
    chain = devchain_settings(tmp_path / "chain")
    async with DevchainTask(chain) as devchain, RpcNode(devchain.access) as node:
        await node.call("generatetoaddress", 5, address(99))
        access = devchain.access
        shares = settings_in(
            tmp_path,
            NodeSettings(name="n", url=access.url, user=access.user, password=access.password),
        )
        await migrate(shares.database, "pithead.shares")
        async with running(shares) as stub:
            writer = await open_log(shares.log).writer(shares_topic(POOL), "eu-0")
            await writer.append(payload(make_batch(producer_id(1), 0, promise=1)))
            await writer.append(b"no batch")
            await writer.append(payload(make_batch(producer_id(1), 2, promise=9)))

            async def waiting() -> bool:
                reply = await stub.Waiting(pb.WaitingRequest(pool=POOL))
                missing = [(row.missing, row.promise) for row in reply.producers]
                return missing == [(1, 1)] and len(reply.set_aside) == 1

            await until(waiting)
            decision = pb.DecideRequest(
                decision=pb.DECISION_CLOSE_PRODUCER, producer=producer_id(1), who="ann"
            )
            with pytest.raises(grpc.aio.AioRpcError, match="reason"):
                await stub.Decide(decision)
            assert not (await stub.Seals(pb.SealsRequest(pool=POOL))).any
            decision.reason = "the disk lost a page"
            assert "no longer wait" in (await stub.Decide(decision)).outcome

            async def sealed() -> bool:
                reply = await stub.Seals(pb.SealsRequest(pool=POOL))
                return bool(reply.any and reply.sealed_height == 3)

            await until(sealed)
            with pytest.raises(grpc.aio.AioRpcError, match="is not open"):
                await stub.Decide(decision)
            segment = pb.DecideRequest(
                decision=pb.DECISION_SEGMENT_RIGHT, segment=1 << 63, who="ann", reason="seen"
            )
            with pytest.raises(grpc.aio.AioRpcError, match="is not disputed"):
                await stub.Decide(segment)
            await writer.close()


async def test_a_database_that_was_not_upgraded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"never set up.*pithead up"):
        await run(settings_in(tmp_path), asyncio.Event())


async def test_a_pool_without_its_coin_is_refused(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings_in(tmp_path), coins=())
    await migrate(settings.database, "pithead.shares")
    with pytest.raises(Unusable, match="coin endpoint dev is not in the settings"):
        await run(settings, asyncio.Event())
