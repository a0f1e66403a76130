"""Ledger entries of a block: their ids and legs, from its split alone.

Pure and deterministic: posting again after a crash gives the same entry, which
the ledger then knows by its id. Credits are positive; every entry sums to zero.
"""

from collections.abc import Iterable, Mapping

from pithead.contracts.ledger_pb2 import (
    BOOK_CHAIN,
    BOOK_FEE,
    BOOK_FEE_IMMATURE,
    BOOK_IMMATURE,
    BOOK_PAYABLE,
    BOOK_REMAINDER,
    BOOK_REMAINDER_IMMATURE,
    Book,
    BookKind,
    Entry,
    Leg,
)
from pithead.rewards.scheme import ConservedMoneyViolated, Split
from pithead.rewards.states import Movement

KIND: Mapping[Movement, str] = {
    Movement.SPLIT: "split",
    Movement.MATURE: "mature",
    Movement.ORPHAN: "orphan",
    Movement.LOSS: "orphan",
    Movement.UNORPHAN: "unorphan",
    Movement.UNLOSS: "unorphan",
}
"""The ledger's `kind` of a movement. A loss is an orphan to readers of the book."""

LegTuple = tuple["BookKind.ValueType", str, int]


def entry_id(movement: Movement, coin: str, block_hash: bytes, orphans: int) -> str:
    """Id of an entry: `<kind>/<coin>/<hash as explorers show it>[/<n>]`.

    A block is split and matures once; it can be orphaned and come back again,
    so those are numbered by `orphans`, the times its money has been taken back.
    """
    name = f"{KIND[movement]}/{coin}/{block_hash[::-1].hex()}"
    return name if movement in {Movement.SPLIT, Movement.MATURE} else f"{name}/{orphans}"


def legs(movement: Movement, split: Split, pool: str) -> list[LegTuple]:
    """Legs of a movement as (book, owner, base units), without zeros.

    Raises ConservedMoneyViolated when they do not sum to zero.
    """
    made = [leg for leg in _legs(movement, split, pool) if leg[2]]
    if total := sum(amount for _, _, amount in made):
        raise ConservedMoneyViolated(f"{movement.value} entry of {pool}", 0, total)
    return made


def entry(
    movement: Movement, split: Split, *, name: str, coin: str, pool: str, height: int
) -> Entry | None:
    """The entry to post under the id `name`; None when it moves nothing (a worthless block)."""
    made = legs(movement, split, pool)
    if not made:
        return None
    return Entry(
        id=name,
        coin=coin,
        kind=KIND[movement],
        legs=[Leg(book=Book(kind=kind, owner=owner), amount=units) for kind, owner, units in made],
        memo=f"block {height} of {pool}" + (" (pool's loss)" if movement in _LOSSES else ""),
    )


_LOSSES = frozenset({Movement.LOSS, Movement.UNLOSS})


def _legs(movement: Movement, split: Split, pool: str) -> Iterable[LegTuple]:
    if movement in _LOSSES:
        # Miners keep what was payable; the pool makes it good from its fee book.
        sign = 1 if movement is Movement.LOSS else -1
        return [(BOOK_CHAIN, "", sign * split.value), (BOOK_FEE, pool, -sign * split.value)]
    if movement is Movement.MATURE:
        return [
            *((BOOK_IMMATURE, str(share.account), -share.amount) for share in split.shares),
            *((BOOK_PAYABLE, str(share.account), share.amount) for share in split.shares),
            (BOOK_FEE_IMMATURE, pool, -split.fee),
            (BOOK_FEE, pool, split.fee),
            (BOOK_REMAINDER_IMMATURE, pool, -split.remainder),
            (BOOK_REMAINDER, pool, split.remainder),
        ]
    sign = -1 if movement is Movement.ORPHAN else 1
    return [
        (BOOK_CHAIN, "", -sign * split.value),
        (BOOK_REMAINDER, pool, -sign * split.carried),
        *((BOOK_IMMATURE, str(share.account), sign * share.amount) for share in split.shares),
        (BOOK_FEE_IMMATURE, pool, sign * split.fee),
        (BOOK_REMAINDER_IMMATURE, pool, sign * split.remainder),
    ]
