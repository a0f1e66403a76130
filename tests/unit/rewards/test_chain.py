"""Watcher and tracker together over a scripted chain: what is found, and what becomes of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pithead.coins.node import NodeUnreachable
from pithead.rewards.database import (
    BlockRow,
    Database,
    Scanned,
    find_block,
    record_block,
    remember_script,
    watch_position,
)
from pithead.rewards.metrics import CONSERVED_MONEY
from pithead.rewards.nodes import Nodes, leader
from pithead.rewards.solved import read_solved
from pithead.rewards.states import State
from pithead.rewards.tracker import RESUBMIT_DELAY_MS_MIN, ChainRules, Tracker
from pithead.rewards.watcher import SCAN_BLOCKS_MAX, UNKNOWN_REWIND, Watcher, watched_block
from tests.unit.rewards.support import (
    COIN,
    OTHER_SCRIPT,
    PARAMS,
    POOL,
    SCRIPT,
    VALUE,
    WATCHED,
    ScriptedChain,
    hash_of,
    rewards_database,
    solve,
)

pytestmark = pytest.mark.databases

DEPTH = 3
MATURITY = PARAMS.coinbase_maturity


@dataclass
class Bench:
    database: Database
    chain: ScriptedChain
    nodes: Nodes
    watcher: Watcher
    tracker: Tracker
    now_ms: int = 1000

    async def step(self) -> Scanned:
        standings = await self.nodes.standings()
        leading = leader(standings)
        assert leading is not None
        scanned = await self.watcher.scan(leading)
        await self.tracker.step(standings, scanned, self.now_ms)
        return scanned

    async def block(self, raw: bytes) -> BlockRow | None:
        async with self.database.read() as connection:
            return await find_block(connection, COIN, hash_of(raw))

    async def state(self, raw: bytes) -> State | None:
        block = await self.block(raw)
        return block.state if block is not None else None

    async def record(self, raw: bytes, value: int | None = None) -> None:
        solved = read_solved(PARAMS, raw, {SCRIPT})
        assert solved is not None
        block = replace(watched_block(COIN, POOL, solved), from_watcher=False)
        if value is not None:
            block = replace(block, value=value)
        async with self.database.write() as connection:
            await record_block(connection, block, raw)


def make_bench(database: Database, *chains: ScriptedChain) -> Bench:
    nodes = Nodes(PARAMS, chains)
    return Bench(
        database,
        chains[0],
        nodes,
        Watcher(database, COIN, nodes, [WATCHED]),
        Tracker(database, ChainRules(PARAMS, DEPTH), nodes, [WATCHED]),
    )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    chain = ScriptedChain()
    chain.mine(5)
    async with rewards_database(tmp_path) as database:
        made = make_bench(database, chain)
        await made.step()
        yield made


async def test_the_first_start_begins_at_the_tip(tmp_path: Path) -> None:
    chain = ScriptedChain()
    old = chain.mine_ours()
    async with rewards_database(tmp_path) as database:
        bench = make_bench(database, chain)
        assert await bench.step() == Scanned(1, hash_of(old))
        assert await bench.block(old) is None


async def test_the_first_start_begins_below_the_first_recorded_block(tmp_path: Path) -> None:
    chain = ScriptedChain()
    chain.mine(3)
    recorded = chain.mine_ours()
    unrecorded = chain.mine_ours(serial=2)
    async with rewards_database(tmp_path) as database:
        bench = make_bench(database, chain)
        await bench.record(recorded)
        await bench.step()
        assert await bench.state(recorded) is State.CONFIRMED
        assert await bench.state(unrecorded) is State.CONFIRMED


async def test_a_block_without_a_record_is_found_on_the_chain(bench: Bench) -> None:
    bench.chain.mine(2)
    ours = bench.chain.mine_ours(slot=3)
    await bench.step()
    block = await bench.block(ours)
    assert block is not None
    assert (block.slot, block.value, block.height) == (3, VALUE, 8)
    assert (block.login, block.from_watcher, block.checked) == ("", True, True)
    assert block.state is State.CONFIRMED


async def test_a_block_of_a_pool_that_was_taken_away_keeps_its_value(tmp_path: Path) -> None:
    """Its coin is still followed for other pools, and its scripts are remembered."""
    chain = ScriptedChain()
    chain.mine(5)
    async with rewards_database(tmp_path) as database:
        bench = make_bench(database, chain)
        await bench.step()
        async with database.write() as connection:
            await remember_script(connection, POOL, SCRIPT)
        ours = chain.mine_ours()
        await bench.record(ours)
        bench.watcher = Watcher(database, COIN, bench.nodes, [])
        bench.tracker = Tracker(database, ChainRules(PARAMS, DEPTH), bench.nodes, [])
        chain.mine(MATURITY)
        await bench.step()
        block = await bench.block(ours)
        assert block is not None
        assert (block.value, block.checked, block.state) == (VALUE, True, State.MATURE)


async def test_blocks_of_others_are_not_ours(bench: Bench) -> None:
    foreign = bench.chain.mine_ours(pool="other.pool")
    unpaid = bench.chain.mine_ours(script=OTHER_SCRIPT)
    await bench.step()
    assert await bench.block(foreign) is None
    assert await bench.block(unpaid) is None


async def test_a_worthless_block_of_ours_is_ours(bench: Bench) -> None:
    worthless = bench.chain.mine_ours(value=0)
    await bench.step()
    assert await bench.state(worthless) is State.CONFIRMED


async def test_a_long_absence_is_caught_up_in_slices(bench: Bench) -> None:
    bench.chain.mine(SCAN_BLOCKS_MAX + 10)
    assert (await bench.step()).height == 5 + SCAN_BLOCKS_MAX
    assert (await bench.step()).height == 5 + SCAN_BLOCKS_MAX + 10


async def test_a_block_matures_one_confirmation_after_maturity(bench: Bench) -> None:
    ours = bench.chain.mine_ours()
    bench.chain.mine(MATURITY - 1)
    await bench.step()
    assert await bench.state(ours) is State.CONFIRMED
    bench.chain.mine()
    await bench.step()
    assert await bench.state(ours) is State.MATURE


async def test_a_reorganised_block_is_orphaned_at_depth_and_comes_back(bench: Bench) -> None:
    ours = bench.chain.mine_ours()
    await bench.step()
    was = bench.chain.fork(5, DEPTH)
    await bench.step()
    block = await bench.block(ours)
    assert block is not None
    assert (block.state, block.recheck) == (State.CONFIRMED, True)
    bench.chain.mine()
    await bench.step()
    assert await bench.state(ours) is State.ORPHANED
    bench.chain.main[:] = was
    bench.chain.mine(8, serial=55)
    await bench.step()
    block = await bench.block(ours)
    assert block is not None
    assert (block.state, block.recheck) == (State.CONFIRMED, False)


async def test_a_mature_block_can_still_be_orphaned_and_come_back(bench: Bench) -> None:
    ours = bench.chain.mine_ours()
    bench.chain.mine(MATURITY)
    await bench.step()
    assert await bench.state(ours) is State.MATURE
    was = bench.chain.fork(5, MATURITY + 5)
    await bench.step()
    assert await bench.state(ours) is State.ORPHANED
    bench.chain.main[:] = was
    bench.chain.mine(10, serial=56)
    await bench.step()
    assert await bench.state(ours) is State.MATURE


async def test_a_node_in_initial_download_orphans_nothing(bench: Bench) -> None:
    ours = bench.chain.mine_ours()
    await bench.step()
    bench.chain.fork(5, 10)
    bench.chain.ibd = True
    standings = await bench.nodes.standings()
    assert leader(standings) is None
    await bench.tracker.step(standings, Scanned(20, bytes(32)), 1)
    assert await bench.state(ours) is State.CONFIRMED


async def test_nodes_that_disagree_leave_a_block_waiting(tmp_path: Path) -> None:
    chain = ScriptedChain()
    chain.mine(2)
    other = ScriptedChain("other", dict(chain.blocks), list(chain.main), chainwork=100)
    chain.chainwork = 100
    ours = chain.mine_ours()
    chain.mine(5)
    other.mine(6, serial=44)
    async with rewards_database(tmp_path) as database:
        bench = make_bench(database, chain, other)
        await bench.record(ours)
        await bench.step()
        assert await bench.state(ours) is State.CANDIDATE
        other.down = True
        await bench.step()
        assert await bench.state(ours) is State.CONFIRMED


async def test_a_position_that_the_node_lost_is_walked_over_again(bench: Bench) -> None:
    bench.chain.mine(UNKNOWN_REWIND + 20)
    ours = bench.chain.mine_ours()
    await bench.step()
    lost = bench.chain.main[-1]
    # The node comes back from a backup, on a chain that never had our block.
    bench.chain.fork(bench.chain.height - 1, 10, serial=77)
    del bench.chain.blocks[lost]
    await bench.step()
    assert await bench.state(ours) is State.ORPHANED
    async with bench.database.read() as connection:
        position = await watch_position(connection, COIN)
    assert position == Scanned(bench.chain.height, bench.chain.main[-1])


async def test_a_node_that_is_down_moves_nothing(bench: Bench) -> None:
    bench.chain.mine()
    bench.chain.down = True
    with pytest.raises(NodeUnreachable):
        await bench.step()
    bench.chain.down = False
    assert (await bench.step()).height == 6


async def test_a_recorded_block_that_no_node_knows_is_submitted_again(bench: Bench) -> None:
    ours = solve(bench.chain.main[-1], 6)
    await bench.record(ours)
    bench.chain.accepts = True
    await bench.step()
    assert bench.chain.submissions == [], "the edge gets its time to submit it"
    bench.now_ms += RESUBMIT_DELAY_MS_MIN
    await bench.step()
    assert bench.chain.submissions == [ours]
    await bench.step()
    assert await bench.state(ours) is State.CONFIRMED


async def test_submitting_again_backs_off_and_ends_at_depth(bench: Bench) -> None:
    stale = solve(bench.chain.main[-2], 5, serial=8)
    await bench.record(stale)
    for _ in range(20):
        await bench.step()
        bench.now_ms += RESUBMIT_DELAY_MS_MIN
    assert 3 <= len(bench.chain.submissions) <= 5
    bench.chain.mine(DEPTH)
    await bench.step()
    assert await bench.state(stale) is State.ORPHANED


async def test_the_value_is_what_the_chain_pays(bench: Bench) -> None:
    ours = solve(bench.chain.main[-1], 6)
    await bench.record(ours, value=VALUE - 5)
    violations = CONSERVED_MONEY._value.get()
    bench.chain.extend(ours)
    await bench.step()
    block = await bench.block(ours)
    assert block is not None
    assert (block.value, block.checked) == (VALUE, True)
    assert CONSERVED_MONEY._value.get() == violations + 1
