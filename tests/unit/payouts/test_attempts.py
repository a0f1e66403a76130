"""What a signed transaction must be before it is stored or sent."""

from dataclasses import replace

import pytest

from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut
from pithead.coins.wallet import SignedTx
from pithead.payouts.attempts import attempt_of, check_stored, common_inputs, is_dead
from pithead.payouts.errors import OneSpendViolated
from pithead.payouts.records import Adoption, Attempt, Payment, Payout
from pithead.payouts.states import State
from tests.unit.payouts.scripted import PARAMS, payee_script

pytestmark = pytest.mark.gate

A, B, C = (OutPoint(bytes([n]) * 32, 0) for n in (1, 2, 3))
CHANGE = payee_script(1000)
PAYOUT = Payout(
    id="p",
    coin="devchain/regtest",
    number=1,
    wallet="pool",
    state=State.HELD,
    fee_book="pool-1",
    planned_ms=1,
    payments=(
        Payment(1, "one", payee_script(1), 5000),
        Payment(2, "two", payee_script(2), 6000),
        Payment(3, "three", payee_script(3), 7000, isolated="refused", returned=True),
    ),
)


def signed(
    *inputs: OutPoint,
    outputs: tuple[tuple[int, int], ...] = ((1, 5000), (2, 6000)),
    change: int = 900,
) -> SignedTx:
    outs = [TxOut(amount, payee_script(n)) for n, amount in outputs]
    if change:
        outs.append(TxOut(change, CHANGE))
    tx = Tx(tuple(TxIn(point) for point in inputs), tuple(outs))
    return SignedTx(tx.serialize(), tx.txid(), 1000, inputs, change, tx.vsize())


def judge(payout: Payout, tx: SignedTx) -> Attempt:
    return attempt_of(PARAMS, payout, tx, 10, 7)


def test_a_transaction_that_pays_everybody_exactly_becomes_an_attempt() -> None:
    attempt = judge(PAYOUT, signed(A, B))
    assert (attempt.number, attempt.fee, attempt.inputs) == (1, 1000, frozenset({A, B}))
    assert check_stored(PAYOUT, attempt).txid() == attempt.txid


@pytest.mark.parametrize(
    ("tx", "cause"),
    [
        (signed(A, outputs=((1, 5000),)), "outputs"),
        (signed(A, outputs=((1, 5001), (2, 6000))), "outputs"),
        (signed(A, outputs=((2, 5000), (1, 6000))), "outputs"),
        (signed(A, outputs=((1, 5000), (2, 6000), (3, 7000))), "outputs"),
        (signed(A, outputs=((1, 5000), (2, 6000), (1, 5000)), change=0), "outputs"),
        (replace(signed(A), change=901), "outputs"),
        (replace(signed(A), raw=b"\x01"), "bytes"),
        (replace(signed(A), txid=bytes(32)), "txid"),
        (replace(signed(A), inputs=(A, B)), "inputs"),
        (replace(signed(A), fee=50_000), "fee"),
        (replace(signed(A), fee=-1), "fee"),
    ],
    ids=[
        "payee missing",
        "amount wrong",
        "amounts swapped",
        "isolated payee paid",
        "payee paid twice",
        "change wrong",
        "bytes damaged",
        "another txid",
        "other inputs",
        "fee too high",
        "fee below zero",
    ],
)
def test_a_transaction_that_is_not_the_payout_is_refused(tx: SignedTx, cause: str) -> None:
    with pytest.raises(OneSpendViolated, match="nothing was sent") as caught:
        judge(PAYOUT, tx)
    assert caught.value.cause == cause


def test_a_further_attempt_must_conflict_with_every_earlier_one() -> None:
    first = judge(PAYOUT, signed(A, B))
    once = replace(PAYOUT, attempts=(first,))
    second = judge(once, signed(B, C))
    twice = replace(PAYOUT, attempts=(first, second))
    assert common_inputs(twice.attempts) == {B}
    with pytest.raises(OneSpendViolated, match="conflict with every earlier"):
        judge(once, signed(C))
    # A shares an input with the first attempt only, C with the second only.
    with pytest.raises(OneSpendViolated, match="conflict with every earlier"):
        judge(twice, signed(A, C))
    assert judge(twice, signed(B)).number == 3


def test_damage_to_stored_bytes_shows_before_they_are_sent() -> None:
    attempt = judge(PAYOUT, signed(A))
    with pytest.raises(OneSpendViolated):
        check_stored(PAYOUT, replace(attempt, raw=attempt.raw[:-1] + b"\x01"))


def test_an_attempt_is_dead_only_at_the_depth_of_what_killed_it() -> None:
    attempt = judge(PAYOUT, signed(A, B))
    other = Adoption("devchain/regtest", bytes(32), "x", 1, 1, "pool-1", frozenset({B}))
    assert not is_dead(attempt, 0, [], 3)
    assert not is_dead(attempt, -2, [], 3)
    assert is_dead(attempt, -3, [], 3)
    assert is_dead(attempt, 0, [other], 3)
    assert not is_dead(attempt, 0, [replace(other, inputs=frozenset({C}))], 3)
