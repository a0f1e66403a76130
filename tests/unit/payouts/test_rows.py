"""Records: of two runs that decide at once one wins, and nothing is half written."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from pithead.coins.tx import OutPoint
from pithead.payouts.records import Adoption, Attempt, Isolation, Payment, Payout
from pithead.payouts.rows import RowMoved, Rows
from pithead.payouts.states import Event, State, TransitionRefused
from pithead.store import transaction
from tests.unit.payouts.world import COIN, world

pytestmark = pytest.mark.databases

PLAN = Payout(
    id=f"{COIN}/1-aa",
    coin=COIN,
    number=1,
    wallet="pool",
    state=State.PLANNED,
    fee_book="pool-1",
    planned_ms=5,
    payments=(Payment(1, "one", b"1", 50), Payment(2, "two", b"2", 60)),
)


def attempt(number: int, *inputs: int) -> Attempt:
    points = frozenset(OutPoint(bytes([n]) * 32, n) for n in inputs)
    return Attempt(number, bytes([number]) * 32, b"raw", 7, 10, points, 9)


async def opened(rows: Rows) -> Payout:
    payout = await rows.open(COIN)
    assert payout is not None
    return payout


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    async with world(tmp_path / "w") as made:
        yield made.rows


async def test_a_plan_is_read_back_as_it_was_written(rows: Rows) -> None:
    assert await rows.add(PLAN)
    assert await opened(rows) == PLAN
    assert await rows.last_number(COIN) == 1
    assert await rows.recent("", 5) == [PLAN]


async def test_a_coin_has_one_open_payout(rows: Rows) -> None:
    assert await rows.add(PLAN)
    assert not await rows.add(replace(PLAN, id=f"{COIN}/2-bb", number=2))
    assert await rows.add(replace(PLAN, id="other/net/1-cc", coin="other/net"))


async def test_a_step_that_the_table_refuses_changes_nothing(rows: Rows) -> None:
    await rows.add(PLAN)
    for event in set(Event) - {Event.HOLD, Event.REFUSE}:
        with pytest.raises(TransitionRefused):
            await rows.move(PLAN, event, 6)
    assert await opened(rows) == PLAN


async def test_of_two_runs_one_wins(rows: Rows) -> None:
    await rows.add(PLAN)
    await rows.move(PLAN, Event.HOLD, 6)
    with pytest.raises(RowMoved):
        await rows.move(PLAN, Event.REFUSE, 6)
    held = await opened(rows)
    await rows.add_attempt(held, attempt(1, 1, 2), 7)
    with pytest.raises(RowMoved):
        await rows.add_attempt(held, attempt(2, 3), 7)
    with pytest.raises(RowMoved):
        await rows.move(held, Event.ABANDON, 7)
    with pytest.raises(RowMoved):
        await rows.isolate(held, 1, "late", 7)
    signed = await opened(rows)
    assert signed.state is State.SIGNED
    assert signed.attempts == (attempt(1, 1, 2),)
    # A further attempt makes an older view of the payout too old to give it up.
    await rows.add_attempt(signed, attempt(2, 2, 3), 8)
    with pytest.raises(RowMoved):
        await rows.move(signed, Event.VOID, 9)
    assert len((await opened(rows)).attempts) == 2


async def test_a_finished_payout_stays_open_until_the_ledger_has_it(rows: Rows) -> None:
    await rows.add(PLAN)
    await rows.move(PLAN, Event.HOLD, 6)
    await rows.add_attempt(await opened(rows), attempt(1, 1), 7)
    await rows.move(await opened(rows), Event.BURY, 8, buried=1)
    buried = await opened(rows)
    assert (buried.state, buried.buried) == (State.BURIED, 1)
    assert (await rows.totals(COIN)).pending == 2
    await rows.close(buried, 9)
    assert await rows.open(COIN) is None
    totals = await rows.totals(COIN)
    assert (totals.pending, totals.confirmed, totals.amount) == (0, 2, 110)
    assert await rows.last_paid(COIN) == {1: 5, 2: 5}


async def test_a_refused_plan_owes_the_ledger_nothing_and_counts_for_nobody(rows: Rows) -> None:
    await rows.add(PLAN)
    await rows.move(PLAN, Event.REFUSE, 6)
    assert await rows.open(COIN) is None
    assert await rows.last_paid(COIN) == {}
    totals = await rows.totals("")
    assert (totals.pending, totals.confirmed, totals.amount) == (0, 0, 0)


async def test_a_burial_without_its_attempt_is_refused_in_sql(rows: Rows) -> None:
    await rows.add(PLAN)
    with pytest.raises(IntegrityError, match="ck_payouts_buried"):
        async with transaction(rows._engine) as connection:
            await connection.execute(text("UPDATE payouts SET state = 'buried'"))


async def test_an_adoption_is_kept_once_with_what_it_spends(rows: Rows) -> None:
    point = OutPoint(bytes(31) + b"\x01", 3)
    adoption = Adoption(COIN, bytes(32), "why", 5, 1, "pool-1", frozenset({point}))
    assert await rows.adopt(adoption, 1)
    assert not await rows.adopt(replace(adoption, reason="other"), 2)
    assert await rows.adoptions(COIN) == [adoption]
    await rows.adoption_booked(adoption, 3)
    assert await rows.adoptions(COIN) == [replace(adoption, booked=True)]
    assert await rows.known(COIN, [bytes(32), b"\x01" * 32]) == {bytes(32)}
    assert await rows.known("other/net", [bytes(32)]) == frozenset()


async def test_runs_that_meet_a_wallet_at_once_take_one_baseline(rows: Rows) -> None:
    before = Adoption(COIN, bytes(32), "before", 5, 1, "pool-1", frozenset())
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(rows.keep_baseline(COIN, "pool", [before], 7))
            group.create_task(rows.keep_trouble(COIN, "pool", "some"))
            group.create_task(rows.keep_address(COIN, "pool", "addr", b"script"))
    wallet = await rows.wallet(COIN, "pool")
    assert (wallet.address, wallet.trouble, wallet.baselined) == ("addr", "some", True)
    assert [adoption.txid for adoption in await rows.adoptions(COIN)] == [bytes(32)]


async def test_runs_that_set_payees_aside_at_once_end_well(rows: Rows) -> None:
    payees = [Isolation(number, b"s", "why", by_wallet=False) for number in range(20)]
    async with asyncio.TaskGroup() as group:
        for turn in range(6):
            order = payees if turn % 2 else payees[::-1]
            group.create_task(rows.keep_isolations(COIN, order, [], turn))
    assert sorted(await rows.isolations(COIN)) == list(range(20))


async def test_of_runs_that_move_one_payout_at_once_one_wins(rows: Rows) -> None:
    await rows.add(PLAN)
    moves = await asyncio.gather(
        *(rows.move(PLAN, Event.HOLD, 6) for _ in range(6)), return_exceptions=True
    )
    assert sum(move is None for move in moves) == 1
    assert sum(isinstance(move, RowMoved) for move in moves) == 5
    plans = [replace(PLAN, id=f"x/{n}", coin="other/net", number=n) for n in range(1, 7)]
    assert sum(await asyncio.gather(*map(rows.add, plans))) == 1
