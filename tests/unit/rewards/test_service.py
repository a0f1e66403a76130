"""The whole service over its socket, beside neighbours that are away."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from sqlalchemy import text

from pithead.config import (
    CoinSettings,
    LogSettings,
    NodeSettings,
    PoolSettings,
    RewardsSettings,
    Unusable,
)
from pithead.config.share_log import open_log
from pithead.contracts import rewards_pb2
from pithead.contracts.rewards_pb2_grpc import RewardsStub
from pithead.log.topics import blocks_topic
from pithead.rewards.service import run
from pithead.rpc import channel
from pithead.store import open_store, transaction
from pithead.store.migrate import migrate
from tests.support.doors import peer, peer_of, served
from tests.unit.rewards.support import (
    COIN,
    GENESIS,
    POOL,
    PPLNS,
    SCRIPT,
    hash_of,
    record,
    solve,
)

if TYPE_CHECKING:
    from pithead.contracts.rewards_pb2_grpc import RewardsAsyncStub

pytestmark = pytest.mark.gate

CHANGED = PPLNS.replace('"100"', '"200"')


def settings_in(
    directory: Path, *, coin_name: str = "dev", payout_script: str = SCRIPT.hex()
) -> RewardsSettings:
    coin = CoinSettings(
        name="dev",
        coin="devchain",
        network="regtest",
        # Nobody listens there: a node that is down.
        nodes=(NodeSettings(name="main", url="http://127.0.0.1:9", user="u", password="p"),),
        poll_interval_ms=50,
    )
    pool = PoolSettings(
        pool=POOL, name="demo", coin=coin_name, regions=("home",), payout_script=payout_script
    )
    return RewardsSettings(
        database=f"sqlite+aiosqlite:///{directory / 'rewards.db'}",
        serve=served(directory / "rewards.sock"),
        log=LogSettings(directory=directory / "log"),
        pools=(pool,),
        coins=(coin,),
        shares=peer(directory / "shares.sock"),
        ledger=peer(directory / "ledger.sock"),
    )


@asynccontextmanager
async def running(settings: RewardsSettings) -> AsyncIterator["RewardsAsyncStub"]:
    await migrate(settings.database, "pithead.rewards")
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    opened = channel(peer_of(settings.serve))
    try:
        yield RewardsStub(opened)
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)
        await opened.close()


def schemes(parameters: str = PPLNS, **values: str) -> rewards_pb2.ApplySchemesRequest:
    given = {"pool": POOL, "coin": COIN, **values}
    spec = rewards_pb2.SchemeSpec(name="main", method="PPLNS", parameters=parameters)
    return rewards_pb2.ApplySchemesRequest(schemes=[spec], **given)


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def eventually(true: Callable[[], Awaitable[bool]], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while not await true():
            await asyncio.sleep(0.02)


async def test_schemes_are_registered_while_the_node_is_down(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as rewards:
        table = await rewards.ApplySchemes(schemes(), wait_for_ready=True, timeout=10)
        assert [(row.slot, row.effective_height) for row in table.revisions] == [(0, 0)]
        again = await rewards.ApplySchemes(schemes())
        assert again == table
        code, sentence = await refused(rewards.ApplySchemes(schemes(CHANGED)))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "apply again" in sentence
        assert await rewards.ApplySchemes(schemes()) == table


async def test_what_can_not_be_applied_says_why(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as rewards:
        await rewards.ApplySchemes(schemes(), wait_for_ready=True, timeout=10)
        twice = schemes()
        twice.schemes.append(twice.schemes[0])
        for request, code in (
            (schemes(pool="unknown"), grpc.StatusCode.NOT_FOUND),
            (schemes(coin="litecoin/regtest"), grpc.StatusCode.INVALID_ARGUMENT),
            (schemes('{"fee_ppm": 1}'), grpc.StatusCode.INVALID_ARGUMENT),
            (twice, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            assert (await refused(rewards.ApplySchemes(request)))[0] is code
        unknown = rewards_pb2.BlocksRequest(pool="unknown")
        assert (await refused(rewards.Blocks(unknown)))[0] is grpc.StatusCode.NOT_FOUND
        short = rewards_pb2.SplitRequest(coin=COIN, hash=b"x")
        assert (await refused(rewards.Split(short)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_logged_block_is_listed_and_survives_a_restart(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    block = solve(GENESIS, 1)
    writer = await open_log(settings.log).writer(blocks_topic(POOL), "home-0")
    async with running(settings) as rewards:
        await rewards.ApplySchemes(schemes(), wait_for_ready=True, timeout=10)
        await writer.append(record(block).SerializeToString())

        async def listed() -> bool:
            return bool((await rewards.Blocks(rewards_pb2.BlocksRequest(pool=POOL))).blocks)

        await eventually(listed)
    await writer.close()
    async with running(settings) as rewards:
        reply = await rewards.Blocks(
            rewards_pb2.BlocksRequest(pool=POOL), wait_for_ready=True, timeout=10
        )
        (one,) = reply.blocks
        assert (one.hash, one.height, one.scheme, one.finder) == (
            hash_of(block),
            1,
            "main",
            "alice.rig1",
        )
        assert one.state == rewards_pb2.BLOCK_CANDIDATE
        assert (reply.candidate, reply.confirmed, one.confirmations) == (1, 0, 0)
        split = await rewards.Split(rewards_pb2.SplitRequest(coin=COIN, hash=one.hash))
        assert not split.found


async def test_stopping_takes_no_time_while_all_neighbours_are_away(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as rewards:
        await rewards.ApplySchemes(schemes(), wait_for_ready=True, timeout=10)
        started = time.monotonic()
    assert time.monotonic() - started < 5


async def test_a_pool_without_a_script_is_served_but_not_watched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(settings_in(tmp_path, payout_script="")) as rewards:
        await rewards.ApplySchemes(schemes(), wait_for_ready=True, timeout=10)
    assert "no payout script is configured" in caplog.text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        pytest.param({"coin_name": "none"}, "coin endpoint 'none'", id="unknown endpoint"),
        pytest.param({"payout_script": "zz"}, "not hex", id="script not hex"),
    ],
)
async def test_settings_that_can_never_work_end_the_process(
    tmp_path: Path, changed: dict[str, str], sentence: str
) -> None:
    settings = settings_in(tmp_path, **changed)
    await migrate(settings.database, "pithead.rewards")
    with pytest.raises(Unusable, match=sentence):
        await run(settings, asyncio.Event())


async def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    await migrate(settings.database, "pithead.rewards")
    engine = open_store(settings.database)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(Unusable, match="newer than this Pithead"):
        await run(settings, asyncio.Event())
