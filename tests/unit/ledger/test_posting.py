"""Posting over a real database: idempotent, in one order, all or nothing.

The judge of the stateful test is a model of a few dictionaries that shares no
code with the book.
"""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy.exc import DBAPIError, IntegrityError

from pithead.ledger import posting
from pithead.ledger.book import (
    Book,
    BookKind,
    BookOverdrawn,
    Entry,
    EntryConflict,
    EntryUnbalanced,
    LedgerError,
    Leg,
)
from pithead.ledger.posting import CHUNK, PAGE, Ledger
from pithead.ledger.verify import verify
from tests.unit.ledger.support import CHAIN, COIN, FEE, database, entry, execute, hold, payable

pytestmark = pytest.mark.databases


async def balances(ledger: Ledger, coin: str = COIN) -> dict[Book, int]:
    return dict(await ledger.balances(coin))


async def test_an_entry_moves_money_and_is_numbered(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        first = await ledger.post(entry("a", (CHAIN, -10), (payable(1), 9), (FEE, 1)), 5)
        second = await ledger.post(entry("b", (payable(1), -4), (hold(1), 4), kind="hold"), 6)
        assert (first, second) == ((1, False), (2, False))
        assert await balances(ledger) == {CHAIN: -10, payable(1): 5, hold(1): 4, FEE: 1}
        assert await verify(engine) == []


async def test_the_same_entry_again_answers_existed_and_changes_nothing(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        posted = entry("a", (CHAIN, -10), (payable(1), 10))
        await ledger.post(posted, 5)
        again = Entry(posted.id, posted.coin, posted.kind, posted.legs[::-1])
        assert await ledger.post(again, 9) == (1, True)
        assert await balances(ledger) == {CHAIN: -10, payable(1): 10}


async def test_an_existing_id_with_another_body_is_refused_by_field(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        await ledger.post(entry("a", (CHAIN, -10), (payable(1), 10)), 5)
        with pytest.raises(EntryConflict) as caught:
            await ledger.post(entry("a", (CHAIN, -11), (payable(1), 11)), 5)
        assert caught.value.field == "legs[CHAIN]"
        assert await balances(ledger) == {CHAIN: -10, payable(1): 10}


async def test_an_overdraft_changes_nothing_and_its_id_stays_free(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        await ledger.post(entry("a", (CHAIN, -3), (payable(1), 2), (payable(2), 1)), 5)
        taken = entry("b", (payable(1), -2), (payable(2), -2), (hold(1), 2), (hold(2), 2))
        with pytest.raises(BookOverdrawn) as caught:
            await ledger.post(taken, 5)
        assert caught.value.book == payable(2)
        assert await balances(ledger) == {CHAIN: -3, payable(1): 2, payable(2): 1}
        await ledger.post(entry("c", (CHAIN, -1), (payable(2), 1)), 5)
        assert await ledger.post(taken, 5) == (3, False)


async def test_coins_do_not_mix(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        await ledger.post(entry("a", (CHAIN, -5), (payable(1), 5)), 1)
        move = entry("b", (payable(1), -5), (hold(1), 5), coin="litecoin/regtest")
        with pytest.raises(BookOverdrawn):
            await ledger.post(move, 1)
        assert await balances(ledger, "litecoin/regtest") == {}


async def test_concurrent_posts_of_one_entry_book_it_once(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        same = entry("a", (CHAIN, -5), (payable(1), 5))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ledger.post(same, 1)) for _ in range(8)]
        assert Counter(task.result() for task in tasks) == {(1, False): 1, (1, True): 7}


async def test_concurrent_holds_never_take_more_than_there_is(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        await ledger.post(entry("a", (CHAIN, -5), (payable(1), 5)), 1)

        async def take(number: int) -> bool:
            try:
                await ledger.post(entry(f"h{number}", (payable(1), -2), (hold(1), 2)), 1)
            except BookOverdrawn:
                return False
            return True

        took = await asyncio.gather(*map(take, range(6)))
        assert sum(took) == 2
        assert await balances(ledger) == {CHAIN: -5, payable(1): 1, hold(1): 4}
        assert await verify(engine) == []


async def test_an_entry_over_many_accounts_is_one_entry(tmp_path: Path) -> None:
    count = 3 * CHUNK + 1
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        for name in ("a", "b"):
            credits = [(payable(number), number) for number in range(1, count + 1)]
            total = sum(amount for _, amount in credits)
            await ledger.post(entry(name, (CHAIN, -total), *credits), 1)
        after = await balances(ledger)
        assert after[payable(count)] == 2 * count
        assert len(after) == count + 1
        assert await verify(engine) == []


async def test_balances_are_chosen_by_kind_owner_and_amount(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        await ledger.post(
            entry("a", (CHAIN, -9), (payable(1), 2), (payable(2), 3), (hold(2), 4)), 1
        )
        await ledger.post(entry("b", (payable(1), -2), (hold(1), 2)), 1)
        kinds = [BookKind.PAYABLE]
        assert await ledger.balances(COIN, kinds=kinds, non_zero=True) == [(payable(2), 3)]
        assert await ledger.balances(COIN, kinds=kinds, at_least=3) == [(payable(2), 3)]
        assert await ledger.balances(COIN, kinds=kinds, at_least=4) == []
        assert await ledger.balances(COIN, owner="2") == [(payable(2), 3), (hold(2), 4)]
        assert await ledger.balances("litecoin/regtest") == []


async def test_a_page_holds_no_more_legs_than_fit_but_any_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "PAGE_LEGS", 6)
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        for number in range(1, 8):
            legs = [(payable(account), 1) for account in range(1, number + 2)]
            await ledger.post(entry(f"e{number}", (CHAIN, -len(legs)), *legs), number)
        read = [booked async for booked in ledger.entries(COIN)]
        assert [booked.number for booked in read] == list(range(1, 8))
        assert [len(booked.entry.legs) for booked in read] == list(range(3, 10))


async def test_entries_are_read_in_pages_without_gap_or_repeat(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        ledger = Ledger(engine)
        count = PAGE + 3
        for number in range(1, count + 1):
            kind = "mature" if number % 2 else "split"
            await ledger.post(entry(f"e{number}", (CHAIN, -1), (payable(1), 1), kind=kind), number)
        read = [booked async for booked in ledger.entries()]
        assert [booked.number for booked in read] == list(range(1, count + 1))
        later = [booked.number async for booked in ledger.entries(COIN, after_number=count - 2)]
        assert later == [count - 1, count]
        found = [booked async for booked in ledger.entries(entry_id="e7")]
        assert [(booked.number, booked.booked_ms) for booked in found] == [(7, 7)]
        assert [booked async for booked in ledger.entries("litecoin/regtest")] == []
        odd = [booked.number async for booked in ledger.entries(kind="mature")]
        assert odd == list(range(1, count + 1, 2))


@pytest.mark.parametrize("table", ["entries", "legs"])
@pytest.mark.parametrize("change", ["UPDATE {} SET kind = 'x'", "DELETE FROM {}"])
async def test_history_cannot_be_changed_in_sql(tmp_path: Path, table: str, change: str) -> None:
    async with database(tmp_path) as engine:
        await Ledger(engine).post(entry("a", (CHAIN, -5), (payable(1), 5)), 1)
        with pytest.raises(DBAPIError, match=f"{table} is append-only"):
            await execute(engine, change.format(table))


async def test_a_negative_payable_is_refused_in_sql(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        await Ledger(engine).post(entry("a", (CHAIN, -5), (payable(1), 5)), 1)
        with pytest.raises(IntegrityError, match="ck_books_balance"):
            await execute(engine, "UPDATE books SET balance = -1 WHERE kind = 'PAYABLE'")


BOOKS = [CHAIN, FEE, payable(1), payable(2), hold(1), Book(BookKind.PAID, "1")]


class LedgerAgainstModel(RuleBasedStateMachine):
    """Random entries, some wrong, go to the book and to a naive model; both must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.model: Counter[Book] = Counter()
        self.booked: dict[str, frozenset[tuple[Book, int]]] = {}

    @initialize()
    def start(self) -> None:
        self.context = database(Path(self.directory.name))
        self.engine = self.runner.run(self.context.__aenter__())
        self.ledger = Ledger(self.engine)

    @rule(
        name=st.sampled_from([f"e{number}" for number in range(12)]),
        amounts=st.dictionaries(st.sampled_from(BOOKS), st.integers(-6, 6), min_size=1),
        balanced=st.integers(0, 9).map(bool),
    )
    def post(self, name: str, amounts: dict[Book, int], balanced: bool) -> None:
        if balanced:
            amounts[CHAIN] = -sum(amount for book, amount in amounts.items() if book != CHAIN)
        amounts = {book: amount for book, amount in amounts.items() if amount}
        body = frozenset(amounts.items())
        expected: object
        if sum(amounts.values()) or len(amounts) < 2:
            expected = "refused"
        elif name in self.booked:
            expected = "existed" if self.booked[name] == body else "refused"
        elif any(
            self.model[book] + amount < 0
            for book, amount in amounts.items()
            if book not in (CHAIN, FEE)
        ):
            expected = "refused"
        else:
            expected = "booked"
            self.booked[name] = body
            self.model.update(amounts)
        got: str
        legs = tuple(Leg(book, amount) for book, amount in amounts.items())
        try:
            posted = self.runner.run(self.ledger.post(Entry(name, COIN, "split", legs), 1))
            got = "existed" if posted.existed else "booked"
        except LedgerError:
            got = "refused"
        assert got == expected

    @invariant()
    def balances_agree(self) -> None:
        if not self.booked:
            return
        held = self.runner.run(balances(self.ledger))
        assert {k: v for k, v in held.items() if v} == {k: v for k, v in self.model.items() if v}
        assert sum(held.values()) == 0

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            try:
                assert self.runner.run(verify(self.engine)) == []
            finally:
                self.runner.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        self.directory.cleanup()


TestLedgerAgainstModel = pytest.mark.gate(LedgerAgainstModel.TestCase)
TestLedgerAgainstModel.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


async def test_an_unbalanced_entry_never_reaches_the_database(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        with pytest.raises(EntryUnbalanced):
            await Ledger(engine).post(entry("a", (CHAIN, -5), (payable(1), 6)), 1)
        assert [booked async for booked in Ledger(engine).entries()] == []
