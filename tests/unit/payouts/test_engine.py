"""The engine over a scripted wallet, a real book and real databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pithead.contracts import ledger_pb2
from pithead.ledger.book import Book, BookKind, Entry, Leg
from pithead.payouts.errors import AdoptRefused, BookRefused, NeighbourAway
from pithead.payouts.rows import Rows
from pithead.payouts.states import State
from pithead.store import open_store
from tests.support.databases import DATABASES
from tests.unit.payouts.scripted import payee_script
from tests.unit.payouts.world import COIN, DEPTH, World, world

pytestmark = pytest.mark.databases


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "w") as made:
        yield made


async def test_everybody_due_is_paid_exactly_once_in_one_transaction(w: World) -> None:
    await w.credit({1: 5_000_001, 2: 70_003, 3: 999}, coins=2)
    engine = w.engine()
    await w.settle(engine)
    assert (w.paid(1), w.paid(2), w.paid(3)) == (5_000_001, 70_003, 0)
    payouts = await w.rows.recent(COIN, 10)
    assert [payout.state for payout in payouts] == [State.BURIED]
    assert payouts[0].confirmations == DEPTH
    totals = await w.rows.totals(COIN)
    assert (totals.pending, totals.confirmed, totals.amount) == (0, 2, 5_070_004)
    await w.check_books()
    fee = payouts[0].attempts[0].fee
    assert await w.total(BookKind.NETWORK_FEE) == fee > 0
    assert await w.total(BookKind.FEE) == 100_000 - fee


async def test_states_are_taken_one_after_the_other(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()
    first = await engine.run()
    assert "is broadcast, 0 of 2 confirmations" in first.text
    assert await w.total(BookKind.HOLD) == 50_000
    for depth in range(1, DEPTH):
        w.chain.mine()
        outcome = await engine.run()
        assert f"{depth} of 2" in outcome.text
        assert (await w.rows.totals(COIN)).pending == 1
    w.chain.mine()
    await engine.run()
    assert await w.rows.open(COIN) is None
    assert await w.total(BookKind.PAID) == 50_000


async def test_a_payee_without_a_payable_script_never_holds_up_the_others(w: World) -> None:
    w.accounts.scripts[2] = b"\x6a\x01x"
    w.accounts.unknown.add(3)
    await w.credit({1: 50_000, 2: 60_000, 3: 70_000})
    engine = w.engine()
    await w.settle(engine)
    assert w.paid(1) == 50_000
    reasons = {n: item.reason for n, item in (await w.rows.isolations(COIN)).items()}
    assert "has no address" in reasons[2]
    assert "no such account" in reasons[3]
    assert await w.total(BookKind.PAYABLE) == 130_000
    # A remedy is taken up by itself.
    w.accounts.scripts[2] = payee_script(2)
    w.accounts.unknown.clear()
    await w.settle(engine)
    await w.check_all_paid()
    assert await w.rows.isolations(COIN) == {}
    await w.check_books()


async def test_a_payee_that_the_wallet_refuses_gets_its_hold_back(w: World) -> None:
    w.wallet.refused.add(payee_script(2))
    await w.credit({1: 50_000, 2: 60_000})
    engine = w.engine()
    await w.settle(engine)
    assert (w.paid(1), w.paid(2)) == (50_000, 0)
    assert await w.total(BookKind.PAYABLE) == 60_000
    payouts = await w.rows.recent(COIN, 10)
    # It is not tried again while its script is the same.
    assert len(payouts) == 1
    await w.check_books()


async def test_a_payout_of_refused_payees_alone_is_released(w: World) -> None:
    w.wallet.refused.add(payee_script(1))
    await w.credit({1: 50_000})
    await w.settle(w.engine())
    assert [each.state for each in await w.rows.recent(COIN, 10)] == [State.RELEASED]
    assert await w.total(BookKind.PAYABLE) == 50_000
    await w.check_books()


async def test_too_little_mature_money_waits_without_a_hold_and_says_why(w: World) -> None:
    await w.credit({1: 50_000}, fee=0)
    await w.ledger.post(
        Entry(
            "split/more",
            COIN,
            "split",
            (Leg(Book(BookKind.PAYABLE, "1"), 60_000), Leg(Book(BookKind.CHAIN, ""), -60_000)),
        ),
        1,
    )
    w.credited[1] += 60_000
    engine = w.engine()
    outcome = await engine.run()
    assert outcome.troubled
    assert "has 50000 mature base units in 1 coins and needs 111" in outcome.text
    assert await w.total(BookKind.HOLD) == 0
    assert (await w.rows.wallet(COIN, "pool")).trouble == outcome.text
    w.chain.fund(w.wallet.scripts[0], 70_000)
    w.funded += 70_000
    await w.settle(engine)
    await w.check_all_paid()
    assert (await w.rows.wallet(COIN, "pool")).trouble == ""


async def test_a_single_payee_of_a_pool_without_a_fee_is_paid_less_the_network_fee(
    w: World,
) -> None:
    await w.credit({1: 50_000}, fee=0)
    engine = w.engine()
    outcome = await w.tick(engine)
    assert not outcome.troubled
    for _ in range(4):
        await w.tick(engine)
    (payout,) = await w.rows.recent(COIN, 5)
    assert payout.state is State.BURIED
    owed = await w.total(BookKind.PAYABLE)
    assert w.paid(1) + owed == 50_000
    assert owed < 2_000
    assert await w.total(BookKind.FEE) == -payout.attempts[0].fee
    # What stays owed is paid as soon as there is money.
    await w.credit({}, fee=10_000)
    await w.settle(engine)
    await w.check_all_paid()
    await w.check_books()


async def test_more_coins_than_a_transaction_holds_pay_in_parts(w: World) -> None:
    count = 1_700
    await w.credit({1: count * 2_000}, coins=count, fee=400_000)
    engine = w.engine()
    outcome = await engine.run()
    assert "is broadcast" in outcome.text
    payout = await w.rows.open(COIN)
    assert payout is not None
    assert 1_200 < len(payout.attempts[0].inputs) < count
    assert payout.amount < count * 2_000


async def test_coins_too_small_to_reach_the_threshold_are_named_as_the_trouble(w: World) -> None:
    w.threshold = 4_000_000
    count = 3_000
    await w.credit({1: count * 2_000}, coins=count, fee=count * 1_000)
    outcome = await w.engine().run()
    assert outcome.troubled
    assert "join small coins into larger ones" in outcome.text
    assert "wait until coins mature" not in outcome.text


async def test_money_for_some_pays_those_who_waited_longest(w: World) -> None:
    await w.credit({1: 50_000, 2: 60_000}, fee=0)
    engine = w.engine()
    await w.tick(engine)
    assert w.paid(1) == 50_000
    for _ in range(5):
        outcome = await w.tick(engine)
    assert outcome.troubled
    part = w.paid(2)
    assert 57_000 < part < 60_000
    await w.credit({1: 50_000, 2: 5_000}, fee=0)
    for _ in range(5):
        outcome = await w.tick(engine)
    assert (w.paid(1), w.paid(2)) == (100_000, part)
    assert "wait until coins mature" in outcome.text
    w.chain.fund(w.wallet.scripts[0], 10_000)
    w.funded += 10_000
    for _ in range(5):
        await w.tick(engine)
    assert w.paid(2) == 65_000
    await w.check_nobody_is_paid_twice()


async def test_payees_beyond_the_limit_come_with_the_next_payout(w: World) -> None:
    w.payments_max = 2
    await w.credit({number: 10_000 + number for number in range(1, 6)})
    await w.settle(w.engine())
    await w.check_all_paid()
    sizes = [len(each.payments) for each in await w.rows.recent(COIN, 10)]
    assert sizes == [1, 2, 2]
    await w.check_books()


async def test_an_unknown_outgoing_transaction_stops_until_it_is_adopted(w: World) -> None:
    engine = w.engine()
    await engine.run()
    await w.credit({1: 50_000})
    w.now_ms += 60_000
    point = w.chain.fund(w.wallet.scripts[0], 30_000)
    w.funded += 30_000
    txid = w.wallet.foreign_spend(point, payee_script(77), fee=400)
    outcome = await engine.run()
    shown = txid[::-1].hex()
    assert outcome.troubled
    assert f"`pithead payouts adopt {shown}`" in outcome.text
    assert await w.rows.open(COIN) is None
    with pytest.raises(AdoptRefused, match="knows no transaction"):
        await engine.adopt("ab" * 32, "because")
    with pytest.raises(AdoptRefused, match="needs 64 digits"):
        await engine.adopt("abcd", "because")
    with pytest.raises(AdoptRefused, match="not hexadecimal"):
        await engine.adopt("xy", "because")
    with pytest.raises(AdoptRefused, match="a reason is"):
        await engine.adopt(shown, " ")
    assert "29600 base units and a fee of 400" in await engine.adopt(shown, "moved to cold store")
    assert "adopted before" in await engine.adopt(shown, "again")
    await w.settle(engine)
    await w.check_all_paid()
    await w.check_books()
    fees = await w.total(BookKind.FEE)
    paid_fee = (await w.rows.recent(COIN, 1))[0].attempts[0].fee
    assert fees == 100_000 - 30_000 - paid_fee


async def test_what_the_wallet_sent_before_the_first_payout_is_taken_as_known(w: World) -> None:
    await w.credit({1: 50_000})
    point = w.chain.fund(w.wallet.scripts[0], 30_000)
    w.wallet.foreign_spend(point, payee_script(77), fee=400)
    w.chain.mine()
    engine = w.engine()
    await w.settle(engine)
    await w.check_all_paid()
    (before,) = await w.rows.adoptions(COIN)
    assert (before.reason, before.amount, before.fee, before.booked) == (
        "sent before the first payout of the coin",
        29_600,
        400,
        True,
    )
    # It was no business of the book.
    fee = (await w.rows.recent(COIN, 1))[0].attempts[0].fee
    assert await w.total(BookKind.FEE) == 100_000 - fee
    # From now on every spend must be explained, also by a new process.
    point = w.chain.fund(w.wallet.scripts[0], 20_000)
    w.wallet.foreign_spend(point, payee_script(78))
    assert "which no payout made" in (await w.engine().run()).text


async def test_a_lost_payouts_database_is_no_first_start(w: World, tmp_path: Path) -> None:
    await w.credit({1: 50_000})
    await w.engine().run()
    w.chain.mine()
    (tmp_path / "new").mkdir()
    empty = open_store(await DATABASES.migrated(tmp_path / "new", "payouts"))
    w.rows = Rows(empty)
    outcome = await w.engine().run()
    assert outcome.troubled
    assert "which no payout made" in outcome.text
    assert await w.rows.adoptions(COIN) == []
    await empty.dispose()


async def test_a_node_with_another_wallet_of_that_name_is_told(w: World) -> None:
    """Blocks would go on paying an address whose key nobody has here."""
    await w.engine().receive()
    await w.credit({1: 50_000})
    mine, w.wallet.scripts = w.wallet.scripts, [payee_script(99)]
    outcome = await w.engine().run()
    assert outcome.troubled
    assert "restore the wallet there" in outcome.text
    w.wallet.scripts = mine
    await w.settle(w.engine())
    await w.check_all_paid()


async def test_books_that_are_all_lost_pay_nobody_again(w: World, tmp_path: Path) -> None:
    """Another database looks like a first start; the pool's own coins that are gone do not."""
    await w.engine().receive()
    await w.credit({1: 50_000})
    await w.settle(w.engine())
    await w.check_all_paid()
    paid = w.paid(1)
    async with world(tmp_path / "new") as other:
        other.chain, other.wallet, other.now_ms = w.chain, w.wallet, w.now_ms
        # What the share log and the chain tell is all credited once more, and there is money.
        await other.engine().receive()
        await other.credit({1: 50_000})
        for _ in range(3):
            outcome = await other.engine().run(now=True)
            w.chain.mine()
        assert outcome.troubled
        assert "bring back their database" in outcome.text
        assert await other.rows.open(COIN) is None
        assert other.paid(1) == paid


