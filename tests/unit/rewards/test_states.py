"""Every (state, event) pair and every (state, money) pair."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.contracts import rewards_pb2
from pithead.rewards.booking import entry_id
from pithead.rewards.states import (
    AFTER_MOVEMENT,
    ON_CHAIN,
    REVERSALS,
    TRANSITIONS,
    Event,
    Money,
    Movement,
    State,
    TransitionRefused,
    after,
    movement,
)

pytestmark = pytest.mark.gate

PAIRS = [
    pytest.param(state, event, id=f"{state.name.lower()} {event.value}")
    for state, event in itertools.product(State, Event)
]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_pair_is_in_the_table_or_refused_by_name(state: State, event: Event) -> None:
    before = dict(TRANSITIONS)
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(TransitionRefused) as refused:
            after(state, event)
        assert (refused.value.state, refused.value.event) == (state, event)
        assert state.name.lower() in str(refused.value)
        assert event.value in str(refused.value)
    assert before == TRANSITIONS


def test_states_are_those_of_the_contract() -> None:
    for state in State:
        assert (
            rewards_pb2.BlockState.Name(rewards_pb2.BlockState.ValueType(int(state)))
            == f"BLOCK_{state.name}"
        )


def test_every_orphan_can_be_undone() -> None:
    for state in State:
        if state is not State.ORPHANED:
            orphaned = after(state, Event.ORPHAN)
            assert after(orphaned, Event.CONFIRM) is State.CONFIRMED


def settle(state: State, money: Money, orphans: int) -> tuple[list[Movement], Money, int]:
    steps = []
    while step := movement(state, money, final=True, orphans=orphans):
        steps.append(step)
        orphans += step in REVERSALS
        money = AFTER_MOVEMENT[step]
        assert len(steps) < 5
    return steps, money, orphans


@pytest.mark.parametrize("state", State, ids=lambda state: state.name.lower())
@pytest.mark.parametrize("money", Money, ids=lambda money: money.name.lower())
def test_money_comes_to_rest_where_the_state_says(state: State, money: Money) -> None:
    _, rest, _ = settle(state, money, 1)
    if state is State.MATURE:
        assert rest is Money.PAYABLE
    elif state is State.ORPHANED:
        assert rest in {Money.NONE, Money.LOST}
    elif state is State.CONFIRMED:
        assert rest in {Money.IMMATURE, Money.PAYABLE}
    assert movement(state, money, final=False, orphans=0) is None


def test_a_block_that_matures_before_its_split_is_final_is_split_and_matured_at_once() -> None:
    assert settle(State.MATURE, Money.NONE, 0)[0] == [Movement.SPLIT, Movement.MATURE]


def test_what_was_payable_is_never_taken_back_from_miners() -> None:
    assert settle(State.ORPHANED, Money.PAYABLE, 0)[0] == [Movement.LOSS]
    assert settle(State.CONFIRMED, Money.LOST, 1)[0] == [Movement.UNLOSS]


@given(st.lists(st.tuples(st.sampled_from(Event), st.booleans()), max_size=25))
def test_any_walk_of_the_chain_keeps_entry_names_unique(walk: list[tuple[Event, bool]]) -> None:
    state, money, orphans, final = State.CANDIDATE, Money.NONE, 0, False
    names: list[str] = []
    for event, settles in walk:
        state = TRANSITIONS.get((state, event), state)
        final = final or (settles and state in ON_CHAIN)
        while step := movement(state, money, final=final, orphans=orphans):
            orphans += step in REVERSALS
            money = AFTER_MOVEMENT[step]
            names.append(entry_id(step, "devchain/regtest", bytes(32), orphans))
    assert len(set(names)) == len(names)
