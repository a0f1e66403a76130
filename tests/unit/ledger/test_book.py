"""The pure rules: which entries may be booked, what they do, and how they are hashed."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.contracts import ledger_pb2
from pithead.ledger.book import (
    AMOUNT_MAX,
    GENESIS,
    LEGS_MAX,
    MAY_BE_NEGATIVE,
    Book,
    BookKind,
    BookOverdrawn,
    BookOverflow,
    Entry,
    EntryConflict,
    EntryInvalid,
    EntryUnbalanced,
    Leg,
    apply,
    canonical,
    chain_hash,
    check_entry,
    compare,
)
from tests.unit.ledger.support import CHAIN, COIN, FEE, entry, hold, payable

pytestmark = pytest.mark.gate

GOOD = entry("split/1", (CHAIN, -10), (payable(1), 9), (FEE, 1))


def test_a_balanced_entry_passes() -> None:
    check_entry(GOOD)


def test_book_kinds_are_those_of_the_contract() -> None:
    contract = {f"BOOK_{kind.name}": kind.value for kind in BookKind} | {"BOOK_UNSPECIFIED": 0}
    assert contract == dict(ledger_pb2.BookKind.items())


@pytest.mark.parametrize("total", [-1, 1, 10**12], ids=str)
def test_an_entry_that_does_not_sum_to_zero_is_refused_with_the_sum(total: int) -> None:
    with pytest.raises(EntryUnbalanced, match=f"sum to {total} base units"):
        check_entry(entry("x", (CHAIN, -10), (FEE, 10 + total)))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (entry("x"), "has 0 legs"),
        (entry("x", (CHAIN, 0)), "has 1 legs"),
        (entry("x", (CHAIN, 0), (FEE, 0)), "leg of zero for book CHAIN"),
        (entry("x", (FEE, 5), (FEE, -5)), "names book FEE/pool twice"),
        (entry("", (CHAIN, -1), (FEE, 1)), "entry id"),
        (entry("a\nb", (CHAIN, -1), (FEE, 1)), "entry id"),
        (entry("x" * 201, (CHAIN, -1), (FEE, 1)), "entry id"),
        (entry("x", (CHAIN, -1), (FEE, 1), coin="devchain"), "not <coin>/<network>"),
        (entry("x", (CHAIN, -1), (FEE, 1), kind=""), "not a lower-case word"),
        (Entry("x", COIN, "split", GOOD.legs, "a\0b"), "memo"),
        (Entry("x", COIN, "split", GOOD.legs, "m" * 501), "memo"),
        (entry("x", (CHAIN, -1), (Book(BookKind.PAYABLE, ""), 1)), "is an account id"),
        (entry("x", (CHAIN, -1), (Book(BookKind.HOLD, "07"), 1)), "is an account id"),
        (entry("x", (CHAIN, -1), (Book(BookKind.IMMATURE, "٣"), 1)), "is an account id"),
        (entry("x", (CHAIN, -1), (Book(BookKind.FEE, ""), 1)), "is a poolId"),
        (entry("x", (CHAIN, -1), (Book(BookKind.FEE, "p" * 254), 1)), "at most 253"),
        (entry("x", (CHAIN, -(2**63) - 1), (FEE, 2**63 + 1)), "leaves 64 bits"),
        (entry("x", (CHAIN, -(2**63)), (FEE, 2**63)), "leaves 64 bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_entry_that_is_not_well_formed_is_refused_with_its_fault(bad: Entry, words: str) -> None:
    with pytest.raises(EntryInvalid, match=words):
        check_entry(bad)


def test_the_largest_amounts_pass() -> None:
    check_entry(entry("x", (CHAIN, -AMOUNT_MAX), (payable(1), AMOUNT_MAX)))


def test_the_number_of_legs_is_bounded_on_both_sides() -> None:
    def of(count: int) -> Entry:
        credits = [(payable(number), 1) for number in range(1, count)]
        return entry("x", (CHAIN, -len(credits)), *credits)

    check_entry(of(2))
    check_entry(of(LEGS_MAX))
    with pytest.raises(EntryInvalid, match="legs"):
        check_entry(of(LEGS_MAX + 1))


@pytest.mark.parametrize("kind", list(BookKind), ids=lambda kind: kind.name)
def test_only_chain_and_fee_may_be_negative(kind: BookKind) -> None:
    book = Book(kind, "7")
    move = entry("x", (book, -5), (Book(BookKind.PAID, "9"), 5))
    assert apply(move, {book: 5})[book] == 0
    if kind in {BookKind.CHAIN, BookKind.FEE}:
        assert kind in MAY_BE_NEGATIVE
        assert apply(move, {book: 4})[book] == -1
    else:
        with pytest.raises(BookOverdrawn, match=f"book {kind.name}/7 .* holds 4 .* cannot give 5"):
            apply(move, {book: 4})


def test_a_balance_that_leaves_64_bits_is_refused() -> None:
    move = entry("x", (CHAIN, -1), (payable(1), 1))
    assert apply(move, {payable(1): AMOUNT_MAX - 1})[payable(1)] == AMOUNT_MAX
    with pytest.raises(BookOverflow):
        apply(move, {payable(1): AMOUNT_MAX})


def test_equal_bodies_are_equal_whatever_the_order_of_legs() -> None:
    compare(GOOD, Entry(GOOD.id, GOOD.coin, GOOD.kind, GOOD.legs[::-1]))


@pytest.mark.parametrize(
    ("offered", "field"),
    [
        (Entry(GOOD.id, "litecoin/regtest", GOOD.kind, GOOD.legs), "coin"),
        (Entry(GOOD.id, COIN, "orphan", GOOD.legs), "kind"),
        (Entry(GOOD.id, COIN, GOOD.kind, GOOD.legs, "another"), "memo"),
        (entry(GOOD.id, (CHAIN, -10), (payable(1), 8), (FEE, 2)), "legs[PAYABLE/1]"),
        (entry(GOOD.id, (CHAIN, -10), (payable(2), 9), (FEE, 1)), "legs[PAYABLE/1]"),
        (entry(GOOD.id, (CHAIN, -10), (payable(1), 10)), "legs[PAYABLE/1]"),
    ],
    ids=["coin", "kind", "memo", "amount", "owner", "fewer legs"],
)
def test_another_body_is_refused_by_the_field_that_differs(offered: Entry, field: str) -> None:
    with pytest.raises(EntryConflict) as caught:
        compare(GOOD, offered)
    assert caught.value.field == field
    assert GOOD.id in str(caught.value)


def test_the_hash_of_a_known_entry_never_changes() -> None:
    body = canonical(GOOD, 1, 1_700_000_000_000)
    assert body == (
        b'["pithead.ledger/1",1,1700000000000,"split/1","devchain/regtest","split","",'
        b'[["CHAIN","",-10],["PAYABLE","1",9],["FEE","pool",1]]]'
    )
    assert (
        chain_hash(GENESIS, GOOD, 1, 1_700_000_000_000) == hashlib.sha256(bytes(32) + body).digest()
    )


@given(st.randoms(use_true_random=False))
def test_the_canonical_form_does_not_depend_on_the_order_of_legs(shuffle: random.Random) -> None:
    legs = [Leg(hold(number), number) for number in range(1, 9)]
    legs.append(Leg(CHAIN, -36))
    ordered = canonical(Entry("x", COIN, "hold", tuple(legs)), 3, 4)
    shuffle.shuffle(legs)
    assert canonical(Entry("x", COIN, "hold", tuple(legs)), 3, 4) == ordered