async def test_an_adopted_transaction_is_booked_only_when_buried(w: World) -> None:
    engine = w.engine()
    await engine.run()
    point = w.chain.fund(w.wallet.scripts[0], 30_000)
    txid = w.wallet.foreign_spend(point, payee_script(77))
    await engine.adopt(txid[::-1].hex(), "moved")
    for depth in range(DEPTH + 1):
        await engine.run()
        booked = await w.total(BookKind.PAID)
        assert booked == (29_500 if depth == DEPTH else 0)
        w.chain.mine()


async def test_our_own_transaction_cannot_be_adopted(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()
    await engine.run()
    payout = await w.rows.open(COIN)
    assert payout is not None
    with pytest.raises(AdoptRefused, match=f"is payout {payout.id}"):
        await engine.adopt(payout.attempts[0].shown, "mine")


async def test_a_balance_that_fell_after_the_plan_releases_the_payout(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()

    async def refuse_once(entry: object) -> None:
        del w.book.post
        legs = (
            Leg(Book(BookKind.PAYABLE, "1"), -20_000),
            Leg(Book(BookKind.CHAIN, ""), 20_000),
        )
        await w.ledger.post(Entry("orphan/1", COIN, "orphan", legs), 1)
        await w.book.post(entry)  # type: ignore[arg-type]

    w.book.post = refuse_once  # type: ignore[method-assign]
    await engine.run()
    assert [each.state for each in await w.rows.recent(COIN, 5)] == [State.RELEASED]
    assert await w.total(BookKind.HOLD) == 0
    w.credited[1] = 30_000
    for _ in range(8):
        await w.tick(engine)
    await w.check_all_paid()


async def test_a_ledger_that_is_away_is_waited_for(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()
    w.book.away = NeighbourAway("ledger", "gone")
    outcome = await engine.run()
    assert outcome.troubled
    assert "the ledger service does not answer" in outcome.text
    w.book.away = None
    await w.settle(engine)
    await w.check_all_paid()
    await w.check_books()


async def test_a_hold_that_no_payout_explains_stops_planning(w: World) -> None:
    await w.credit({1: 50_000, 2: 40_000})
    legs = (Leg(Book(BookKind.PAYABLE, "2"), -40_000), Leg(Book(BookKind.HOLD, "2"), 40_000))
    await w.ledger.post(Entry("hold/forgotten", COIN, "hold", legs), 1)
    outcome = await w.engine().run()
    assert outcome.troubled
    assert "holds 40000 base units" in outcome.text
    assert await w.rows.open(COIN) is None


async def test_a_hold_that_arrives_after_its_payout_was_released_goes_back(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()
    late: list[ledger_pb2.Entry] = []

    async def cut_off(entry: ledger_pb2.Entry) -> None:
        late.append(entry)
        del w.book.post
        raise BookRefused("a balance fell")

    w.book.post = cut_off  # type: ignore[method-assign]
    await engine.run()
    assert [each.state for each in await w.rows.recent(COIN, 5)] == [State.RELEASED]
    await w.book.post(late[0])
    assert await w.total(BookKind.HOLD) == 50_000
    await w.settle(engine)
    await w.check_all_paid()
    await w.check_books()


async def test_pause_stops_planning_and_holding_but_not_what_is_signed(w: World) -> None:
    await w.credit({1: 50_000})
    w.paused = True
    assert "paused" in (await w.engine().run(now=True)).text
    w.paused = False
    await w.engine().run()
    w.paused = True
    engine = w.engine()
    for _ in range(DEPTH + 1):
        await w.tick(engine)
    await w.check_all_paid()


async def test_the_schedule_is_kept_and_run_now_goes_past_it(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()
    await w.settle(engine)
    assert (await engine.run()).text == "nobody is due"
    await w.credit({1: 60_000})
    w.now_ms += 59_000
    outcome = await engine.run()
    assert outcome.text == "the next payout is not due yet"
    assert "is broadcast" in (await engine.run(now=True)).text


async def test_another_wallet_name_waits_for_the_open_payout(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()
    await engine.run()
    renamed = w.engine()
    renamed.coin = msgspec.structs.replace(
        renamed.coin, wallet=msgspec.structs.replace(renamed.coin.wallet, name="other")
    )
    outcome = await renamed.run()
    assert outcome.troubled
    assert "is being made from wallet pool" in outcome.text


async def test_the_receive_address_is_kept_for_ever(w: World) -> None:
    first = await w.engine().receive()
    w.wallet.scripts.insert(0, payee_script(99))
    again = await w.engine().receive()
    assert (first.address, first.script) == (again.address, again.script)
    assert first.address is not None


async def test_a_lost_input_is_replaced_by_an_attempt_that_conflicts_with_the_first(
    w: World,
) -> None:
    # Deep enough that the stranger is on the chain long before it is buried.
    w.depth = 6
    await w.credit({1: 500_000}, coins=4)
    w.wallet.after_build = w.spend_behind_the_back
    await w.credit({}, fee=400_000)
    engine = w.engine()
    await w.settle(engine)
    await w.check_all_paid()
    (payout,) = await w.rows.recent(COIN, 5)
    assert len(payout.attempts) == 2
    assert payout.attempts[0].inputs & payout.attempts[1].inputs
    assert payout.buried == 2
    await w.check_books()
    assert w.wallet.frozen == set() or not (w.wallet.frozen & set(w.wallet.coins()))


async def test_a_payout_whose_only_input_was_spent_is_released_and_paid_anew(w: World) -> None:
    await w.credit({1: 50_000})
    w.wallet.after_build = w.spend_behind_the_back
    await w.credit({}, fee=400_000)
    # The only coin that the first attempt spends is the largest one.
    engine = w.engine()
    await w.settle(engine)
    await w.check_all_paid()
    states = [payout.state for payout in await w.rows.recent(COIN, 5)]
    assert states == [State.BURIED, State.RELEASED]
    await w.check_books()


async def test_a_raised_fee_rate_replaces_an_unconfirmed_attempt(w: World) -> None:
    await w.credit({1: 50_000}, coins=3)
    await w.credit({}, fee=400_000)
    await w.engine().run()
    w.fee_rate = 50
    engine = w.engine()
    await engine.run()
    payout = await w.rows.open(COIN)
    assert payout is not None
    assert len(payout.attempts) == 2
    assert len(w.chain.mempool) == 1
    await w.settle(engine)
    await w.check_all_paid()
    await w.check_books()
    (payout,) = await w.rows.recent(COIN, 5)
    assert payout.buried == 2


async def test_a_transaction_that_fell_out_of_the_chain_is_sent_again(w: World) -> None:
    await w.credit({1: 50_000})
    engine = w.engine()
    await engine.run()
    w.chain.mine()
    await engine.run()
    w.chain.reorganise(1)
    w.chain.mempool.clear()
    await engine.run()
    assert len(w.chain.mempool) == 1
    await w.settle(engine)
    await w.check_all_paid()
    await w.check_books()
