"""Records: of two runs that decide at once one wins, and nothing is half written."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from pithead.coins.tx import OutPoint
from pithead.payouts.records import Adoption, Attempt, Payment, Payout
from pithead.payouts.rows import RowMoved, Rows
from pithead.payouts.states import Event, State, TransitionRefused
from tests.unit.payouts.world import COIN, world

pytestmark = pytest.mark.gate

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
async def rows(tmp_path: Path, templates: Path) -> AsyncIterator[Rows]:
    async with world(tmp_path / "w", templates) as made:
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


async def test_a_burial_without_its_attempt_is_refused_in_sql(rows: Rows, tmp_path: Path) -> None:
    await rows.add(PLAN)
    raw = sqlite3.connect(tmp_path / "w" / "payouts.db")
    with pytest.raises(sqlite3.IntegrityError, match="ck_payouts_buried"):
        raw.execute("UPDATE payouts SET state = 'buried'")
    raw.close()


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
