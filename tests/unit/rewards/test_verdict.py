"""What several nodes together say of a block."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.rewards.states import Event, State, after
from pithead.rewards.verdict import Finding, Tip, Verdict, Vote, events, judge

pytestmark = pytest.mark.gate

TIP = Tip("main", height=110, headers=110, chainwork=1000, initial_download=False)
ON = Vote(TIP, 11, known=True)
OFF = Vote(TIP, -1, known=True)
UNKNOWN = Vote(TIP, 0, known=False)


def test_a_block_of_the_main_chain_has_the_least_confirmations_told() -> None:
    verdict = judge([ON, replace(ON, confirmations=9)], 100, 6)
    assert verdict == Verdict(Finding.ON_CHAIN, 9, known=True)


@pytest.mark.parametrize("depth", [10, 11], ids=["just deep enough", "one short"])
def test_an_orphan_is_believed_at_depth_only(depth: int) -> None:
    expected = Finding.BURIED if depth == 10 else Finding.OFF_CHAIN
    assert judge([OFF], 100, depth).finding is expected
    assert judge([UNKNOWN], 100, depth).finding is expected


@pytest.mark.parametrize(
    "tip",
    [
        pytest.param(replace(TIP, initial_download=True), id="in initial download"),
        pytest.param(replace(TIP, headers=112), id="behind its headers"),
    ],
)
def test_a_node_that_is_not_done_syncing_has_no_say(tip: Tip) -> None:
    assert judge([replace(OFF, tip=tip)], 100, 1).finding is Finding.UNKNOWN
    assert judge([replace(OFF, tip=tip), ON], 100, 1).finding is Finding.ON_CHAIN


def test_less_chainwork_has_no_say() -> None:
    weaker = replace(OFF, tip=replace(TIP, chainwork=999, height=200, headers=200))
    assert judge([weaker, ON], 100, 1).finding is Finding.ON_CHAIN


def test_an_orphan_is_believed_with_the_best_known_chainwork_only() -> None:
    # The node with the most work is away; what answers may be on a fork that lost.
    assert judge([OFF], 100, 6, best_chainwork=1001).finding is Finding.OFF_CHAIN
    assert judge([OFF], 100, 6, best_chainwork=1000).finding is Finding.BURIED
    assert judge([ON], 100, 6, best_chainwork=1001).finding is Finding.ON_CHAIN


def test_equal_chainwork_that_disagrees_is_disputed() -> None:
    verdict = judge([ON, OFF], 100, 1)
    assert verdict.finding is Finding.DISPUTED
    assert events(State.MATURE, verdict, 10) == []


def test_nobody_to_ask_decides_nothing() -> None:
    assert judge([], 100, 1) == Verdict(Finding.UNKNOWN)


def test_a_node_without_a_say_still_knows_blocks() -> None:
    syncing = replace(OFF, tip=replace(TIP, initial_download=True))
    assert judge([syncing, UNKNOWN], 110, 6).known


@pytest.mark.parametrize(("confirmations", "ripe"), [(10, False), (11, True)], ids=["100", "101"])
def test_a_coinbase_is_mature_one_confirmation_after_maturity(
    confirmations: int, ripe: bool
) -> None:
    verdict = Verdict(Finding.ON_CHAIN, confirmations, known=True)
    assert (Event.RIPEN in events(State.CONFIRMED, verdict, 10)) is ripe


@given(
    st.sampled_from(State),
    st.sampled_from(Finding),
    st.integers(1, 200),
    st.integers(1, 120),
)
def test_events_of_any_verdict_are_in_the_table(
    state: State, finding: Finding, confirmations: int, maturity: int
) -> None:
    for event in events(state, Verdict(finding, confirmations), maturity):
        state = after(state, event)
    assert events(state, Verdict(finding, confirmations), maturity) == []
