"""Each step's entry balances, is the same each time, and moves what it says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.contracts.ledger_pb2 import Entry
from pithead.ledger.book import check_entry
from pithead.ledger.wire import entry_of
from pithead.payouts import postings
from pithead.payouts.records import Adoption, Attempt, Payment, Payout
from pithead.payouts.states import State

pytestmark = pytest.mark.gate

PAYOUT = Payout(
    id="devchain/regtest/1-ab",
    coin="devchain/regtest",
    number=1,
    wallet="pool",
    state=State.HELD,
    fee_book="pool-1",
    planned_ms=1,
    payments=(
        Payment(1, "one", b"1", 50),
        Payment(2, "two", b"2", 60, isolated="no script"),
    ),
)
ATTEMPT = Attempt(1, bytes(range(32)), b"", 7, 10, frozenset(), 1)


def moves(entry: Entry | None) -> dict[str, int]:
    assert entry is not None
    checked = entry_of(entry)
    check_entry(checked)
    return {str(book): amount for book, amount in checked.legs}


def test_the_hold_takes_every_payment() -> None:
    assert moves(postings.hold(PAYOUT)) == {
        "PAYABLE/1": -50,
        "HOLD/1": 50,
        "PAYABLE/2": -60,
        "HOLD/2": 60,
    }


def test_an_isolated_payee_gets_its_hold_back_once() -> None:
    isolated = moves(postings.isolate(PAYOUT, PAYOUT.payments[1]))
    assert isolated == {"HOLD/2": -60, "PAYABLE/2": 60}
    assert moves(postings.release(PAYOUT)) == {"HOLD/1": -50, "PAYABLE/1": 50}
    everybody = replace(PAYOUT, payments=PAYOUT.payments[1:])
    assert postings.release(everybody) is None


def test_settling_pays_who_is_in_the_transaction_and_books_its_fee_to_the_pool() -> None:
    assert moves(postings.settle(PAYOUT, ATTEMPT)) == {
        "HOLD/1": -50,
        "PAID/1": 50,
        "FEE/pool-1": -7,
        "NETWORK_FEE/pool-1": 7,
    }
    free = moves(postings.settle(PAYOUT, replace(ATTEMPT, fee=0)))
    assert free == {"HOLD/1": -50, "PAID/1": 50}


@given(st.integers(0, 10**15), st.integers(0, 10**9))
def test_an_adopted_transaction_is_the_pools_expense(amount: int, fee: int) -> None:
    adoption = Adoption("devchain/regtest", bytes(32), "x", amount, fee, "pool-1", frozenset())
    entry = postings.adopt(adoption)
    if amount + fee == 0:
        assert entry is None
        return
    booked = moves(entry)
    assert booked["FEE/pool-1"] == -(amount + fee)
    assert booked.get("PAID", 0) == amount
    assert booked.get("NETWORK_FEE/pool-1", 0) == fee


def test_the_same_rows_give_the_same_entries() -> None:
    assert postings.hold(PAYOUT) == postings.hold(replace(PAYOUT, state=State.SIGNED))
    names = {
        entry.id
        for entry in (
            postings.hold(PAYOUT),
            postings.isolate(PAYOUT, PAYOUT.payments[1]),
            postings.release(PAYOUT),
            postings.settle(PAYOUT, ATTEMPT),
        )
        if entry is not None
    }
    assert len(names) == 4
