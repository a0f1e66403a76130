"""Every pair of state and event: the table decides, a refusal names all three."""

import itertools

import pytest

from pithead.payouts.states import (
    ACTIVE,
    FINAL,
    TRANSITIONS,
    Event,
    State,
    TransitionRefused,
    advance,
    diagram,
)

pytestmark = pytest.mark.gate


@pytest.mark.parametrize(
    ("state", "event"),
    list(itertools.product(State, Event)),
    ids=lambda value: value.value,
)
def test_every_pair_leads_where_the_table_says_or_is_refused(state: State, event: Event) -> None:
    target = TRANSITIONS.get((state, event))
    if target is not None:
        assert advance("p", state, event) is target
        return
    with pytest.raises(TransitionRefused) as caught:
        advance("coin/net/7-ab", state, event)
    refusal = caught.value
    assert (refusal.payout, refusal.state, refusal.event) == ("coin/net/7-ab", state, event)
    assert str(refusal) == f"payout coin/net/7-ab is {state.value} and cannot {event.value}"


def test_states_are_active_or_final() -> None:
    assert set(State) == ACTIVE | FINAL
    assert not ACTIVE & FINAL


def test_nothing_leaves_a_final_state_and_every_active_one_can_end() -> None:
    assert not {start for start, _ in TRANSITIONS} & FINAL
    for state in ACTIVE:
        reached, frontier = {state}, {state}
        while frontier:
            frontier = {
                end for (start, _), end in TRANSITIONS.items() if start in frontier
            } - reached
            reached |= frontier
        assert State.RELEASED in reached
        assert State.BURIED in reached


def test_money_is_never_sent_before_it_is_held_and_signed() -> None:
    into = {
        target: {start for (start, _), end in TRANSITIONS.items() if end is target}
        for target in State
    }
    assert into[State.HELD] == {State.PLANNED}
    assert into[State.SIGNED] == {State.HELD, State.SIGNED, State.BROADCAST}
    assert into[State.BROADCAST] == {State.SIGNED}
    assert into[State.BURIED] == {State.SIGNED, State.BROADCAST}
    # What is signed is given up by VOID alone.
    assert {
        event
        for (start, event), end in TRANSITIONS.items()
        if end is State.RELEASED and start in {State.SIGNED, State.BROADCAST}
    } == {Event.VOID}


def test_the_diagram_draws_every_transition() -> None:
    text = diagram()
    assert text.startswith("stateDiagram-v2\n    [*] --> planned\n")
    for (start, event), end in TRANSITIONS.items():
        assert f"    {start.value} --> {end.value}: {event.value}\n" in text
    assert text.count("--> [*]") == len(FINAL)
