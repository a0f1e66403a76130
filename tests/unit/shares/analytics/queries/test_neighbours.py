"""What is asked of rewards and accounting, answered by the real ones over their databases."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from pithead.contracts import (
    accounting_pb2_grpc,
    analytics_pb2,
    analytics_pb2_grpc,
    rewards_pb2_grpc,
)
from pithead.contracts.accounting_pb2 import WindowHeader, WindowPart
from pithead.rewards.database import BlockRow, Database, record_block
from pithead.rewards.registry import Registry
from pithead.rewards.servicer import RewardsServicer
from pithead.rewards.states import State
from pithead.rpc import channel, serve
from pithead.shares.analytics.queries.names import Names, NoSuch
from pithead.shares.analytics.queries.neighbours import NeighbourAway, Neighbours, weights_of
from pithead.shares.analytics.queries.servicer import AnalyticsServicer
from pithead.shares.pools import Pool
from pithead.shares.servicer import AccountingServicer
from tests.support.accounting import Bench
from tests.support.columnar import COLUMNAR
from tests.support.doors import peer, served
from tests.support.shares import (
    BITS,
    COIN,
    PARAMS,
    POOL,
    Share,
    address,
    make_batch,
    payload,
    producer_id,
)
from tests.unit.rewards.support import apply_pplns, hash_of, rewards_database, solve

pytestmark = pytest.mark.gate

PPLNS = '{"fee_ppm":0,"method":"PPLNS","window":{"weight":"40"}}'


@dataclass
class Hub:
    """Accounting and rewards, and the one who asks them."""

    bench: Bench
    rewards: Database
    asking: Neighbours
    pool: Pool


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async def tip(pool: str, coin: str) -> int:
        return 0

    async with await Bench.make(tmp_path) as bench, rewards_database(tmp_path) as rewards:
        accounting = channel(peer(tmp_path / "s.sock"))
        rewarding = channel(peer(tmp_path / "r.sock"))
        servicer = RewardsServicer(
            database=rewards,
            registry=Registry(rewards, 6),
            pools={POOL: COIN},
            tip=tip,
            accounting=accounting_pb2_grpc.AccountingStub(accounting),
            now_ms=lambda: 1,
        )
        counting = AccountingServicer(bench.engine, {COIN: PARAMS}, lambda: 1)
        async with (
            serve(
                served(tmp_path / "s.sock"),
                lambda server: accounting_pb2_grpc.add_AccountingServicer_to_server(
                    counting, server
                ),
            ),
            serve(
                served(tmp_path / "r.sock"),
                lambda server: rewards_pb2_grpc.add_RewardsServicer_to_server(servicer, server),
            ),
        ):
            yield Hub(
                bench,
                rewards,
                Neighbours(
                    accounting=accounting_pb2_grpc.AccountingStub(accounting),
                    rewards=rewards_pb2_grpc.RewardsStub(rewarding),
                ),
                bench.pool,
            )
        await accounting.close()
        await rewarding.close()


async def mine(hub: Hub, shares: list[Share]) -> None:
    await hub.bench.write("eu-0", payload(make_batch(producer_id(1), 0, shares)))
    await hub.bench.consumer.poll()
    await hub.bench.settle_segments()


async def test_a_window_now_is_cut_at_the_newest_segment(hub: Hub) -> None:
    await apply_pplns(hub.rewards, POOL, PPLNS)
    names = Names(hub.bench.engine, [hub.pool])
    with pytest.raises(NoSuch, match="nothing was mined"):
        await hub.asking.window(POOL, "", 5)
    shares = [Share(1, 20, weight=30), Share(2, 21, weight=10, time_ms=60_000)]
    await mine(hub, [*shares, Share(1, 21, weight=5, time_ms=120_000)])
    with pytest.raises(NoSuch, match="there is: pplns"):
        await hub.asking.window(POOL, "solo", 5)
    window = await hub.asking.window(POOL, "", 5)
    first = await names.account(hub.pool, address(1))
    second = await names.account(hub.pool, address(2))
    assert (window.height, window.window, window.filled) == (21, 40, True)
    # 5 and 10 whole, 25 of the 30 before: the same measure for all.
    assert window.weights == {first: 5 * 30 + 30 * 25, second: 10 * 30}
    assert window.of == 40 * 30


@pytest.mark.needs("chdb")
async def test_an_account_is_told_its_part_of_the_window(hub: Hub, tmp_path: Path) -> None:
    await apply_pplns(hub.rewards, POOL, PPLNS)
    await mine(hub, [Share(1, 20, weight=30), Share(2, 21, weight=10), Share(3, 1, weight=500)])
    now_ms = 1_000_000
    door = await COLUMNAR.door(tmp_path)
    servicer = AnalyticsServicer(
        store=door,
        names=Names(hub.bench.engine, [hub.pool]),
        neighbours=hub.asking,
        now_ms=lambda: now_ms,
    )
    opened = channel(peer(tmp_path / "a.sock"))
    asking = analytics_pb2_grpc.AnalyticsStub(opened)

    def request(login: str) -> analytics_pb2.WindowShareRequest:
        subject = analytics_pb2.Subject(pool=POOL, login=login)
        return analytics_pb2.WindowShareRequest(subject=subject, scheme="pplns")

    async with serve(
        served(tmp_path / "a.sock"),
        lambda server: analytics_pb2_grpc.add_AnalyticsServicer_to_server(servicer, server),
    ):
        found = await asking.WindowShare(request(address(2)))
        assert (found.height, found.window, found.filled, found.part) == (21, "40", True, 0.25)
        assert (found.scheme, found.as_of_ms, len(found.revision)) == ("pplns", now_ms, 64)
        outside = await asking.WindowShare(request(address(3)))
        assert (outside.weight, outside.part, outside.of) == ("0", 0.0, found.of)
        with pytest.raises(grpc.aio.AioRpcError, match="nobody has mined"):
            await asking.WindowShare(request(address(9)))
        # The window is kept: accounting is not asked again at once, and then it is.
        await hub.bench.write(
            "eu-0", payload(make_batch(producer_id(1), 1, [Share(2, 21, weight=40)]))
        )
        await hub.bench.consumer.poll()
        assert await asking.WindowShare(request(address(2))) == found
        now_ms += 60_000
        assert (await asking.WindowShare(request(address(2)))).part == 1.0
    await opened.close()
    await servicer.close()
    await door.close()


async def test_blocks_come_with_bits_and_whether_they_are_all(hub: Hub) -> None:
    parent = bytes(32)
    async with hub.rewards.write() as connection:
        for height in (1, 2, 3):
            block = solve(parent, height, pool=POOL)
            parent = hash_of(block)
            row = BlockRow(
                coin=COIN,
                hash=parent,
                pool=POOL,
                height=height,
                parent=bytes(32),
                bits=BITS,
                value=1,
                slot=0,
                producer=b"",
                extranonce1=b"",
                serial=0,
                login="",
                worker="",
                found_ms=height,
                from_watcher=False,
                state=State.ORPHANED if height == 2 else State.CONFIRMED,
            )
            await record_block(connection, row, None)
    blocks, whole = await hub.asking.blocks(POOL, 10)
    assert [(one.height, one.bits, one.found_ms, one.orphaned) for one in blocks] == [
        (3, BITS, 3, False),
        (2, BITS, 2, True),
        (1, BITS, 1, False),
    ]
    assert whole
    blocks, whole = await hub.asking.blocks(POOL, 2)
    assert ([one.height for one in blocks], whole) == ([3, 2], False)


async def test_a_neighbour_that_is_away_is_named(tmp_path: Path) -> None:
    nobody = channel(peer(tmp_path / "nobody.sock"))
    asking = Neighbours(
        accounting=accounting_pb2_grpc.AccountingStub(nobody),
        rewards=rewards_pb2_grpc.RewardsStub(nobody),
    )
    with pytest.raises(NeighbourAway, match="accounting: UNAVAILABLE"):
        await asking.newest(POOL)
    with pytest.raises(NeighbourAway, match="rewards: UNAVAILABLE"):
        await asking.blocks(POOL, 1)
    await nobody.close()


async def test_an_unknown_pool_is_nobodys_failure(hub: Hub) -> None:
    with pytest.raises(NoSuch, match="other"):
        await hub.asking.newest("other")
    with pytest.raises(NoSuch, match="other"):
        await hub.asking.blocks("other", 1)


def test_weights_of_a_window_count_the_last_group_in_part() -> None:
    def wide(number: int) -> bytes:
        return number.to_bytes((number.bit_length() + 7) // 8, "big")

    header = WindowHeader(group_weight=wide(10), needed=wide(4))
    parts = [
        WindowPart(header=header),
        WindowPart(account=[1, 2], full=[wide(7), b""], last=[b"", wide(6)]),
        WindowPart(account=[3], full=[wide(1 << 70)], last=[wide(4)]),
    ]
    assert weights_of(parts) == {1: 70, 2: 24, 3: (10 << 70) + 16}
