"""Answers for the states of a payout and for which event leads where.

One table holds everything: the engine follows it, `diagram` draws the manual
from it, and a test walks every pair. A pair that is missing is refused with an
error that names state, event and payout, and changes nothing.

What the table cannot say: `VOID` may only be raised when no attempt of the payout
can confirm any more, because a buried transaction that is not of this payout
spends an input of each; and `BURY` only for an attempt that is on the main chain
at the coin's depth.

Pure: knows no database, no wallet and no clock.
"""

import enum
from types import MappingProxyType
from typing import Final


class State(enum.StrEnum):
    """Where a payout stands; each is written before the next step begins."""

    PLANNED = "planned"
    """Payments are written; nothing has happened outside of this database."""
    HELD = "held"
    """The ledger moved every payment from PAYABLE to HOLD."""
    SIGNED = "signed"
    """A signed transaction is stored; it may or may not have been sent."""
    BROADCAST = "broadcast"
    """A node took the transaction."""
    BURIED = "buried"
    """One attempt is on the chain at depth and the ledger has settled it."""
    RELEASED = "released"
    """Nothing was or can be paid; every hold went back to PAYABLE."""


class Event(enum.StrEnum):
    """What can happen to a payout."""

    HOLD = "hold"
    """The ledger has booked the hold."""
    REFUSE = "refuse"
    """The ledger refused the hold: a balance fell after the plan was made."""
    SIGN = "sign"
    """The first attempt is built, signed and stored."""
    ABANDON = "abandon"
    """Nothing was signed and nothing can be: the hold went back."""
    REBUILD = "rebuild"
    """A further attempt is stored; it conflicts with every earlier one that may confirm."""
    BROADCAST = "broadcast"
    """A node took the newest attempt, or had it already."""
    BURY = "bury"
    """An attempt is buried and settled in the ledger."""
    VOID = "void"
    """No attempt can confirm any more, and the hold went back."""


TRANSITIONS: Final = MappingProxyType(
    {
        (State.PLANNED, Event.HOLD): State.HELD,
        (State.PLANNED, Event.REFUSE): State.RELEASED,
        (State.HELD, Event.SIGN): State.SIGNED,
        (State.HELD, Event.ABANDON): State.RELEASED,
        (State.SIGNED, Event.BROADCAST): State.BROADCAST,
        (State.SIGNED, Event.REBUILD): State.SIGNED,
        # An attempt that was sent just before a crash can be buried before its
        # sending is ever recorded.
        (State.SIGNED, Event.BURY): State.BURIED,
        (State.SIGNED, Event.VOID): State.RELEASED,
        (State.BROADCAST, Event.REBUILD): State.SIGNED,
        (State.BROADCAST, Event.BURY): State.BURIED,
        (State.BROADCAST, Event.VOID): State.RELEASED,
    }
)

ACTIVE: Final = frozenset({State.PLANNED, State.HELD, State.SIGNED, State.BROADCAST})
"""States of a payout that is under way; a coin has at most one such payout."""

FINAL: Final = frozenset({State.BURIED, State.RELEASED})


class TransitionRefused(Exception):
    """Raised for an event that a payout's state does not allow; nothing was changed."""

    def __init__(self, payout: str, state: State, event: Event) -> None:
        super().__init__(f"payout {payout} is {state.value} and cannot {event.value}")
        self.payout = payout
        self.state = state
        self.event = event


def advance(payout: str, state: State, event: Event) -> State:
    """Return the state that `event` leads to; raise TransitionRefused when there is none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionRefused(payout, state, event) from None


def diagram() -> str:
    """Return the table as a Mermaid state diagram for the manual."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.PLANNED.value}"]
    lines += [
        f"    {start.value} --> {end.value}: {event.value}"
        for (start, event), end in TRANSITIONS.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in State if state in FINAL]
    return "\n".join(lines) + "\n"
