"""Who is paid next, how far the coins reach, and the name of a plan."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pithead.coins.payment import PAYMENT_WEIGHT_MAX, Coin, select, weight_bound
from pithead.coins.tx import OutPoint, TxOut
from pithead.payouts.plan import UNKNOWN, Account, Choice, choose, payout_id, reach
from pithead.payouts.records import Isolation, Payment
from tests.unit.payouts.scripted import PARAMS, payee_script

pytestmark = pytest.mark.gate


def pick(
    payable: dict[int, int],
    *,
    threshold: int = 1000,
    payments_max: int = 500,
    last_paid: dict[int, int] | None = None,
    isolated: dict[int, Isolation] | None = None,
    scripts: dict[int, bytes] | None = None,
    missing: frozenset[int] = frozenset(),
) -> Choice:
    accounts = {
        n: Account(n, f"l{n}", (scripts or {}).get(n, payee_script(n)))
        for n in payable
        if n not in missing
    }
    return choose(
        PARAMS,
        payable,
        accounts,
        threshold=threshold,
        payments_max=payments_max,
        last_paid=last_paid or {},
        isolated=isolated or {},
    )


def coins(*amounts: int) -> list[Coin]:
    return [
        Coin(OutPoint(n.to_bytes(32, "big"), 0), amount, payee_script(0), 1)
        for n, amount in enumerate(amounts)
    ]


def payments(*amounts: int) -> tuple[Payment, ...]:
    return tuple(Payment(n, f"l{n}", payee_script(n), a) for n, a in enumerate(amounts, 1))


@given(
    amounts=st.lists(st.integers(1, 50_000), min_size=1, max_size=40),
    owed=st.integers(1_000, 10**9),
    rate=st.integers(0, 50),
)
@settings(max_examples=200, deadline=None)
def test_the_most_that_is_named_for_the_first_payee_can_be_built(
    amounts: list[int], owed: int, rate: int
) -> None:
    available = coins(*sorted(amounts, reverse=True))
    funds = reach(payments(owed), available, rate)
    if funds.payments == 0 and funds.most > 0:
        assert funds.most <= owed
        change = TxOut(0, payee_script(0))
        out = TxOut(funds.most, payee_script(1))
        chosen = select(available, None, [out], change, rate)
        assert chosen is not None
        assert weight_bound(chosen, (out, change)) <= PAYMENT_WEIGHT_MAX


def test_the_whole_balance_is_paid_from_the_threshold_on() -> None:
    choice = pick({1: 999, 2: 1000, 3: 5000})
    assert [(each.account, each.amount) for each in choice.payments] == [(2, 1000), (3, 5000)]


@pytest.mark.parametrize("threshold", [0, 1, PARAMS.dust - 1])
def test_nothing_below_dust_is_paid_whatever_the_threshold(threshold: int) -> None:
    choice = pick({1: PARAMS.dust - 1, 2: PARAMS.dust}, threshold=threshold)
    assert [each.account for each in choice.payments] == [2]


def test_those_who_waited_longest_come_first() -> None:
    choice = pick(dict.fromkeys(range(1, 6), 5000), payments_max=3, last_paid={1: 9, 2: 7, 4: 8})
    assert [each.account for each in choice.payments] == [3, 5, 2]
    assert choice.waiting == 2


def test_payees_who_cannot_be_paid_are_isolated_and_take_no_place() -> None:
    refused = Isolation(3, payee_script(3), "no", by_wallet=True)
    choice = pick(
        {1: 5000, 2: 5000, 3: 5000, 4: 5000},
        payments_max=1,
        scripts={1: b""},
        missing=frozenset({2}),
        isolated={3: refused},
    )
    assert [each.account for each in choice.payments] == [4]
    reasons = {each.account: each.reason for each in choice.isolated}
    assert reasons[2] == UNKNOWN
    assert reasons[3] == "no"
    assert "(empty) has no address" in reasons[1]


def test_another_script_clears_the_wallets_refusal() -> None:
    before = {1: Isolation(1, b"old", "no", by_wallet=True)}
    choice = pick({1: 5000}, isolated=before)
    assert choice.cleared == (1,)
    assert len(choice.payments) == 1


@given(
    st.lists(st.integers(1000, 10**9), min_size=1, max_size=40),
    st.lists(st.integers(1, 10**9), max_size=40),
    st.integers(1, 100),
)
@settings(max_examples=60, deadline=None)
def test_coins_reach_as_far_as_they_can_and_no_further(
    amounts: list[int], values: list[int], fee_rate: int
) -> None:
    wanted = payments(*amounts)
    have = coins(*sorted(values, reverse=True))
    funds = reach(wanted, have, fee_rate)
    assert funds.have == sum(values)
    paid = sum(amounts[: funds.payments])
    assert paid <= sum(values)
    if funds.payments:
        assert funds.payments == reach(wanted[: funds.payments], have, fee_rate).payments
    if funds.payments < len(wanted):
        assert reach(wanted[: funds.payments + 1], have, fee_rate).payments == funds.payments


def test_a_transaction_never_gets_too_heavy_to_be_relayed() -> None:
    have = coins(*([1000] * 3000))
    wanted = payments(*([1000] * 2500))
    count = reach(wanted, have, 0).payments
    assert 0 < count < 2500
    outs = [TxOut(each.amount, each.script) for each in wanted[:count]]
    assert weight_bound(have[:count], outs) <= PAYMENT_WEIGHT_MAX


def test_a_plan_made_again_from_the_same_number_has_another_name() -> None:
    one = payout_id("devchain/regtest", 1, 5, payments(1000))
    assert one == payout_id("devchain/regtest", 1, 5, payments(1000))
    assert one.startswith("devchain/regtest/1-")
    assert one != payout_id("devchain/regtest", 1, 6, payments(1000))
    assert one != payout_id("devchain/regtest", 1, 5, payments(1001))
