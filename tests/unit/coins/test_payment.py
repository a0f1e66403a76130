"""Choosing coins: deterministic, sufficient, never more than needed."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pithead.coins.payment import Coin, fee_of, ordered, payment, select, weight_bound
from pithead.coins.script import p2pkh, p2wpkh
from pithead.coins.sign import PrivateKey, sign_tx
from pithead.coins.tx import OutPoint, TxOut

pytestmark = pytest.mark.gate

KEY = PrivateKey(b"\x03" * 32)
CHANGE = TxOut(0, p2wpkh(bytes(20)))


@st.composite
def coins(draw: st.DrawFn) -> list[Coin]:
    amounts = draw(st.lists(st.integers(1, 10**9), min_size=0, max_size=12))
    return [
        Coin(
            OutPoint(bytes([index]) * 32, draw(st.integers(0, 3))),
            amount,
            KEY.p2wpkh() if draw(st.booleans()) else KEY.p2pkh(),
            draw(st.integers(1, 5)),
        )
        for index, amount in enumerate(amounts)
    ]


@given(coins(), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_the_list_came(
    given_coins: list[Coin], rng: object
) -> None:
    shuffled = list(given_coins)
    getattr(rng, "shuffle")(shuffled)  # noqa: B009 - hypothesis gives no type for it
    assert ordered(shuffled, ()) == ordered(given_coins, ())


@given(coins(), st.integers(1, 3 * 10**9), st.integers(0, 50))
def test_a_choice_covers_payment_and_fee_and_its_last_coin_is_needed(
    given_coins: list[Coin], amount: int, fee_rate: int
) -> None:
    outputs = (TxOut(amount, p2pkh(bytes(20))),)
    available = ordered(given_coins, ())
    chosen = select(available, None, outputs, CHANGE, fee_rate)

    def enough(some: tuple[Coin, ...]) -> bool:
        due = amount + fee_of(weight_bound(some, (*outputs, CHANGE)), fee_rate)
        return sum(coin.amount for coin in some) >= due

    if chosen is None:
        assert not any(enough(tuple(available[:count])) for count in range(1, len(available) + 1))
    else:
        assert chosen == tuple(available[: len(chosen)])
        assert enough(chosen)
        assert len(chosen) == 1 or not enough(chosen[:-1])


@given(coins().filter(bool), st.data())
def test_a_coin_that_must_be_spent_is_first(given_coins: list[Coin], data: st.DataObject) -> None:
    must = data.draw(st.sampled_from(given_coins))
    chosen = select(ordered(given_coins, ()), must, (TxOut(1, p2pkh(bytes(20))),), CHANGE, 0)
    assert chosen is not None
    assert chosen[0] == must
    assert len(set(chosen)) == len(chosen)


@given(coins().filter(bool), st.integers(1, 5))
def test_a_signed_transaction_is_never_heavier_than_its_bound(
    given_coins: list[Coin], outputs_count: int
) -> None:
    outputs = tuple(TxOut(n, p2wpkh(bytes(20))) for n in range(outputs_count))
    unsigned = payment(given_coins, outputs)
    spent = [TxOut(coin.amount, coin.script) for coin in given_coins]
    signed = sign_tx(unsigned, spent, [KEY])
    bound = weight_bound(given_coins, outputs)
    assert signed.weight() <= bound
    # Two bytes of a signature, and marker, flag and counts when no input has a witness.
    assert bound - signed.weight() <= 12 * len(given_coins) + 2
