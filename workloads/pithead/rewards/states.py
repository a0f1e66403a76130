"""The life of a block: states, events, and what each means for the money of its split.

    candidate --confirm--> confirmed --ripen--> mature
        |                   |    ^                |
        +------orphan-------+    +--confirm--+    |
                            v                |    |
                          orphaned <---------+----+ (orphan)

Nothing leaves `orphaned` but a chain that came back, so an orphan can always be
undone. Money follows on levels of its own, because a split may become final
before or after its block matures: `movement` compares both and names the next
entry to book. This module knows no chain and no book.
"""

from enum import IntEnum, StrEnum


class State(IntEnum):
    """Where a block stands; the numbers are those of the contract."""

    CANDIDATE = 1
    CONFIRMED = 2
    MATURE = 3
    ORPHANED = 4


class Event(StrEnum):
    """What the chain says about a block."""

    CONFIRM = "confirm"
    """It is on the main chain."""
    RIPEN = "ripen"
    """It is on the main chain and its coinbase can be spent."""
    ORPHAN = "orphan"
    """A competing chain buried it at the coin's confirmation depth."""


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CANDIDATE, Event.CONFIRM): State.CONFIRMED,
    (State.CANDIDATE, Event.ORPHAN): State.ORPHANED,
    (State.CONFIRMED, Event.RIPEN): State.MATURE,
    (State.CONFIRMED, Event.ORPHAN): State.ORPHANED,
    (State.MATURE, Event.ORPHAN): State.ORPHANED,
    (State.ORPHANED, Event.CONFIRM): State.CONFIRMED,
}


class TransitionRefused(Exception):
    """Raised when an event has no meaning in a state; nothing has changed."""

    def __init__(self, state: State, event: Event) -> None:
        self.state = state
        self.event = event
        super().__init__(f"a {state.name.lower()} block cannot {event.value}")


def after(state: State, event: Event) -> State:
    """The state after an event; raises TransitionRefused."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionRefused(state, event) from None


class Money(IntEnum):
    """How far a block's value has gone into the ledger."""

    NONE = 0
    """Nothing is booked, or what was booked has been reversed."""
    IMMATURE = 1
    PAYABLE = 2
    LOST = 3
    """It was payable when the block was orphaned: the pool's fee book bears the loss."""


class Movement(StrEnum):
    """What one ledger entry does with a block's money."""

    SPLIT = "split"
    MATURE = "mature"
    ORPHAN = "orphan"
    """Reverses the split: the value never came."""
    UNORPHAN = "unorphan"
    """Books the split again: the chain came back."""
    LOSS = "loss"
    """Miners keep what was payable; the pool's fee book pays for it."""
    UNLOSS = "unloss"
    """The loss was undone by the chain."""


AFTER_MOVEMENT: dict[Movement, Money] = {
    Movement.SPLIT: Money.IMMATURE,
    Movement.UNORPHAN: Money.IMMATURE,
    Movement.MATURE: Money.PAYABLE,
    Movement.UNLOSS: Money.PAYABLE,
    Movement.ORPHAN: Money.NONE,
    Movement.LOSS: Money.LOST,
}

REVERSALS = frozenset({Movement.ORPHAN, Movement.LOSS})
"""What an orphaned block calls for; each can be followed by its undoing under the same number."""

ON_CHAIN = frozenset({State.CONFIRMED, State.MATURE})


def movement(state: State, money: Money, *, final: bool, orphans: int) -> Movement | None:
    """The next entry that brings `money` to where `state` says it belongs; None when it is there.

    `final`: the split is final. `orphans`: how often the block's money has been
    taken back before, which makes a second booking an `unorphan`.
    """
    if not final:
        return None
    if state in ON_CHAIN:
        if money is Money.NONE:
            return Movement.UNORPHAN if orphans else Movement.SPLIT
        if money is Money.IMMATURE:
            return Movement.MATURE if state is State.MATURE else None
        return Movement.UNLOSS if money is Money.LOST else None
    if state is State.ORPHANED:
        if money is Money.IMMATURE:
            return Movement.ORPHAN
        return Movement.LOSS if money is Money.PAYABLE else None
    return None
