"""Splits and their entries, over the real ledger and a scripted share processor.

Crashes are played by stopping between two steps of the same level-based loop: each
step starts from what the database says, exactly as a new process would.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from pithead.rewards.audit import Audited, recompute_splits
from pithead.rewards.booking import entry
from pithead.rewards.database import (
    BlockRow,
    Database,
    change_block,
    find_block,
    record_block,
    remember_script,
)
from pithead.rewards.metrics import CONSERVED_MONEY, REPLAYABLE
from pithead.rewards.nodes import Nodes
from pithead.rewards.schema import SPLIT_SHARES, SPLITS
from pithead.rewards.settle import REFRESH_MS, SettledPool, Settler
from pithead.rewards.solved import read_solved
from pithead.rewards.splits import (
    SplitIsFinal,
    StoredSplit,
    block_entries,
    find_split,
    plan_entries,
    store_split,
    unbooked_entries,
)
from pithead.rewards.states import Event, State, after
from pithead.rewards.watcher import watched_block
from tests.unit.rewards.support import (
    COIN,
    PARAMS,
    POOL,
    SCRIPT,
    VALUE,
    ScriptedChain,
    ScriptedShares,
    apply_pplns,
    balances,
    rewards_database,
    serving_ledger,
    serving_shares,
)

if TYPE_CHECKING:
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub
    from pithead.contracts.ledger_pb2_grpc import LedgerAsyncStub

pytestmark = pytest.mark.databases

FEE = VALUE // 100
# Account 1 has 60 in full groups, account 2 half of the last group's 80: 60 to 40.
ALICE = (VALUE - FEE) * 60 // 100
BOB = (VALUE - FEE) * 40 // 100
IMMATURE = {
    "CHAIN/": -VALUE,
    "IMMATURE/1": ALICE,
    "IMMATURE/2": BOB,
    f"FEE_IMMATURE/{POOL}": FEE,
}
PAYABLE = {"CHAIN/": -VALUE, "PAYABLE/1": ALICE, "PAYABLE/2": BOB, f"FEE/{POOL}": FEE}
LOST = {"PAYABLE/1": ALICE, "PAYABLE/2": BOB, f"FEE/{POOL}": FEE - VALUE}


@dataclass
class Bench:
    database: Database
    chain: ScriptedChain
    shares: ScriptedShares
    accounting: "AccountingAsyncStub"
    ledger: "LedgerAsyncStub"
    settler: Settler
    now_ms: int = 1_000_000

    async def add(self, state: State = State.CONFIRMED, **how: int) -> BlockRow:
        """A block of ours on the chain, in a state, its value checked."""
        solved = read_solved(PARAMS, self.chain.mine_ours(**how), {SCRIPT})
        assert solved is not None
        block = replace(
            watched_block(COIN, POOL, solved), state=state, checked=state is not State.CANDIDATE
        )
        async with self.database.write() as connection:
            await record_block(connection, block, None)
        return block

    async def happen(self, block: BlockRow, *events: Event) -> None:
        """Write transitions as the tracker does: state and entries in one transaction."""
        async with self.database.write() as connection:
            fresh = await find_block(connection, COIN, block.hash)
            assert fresh is not None
            for event in events:
                fresh = await change_block(connection, fresh, state=after(fresh.state, event))
            await plan_entries(connection, fresh)

    async def step(self) -> None:
        self.now_ms += 1
        await self.settler.split_step(self.now_ms)
        await self.settler.book_step()

    async def split(self, block: BlockRow) -> StoredSplit | None:
        async with self.database.read() as connection:
            return await find_split(connection, COIN, block.hash)

    async def audit(self) -> Audited:
        return await recompute_splits(
            self.database, COIN, Nodes(PARAMS, [self.chain]), self.accounting, self.ledger
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    shares = ScriptedShares()
    async with (
        rewards_database(tmp_path) as database,
        serving_ledger(tmp_path) as ledger,
        serving_shares(tmp_path, shares) as accounting,
    ):
        await apply_pplns(database)
        async with database.write() as connection:
            await remember_script(connection, POOL, SCRIPT)
        settler = Settler(database, [SettledPool(POOL, PARAMS)], accounting, ledger)
        yield Bench(database, ScriptedChain(), shares, accounting, ledger, settler)


async def test_a_split_is_provisional_until_its_height_is_sealed(bench: Bench) -> None:
    block = await bench.add()
    await bench.step()
    stored = await bench.split(block)
    assert stored is not None
    assert not stored.final
    assert await balances(bench.ledger) == {}
    bench.shares.sealed = block.height
    await bench.step()
    stored = await bench.split(block)
    assert stored is not None
    assert stored.final
    assert await balances(bench.ledger) == IMMATURE
    request = bench.shares.window_requests[-1]
    assert (request.pool, request.scheme, request.weight) == (POOL, "pplns", "100")
    assert (request.height, request.parent) == (block.height, block.parent)


async def test_a_provisional_split_is_refreshed_only_now_and_then(bench: Bench) -> None:
    await bench.add()
    for _ in range(3):
        await bench.step()
    assert len(bench.shares.window_requests) == 1
    bench.now_ms += REFRESH_MS
    await bench.step()
    assert len(bench.shares.window_requests) == 2


@pytest.mark.parametrize(
    "doubt",
    [
        pytest.param({"state": State.CANDIDATE}, id="not on the chain"),
        pytest.param({"checked": False}, id="value not checked"),
        pytest.param({"recheck": True}, id="the chain moved"),
    ],
)
async def test_a_block_in_doubt_has_no_final_split(bench: Bench, doubt: dict[str, object]) -> None:
    block = await bench.add()
    async with bench.database.write() as connection:
        await change_block(connection, block, **doubt)
    bench.shares.sealed = 99
    await bench.step()
    stored = await bench.split(block)
    assert stored is not None
    assert not stored.final


async def test_an_orphan_without_a_split_gets_none(bench: Bench) -> None:
    block = await bench.add(State.ORPHANED)
    bench.shares.sealed = 99
    await bench.step()
    assert await bench.split(block) is None


async def test_maturity_makes_credits_payable(bench: Bench) -> None:
    block = await bench.add()
    bench.shares.sealed = 99
    await bench.step()
    await bench.happen(block, Event.RIPEN)
    await bench.step()
    assert await balances(bench.ledger) == PAYABLE


async def test_a_late_seal_splits_and_matures_at_once(bench: Bench) -> None:
    block = await bench.add(State.MATURE)
    await bench.step()
    assert await balances(bench.ledger) == {}
    bench.shares.sealed = block.height
    await bench.step()
    assert await balances(bench.ledger) == PAYABLE


async def test_an_orphan_can_be_undone_as_often_as_the_chain_likes(bench: Bench) -> None:
    block = await bench.add()
    bench.shares.sealed = 99
    await bench.step()
    for _ in range(2):
        await bench.happen(block, Event.ORPHAN)
        await bench.step()
        assert await balances(bench.ledger) == {}
        await bench.happen(block, Event.CONFIRM)
        await bench.step()
        assert await balances(bench.ledger) == IMMATURE
    await bench.happen(block, Event.RIPEN)
    await bench.step()
    assert await balances(bench.ledger) == PAYABLE
    assert (await bench.audit()).differences == ()


async def test_an_orphan_after_maturity_is_the_pools_loss(bench: Bench) -> None:
    block = await bench.add()
    bench.shares.sealed = 99
    await bench.step()
    await bench.happen(block, Event.RIPEN)
    await bench.happen(block, Event.ORPHAN)
    await bench.step()
    assert await balances(bench.ledger) == LOST
    await bench.happen(block, Event.CONFIRM, Event.RIPEN)
    await bench.step()
    assert await balances(bench.ledger) == PAYABLE


async def test_an_empty_window_leaves_the_value_as_remainder(bench: Bench) -> None:
    bench.shares.cells, bench.shares.filled = [], False
    bench.shares.group_weight = bench.shares.needed = 0
    await bench.add(State.MATURE)
    bench.shares.sealed = 99
    await bench.step()
    assert await balances(bench.ledger) == {
        "CHAIN/": -VALUE,
        f"FEE/{POOL}": FEE,
        f"REMAINDER/{POOL}": VALUE - FEE,
    }


async def test_a_worthless_block_books_nothing_and_is_done(bench: Bench) -> None:
    await bench.add(State.MATURE, value=0)
    bench.shares.sealed = 99
    await bench.step()
    async with bench.database.read() as connection:
        assert await unbooked_entries(connection, 10) == []
    assert (await bench.audit()).differences == ()


async def test_a_crash_after_posting_posts_the_same_entry_again(bench: Bench) -> None:
    block = await bench.add()
    bench.shares.sealed = 99
    await bench.settler.split_step(bench.now_ms)
    async with bench.database.read() as connection:
        (planned,) = await unbooked_entries(connection, 10)
    stored = await bench.split(block)
    assert stored is not None
    # The ledger has it, and the process died before it could note so.
    made = entry(
        planned.movement, stored.split, name=planned.id, coin=COIN, pool=POOL, height=block.height
    )
    assert made is not None
    await bench.ledger.Post(made)
    assert await bench.settler.book_step() == 1
    assert await bench.settler.book_step() == 0
    assert await balances(bench.ledger) == IMMATURE


async def test_a_chain_that_moves_before_the_ledger_heard_is_still_undone(bench: Bench) -> None:
    block = await bench.add()
    bench.shares.sealed = 99
    await bench.settler.split_step(bench.now_ms)
    await bench.happen(block, Event.ORPHAN)
    await bench.happen(block, Event.CONFIRM)
    await bench.happen(block, Event.ORPHAN)
    assert await bench.settler.book_step() == 4
    assert await balances(bench.ledger) == {}
    async with bench.database.read() as connection:
        names = [one.id for one in await block_entries(connection, COIN, block.hash)]
    assert [name.split("/")[0] for name in names] == ["split", "orphan", "unorphan", "orphan"]


async def test_an_entry_that_the_ledger_refuses_holds_back_only_its_block(bench: Bench) -> None:
    first, second = await bench.add(), await bench.add(serial=2)
    bench.shares.sealed = 99
    await bench.settler.split_step(bench.now_ms)
    stored = await bench.split(first)
    assert stored is not None
    async with bench.database.read() as connection:
        (planned,) = await block_entries(connection, COIN, first.hash)
    other = entry(
        planned.movement, stored.split, name=planned.id, coin=COIN, pool="another", height=1
    )
    assert other is not None
    await bench.ledger.Post(other)
    await bench.happen(first, Event.RIPEN)
    violations = CONSERVED_MONEY._value.get()
    assert await bench.settler.book_step() == 1
    assert CONSERVED_MONEY._value.get() == violations + 1
    async with bench.database.read() as connection:
        assert [one.booked for one in await block_entries(connection, COIN, second.hash)] == [True]
        waiting = [one.booked for one in await block_entries(connection, COIN, first.hash)]
    assert waiting == [False, False]
    found = (await bench.audit()).differences
    assert {one.what for one in found} == {"ledger"}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"needed": 81}, id="more needed than there is"),
        pytest.param({"group_weight": 79}, id="cells are not the group"),
        pytest.param({"filled": False}, id="filled and says it is not"),
        pytest.param({"needed": 39}, id="not filled and says it is"),
        pytest.param({"needed": 41}, id="above the wanted weight"),
        pytest.param({"hash": b"short"}, id="no hash"),
        pytest.param({"cells": [(1, 60, 40), (1, 0, 40)]}, id="an account twice"),
    ],
)
async def test_a_window_that_does_not_fit_together_splits_nothing(
    bench: Bench, wrong: dict[str, object]
) -> None:
    for name, value in wrong.items():
        setattr(bench.shares, name, value)
    block = await bench.add()
    bench.shares.sealed = 99
    violations = REPLAYABLE._value.get()
    await bench.step()
    assert await bench.split(block) is None
    assert REPLAYABLE._value.get() == violations + 1


async def test_one_window_that_is_refused_holds_up_no_other_work(bench: Bench) -> None:
    await bench.add()
    bench.shares.abort = grpc.StatusCode.NOT_FOUND
    await bench.step()
    bench.shares.abort = grpc.StatusCode.UNAVAILABLE
    bench.now_ms += REFRESH_MS
    with pytest.raises(grpc.aio.AioRpcError):
        await bench.step()


async def test_a_block_of_an_unknown_slot_waits_in_suspense(bench: Bench) -> None:
    block = await bench.add(slot=9)
    bench.shares.sealed = 99
    await bench.step()
    assert await bench.split(block) is None
    assert await balances(bench.ledger) == {}


async def test_a_final_split_never_changes(bench: Bench) -> None:
    block = await bench.add()
    bench.shares.sealed = 99
    await bench.step()
    stored = await bench.split(block)
    assert stored is not None
    with pytest.raises(SplitIsFinal):
        async with bench.database.write() as connection:
            await store_split(connection, replace(stored, final=False))
    with pytest.raises(DBAPIError, match="keeps its history"):
        async with bench.database.write() as connection:
            await connection.execute(update(SPLITS).values(fee=0))
    assert await bench.split(block) == stored


async def test_an_audit_of_good_books_finds_nothing(bench: Bench) -> None:
    for serial in range(3):
        await bench.add(State.MATURE, serial=serial)
    bench.shares.sealed = 99
    await bench.step()
    audited = await bench.audit()
    assert (audited.splits, audited.entries, audited.differences) == (3, 6, ())


async def test_an_audit_finds_a_changed_window(bench: Bench) -> None:
    await bench.add()
    bench.shares.sealed = 99
    await bench.step()
    bench.shares.cells = [(1, 59, 0), (2, 1, 80)]
    bench.shares.hash = bytes(32)
    found = (await bench.audit()).differences
    assert {one.where.rsplit(" ", 2)[-1] for one in found if one.what == "window"} == {"hash"}
    # Twice, out of the cells and out of the archive.
    assert [one.what for one in found].count("split") == 2 * 2


async def test_a_split_waits_for_the_archive_of_its_height_and_names_it(bench: Bench) -> None:
    block = await bench.add()
    archive, bench.shares.archive = bench.shares.archive, b""
    bench.shares.sealed = block.height
    await bench.step()
    provisional = await bench.split(block)
    assert provisional is not None
    assert not provisional.final
    bench.shares.archive = archive
    await bench.step()
    final = await bench.split(block)
    assert final is not None
    assert (final.final, final.window.archive) == (True, archive)


async def test_an_audit_finds_another_archive_and_asks_for_the_window_out_of_it(
    bench: Bench,
) -> None:
    block = await bench.add()
    bench.shares.sealed = block.height
    await bench.step()
    bench.shares.window_requests.clear()
    assert (await bench.audit()).differences == ()
    assert [request.archived for request in bench.shares.window_requests] == [False, True]
    bench.shares.archive = bytes([9]) * 32
    found = (await bench.audit()).differences
    assert {(one.what, one.where.rsplit(" ", 1)[1], one.expected, one.got) for one in found} == {
        ("window", "archive", "09" * 32, "08" * 32)
    }


async def test_an_audit_finds_money_moved_between_accounts(bench: Bench) -> None:
    block = await bench.add()
    bench.shares.sealed = 99
    await bench.step()
    async with bench.database.write() as connection:
        for account, by in ((1, -1), (2, 1)):
            await connection.execute(
                update(SPLIT_SHARES)
                .where(SPLIT_SHARES.c.account == account)
                .values(amount=SPLIT_SHARES.c.amount + by)
            )
    found = (await bench.audit()).differences
    assert {one.what for one in found} == {"split", "ledger"}
    assert all(block.name in one.where for one in found)


async def test_an_audit_finds_money_made_from_nothing(bench: Bench) -> None:
    await bench.add()
    bench.shares.sealed = 99
    await bench.step()
    async with bench.database.write() as connection:
        await connection.execute(
            update(SPLIT_SHARES)
            .where(SPLIT_SHARES.c.account == 1)
            .values(amount=SPLIT_SHARES.c.amount + 1)
        )
    (found,) = (await bench.audit()).differences
    assert (found.what, found.expected, found.got) == ("split", str(VALUE), str(VALUE + 1))


async def test_an_audit_finds_a_block_that_the_chain_pays_otherwise(bench: Bench) -> None:
    block = await bench.add()
    async with bench.database.write() as connection:
        await change_block(connection, block, value=VALUE - 1)
    bench.shares.sealed = 99
    await bench.step()
    assert [one.what for one in (await bench.audit()).differences] == ["chain"]
