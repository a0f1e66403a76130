"""Entries of a block balance, undo one another, and have names of their own."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.contracts import ledger_pb2
from pithead.rewards.booking import entry, entry_id, legs
from pithead.rewards.pplns import Pplns
from pithead.rewards.scheme import ConservedMoneyViolated, Split, SplitShare, Window, WindowCell
from pithead.rewards.states import Movement

pytestmark = pytest.mark.gate

HASH = bytes(range(32))
COIN = "devchain/regtest"


@st.composite
def splits(draw: st.DrawFn) -> Split:
    cells = tuple(
        WindowCell(account, draw(st.integers(0, 99)), draw(st.integers(0, 99)))
        for account in range(1, draw(st.integers(1, 6)))
    )
    whole = sum(cell.last for cell in cells)
    window = Window(cells if whole else (), whole, draw(st.integers(0, whole)))
    scheme = Pplns(draw(st.integers(0, 10**6)), weight=1)
    return scheme.split(draw(st.integers(0, 10**12)), draw(st.integers(0, 100)), window)


def book(split: Split, *movements: Movement) -> dict[tuple[int, str], int]:
    books: Counter[tuple[int, str]] = Counter()
    for movement in movements:
        for kind, owner, amount in legs(movement, split, "pool"):
            books[kind, owner] += amount
    return {key: amount for key, amount in books.items() if amount}


@given(splits(), st.sampled_from(Movement))
def test_every_entry_sums_to_zero(split: Split, movement: Movement) -> None:
    made = legs(movement, split, "pool")
    assert sum(amount for _, _, amount in made) == 0
    assert all(amount for _, _, amount in made)
    assert len({(kind, owner) for kind, owner, _ in made}) == len(made), "one leg a book"


@given(splits())
def test_an_orphan_undoes_a_split_and_a_return_an_orphan(split: Split) -> None:
    assert book(split, Movement.SPLIT, Movement.ORPHAN) == {}
    assert book(split, Movement.SPLIT, Movement.ORPHAN, Movement.UNORPHAN) == book(
        split, Movement.SPLIT
    )
    assert book(split, Movement.LOSS, Movement.UNLOSS) == {}


@given(splits())
def test_a_matured_split_owes_exactly_its_shares(split: Split) -> None:
    books = book(split, Movement.SPLIT, Movement.MATURE)
    for share in split.shares:
        assert books.get((ledger_pb2.BOOK_PAYABLE, str(share.account)), 0) == share.amount
    assert books.get((ledger_pb2.BOOK_FEE, "pool"), 0) == split.fee
    assert books.get((ledger_pb2.BOOK_CHAIN, ""), 0) == -split.value
    immature = {ledger_pb2.BOOK_IMMATURE, ledger_pb2.BOOK_FEE_IMMATURE}
    assert not any(kind in immature for kind, _ in books)


@given(splits())
def test_a_loss_touches_no_miner(split: Split) -> None:
    books = book(split, Movement.LOSS)
    assert {kind for kind, _ in books} <= {ledger_pb2.BOOK_CHAIN, ledger_pb2.BOOK_FEE}


def test_entries_are_named_after_the_block_as_explorers_show_it() -> None:
    shown = HASH[::-1].hex()
    assert entry_id(Movement.SPLIT, COIN, HASH, 0) == f"split/{COIN}/{shown}"
    assert entry_id(Movement.MATURE, COIN, HASH, 3) == f"mature/{COIN}/{shown}"
    assert entry_id(Movement.ORPHAN, COIN, HASH, 1) == f"orphan/{COIN}/{shown}/1"
    assert entry_id(Movement.UNLOSS, COIN, HASH, 2) == f"unorphan/{COIN}/{shown}/2"


def test_a_worthless_block_has_no_entry() -> None:
    split = Split(0, 0, 0, 0, (SplitShare(1, 0, 1),))
    assert entry(Movement.SPLIT, split, name="x", coin=COIN, pool="pool", height=1) is None


def test_a_split_that_does_not_add_up_makes_no_entry() -> None:
    split = Split(10, 0, 1, 0, (SplitShare(1, 8, 1),))
    with pytest.raises(ConservedMoneyViolated):
        entry(Movement.SPLIT, split, name="x", coin=COIN, pool="pool", height=1)
