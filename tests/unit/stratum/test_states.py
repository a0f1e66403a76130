"""Method: every pair of the table is walked against a live core."""

import json

import pytest

from pithead.stratum.protocol import ProtocolLimits, ServerProtocol
from pithead.stratum.states import METHODS, REFUSALS, TABLE, State
from tests.unit.stratum.support import parse_lines

pytestmark = pytest.mark.gate

PARAMS = {
    "mining.configure": [["info"], {}],
    "mining.subscribe": ["agent/1"],
    "mining.authorize": ["address.worker", "x"],
    "mining.submit": ["address.worker", "1", "00" * 8, "00000000", "00000000"],
    "mining.suggest_difficulty": [1],
    "mining.suggest_target": ["ff"],
    "mining.extranonce.subscribe": [],
    "mining.get_transactions": ["1"],
    "mining.ping": [],
}
WITHOUT_OWN_ANSWER = {"mining.authorize", "mining.submit", "mining.get_transactions"}


def core_in(state: State) -> ServerProtocol:
    core = ServerProtocol(ProtocolLimits(), b"\x00\x00\x00\x00\x01")
    if state is not State.CONNECTED:
        core.receive(b'{"id":1,"method":"mining.subscribe","params":[]}\n')
    if state is State.AUTHORIZED:
        core.authorized()
    if state is State.CLOSED:
        core.receive(b"x" * 9000)
    core.take_output()
    assert core.state is state
    return core


def test_the_table_holds_every_pair() -> None:
    assert set(TABLE) == set(State)
    for state in State:
        assert set(TABLE[state]) == set(METHODS) == set(PARAMS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("state", list(State), ids=lambda state: state.name)
def test_each_pair_moves_or_is_refused_as_the_table_says(state: State, method: str) -> None:
    core = core_in(state)
    outcome = TABLE[state][method]

    line = json.dumps({"id": 7, "method": method, "params": PARAMS[method]}).encode() + b"\n"
    events = core.receive(line)
    answers = parse_lines(core.take_output())
    if state is State.CLOSED:
        assert (events, answers) == ([], [])
        return
    if isinstance(outcome, State):
        assert core.state is outcome
        if method in WITHOUT_OWN_ANSWER:
            assert answers == []
            assert len(events) == 1
        else:
            assert [answer["error"] for answer in answers] == [None]
        return
    assert core.state is state, "a refusal changes nothing"
    assert answers == [{"id": 7, "result": None, "error": [outcome, REFUSALS[outcome], None]}]
