"""The sans-I/O core: bytes in, events and answers out. Sections follow the methods."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.stratum.messages import (
    AuthorizeAsked,
    CloseAsked,
    DifficultySuggested,
    Event,
    MinimumDifficultyAsked,
    SubmitAsked,
    SubmitMalformed,
    Subscribed,
    TargetSuggested,
    TransactionsAsked,
)
from pithead.stratum.protocol import VERSION_MASK, ProtocolLimits, ServerProtocol
from pithead.stratum.states import State
from tests.unit.stratum.support import parse_lines

pytestmark = pytest.mark.gate

EXTRANONCE1 = b"\x03\x00\x00\x00\x2a"
LIMITS = ProtocolLimits(line_bytes_max=512, garbage_lines_max=3)


def new_core() -> ServerProtocol:
    return ServerProtocol(LIMITS, EXTRANONCE1)


def authorized_core() -> ServerProtocol:
    core = new_core()
    core.receive(b'{"id":1,"method":"mining.subscribe","params":[]}\n')
    core.authorized()
    core.take_output()
    return core


def ask(
    core: ServerProtocol, method: str, params: Any, request_id: Any = 1
) -> tuple[list[Event], list[dict[str, Any]]]:
    line = json.dumps({"id": request_id, "method": method, "params": params})
    events = core.receive(line.encode() + b"\n")
    return events, parse_lines(core.take_output())


def test_subscribe_answers_extranonce1_and_the_size_of_extranonce2() -> None:
    core = new_core()
    events, answers = ask(core, "mining.subscribe", ["cgminer/4.12", None])
    assert events == [Subscribed("cgminer/4.12")]
    assert answers[0]["result"][1:] == [EXTRANONCE1.hex(), 8]
    assert core.state is State.SUBSCRIBED


def test_a_second_subscribe_gets_the_same_extranonce1_and_makes_no_event() -> None:
    core = new_core()
    first = ask(core, "mining.subscribe", [])[1]
    events, second = ask(core, "mining.subscribe", [])
    assert events == []
    assert first == second


def test_who_logged_in_first_may_submit_once_it_has_subscribed() -> None:
    core = new_core()
    assert ask(core, "mining.authorize", ["user", "x"])[0] == [AuthorizeAsked(b"1", "user", "x")]
    core.authorized()
    assert ask(core, "mining.submit", ["user"])[1][0]["error"][0] == 25
    assert ask(core, "mining.subscribe", ["agent"])[0] == [Subscribed("agent")]
    assert core.state is State.AUTHORIZED


def test_agent_is_cut_to_size_and_stripped_of_control_characters() -> None:
    events, _ = ask(new_core(), "mining.subscribe", ["a\u0007" + "b" * 300])
    assert events == [Subscribed("a" + "b" * 127)]


def test_authorize_comes_out_as_an_event_without_an_answer() -> None:
    core = new_core()
    ask(core, "mining.subscribe", [])
    events, answers = ask(core, "mining.authorize", ["addr.w", "d=5"], "x")
    assert events == [AuthorizeAsked(b'"x"', "addr.w", "d=5")]
    assert answers == []
    assert core.state is State.SUBSCRIBED


@pytest.mark.parametrize("params", [[], [5], [None, "x"], ["a" * 257]], ids=repr)
def test_authorize_without_a_usable_login_is_error_24(params: list[Any]) -> None:
    core = new_core()
    ask(core, "mining.subscribe", [])
    events, answers = ask(core, "mining.authorize", params)
    assert events == []
    assert answers[0]["error"][0] == 24


def test_submit_of_five_or_six_strings_is_an_event() -> None:
    core = authorized_core()
    share = ["w", "2a", "00" * 8, "65000000", "deadbeef"]
    events, answers = ask(core, "mining.submit", share, 9)
    assert events == [SubmitAsked(b"9", "w", "2a", "00" * 8, "65000000", "deadbeef", "")]
    assert answers == []
    events, _ = ask(core, "mining.submit", [*share, "1fffe000"], 9)
    assert events[0] == SubmitAsked(b"9", "w", "2a", "00" * 8, "65000000", "deadbeef", "1fffe000")


@pytest.mark.parametrize(
    "params",
    [[], ["w"] * 4, ["w"] * 7, ["w", "1", "2", "3", 4], ["w", "1", "2", "3", "4", None]],
    ids=repr,
)
def test_submit_of_any_other_shape_is_error_20_and_counts_as_invalid(params: list[Any]) -> None:
    events, answers = ask(authorized_core(), "mining.submit", params)
    assert events == [SubmitMalformed()]
    assert answers[0]["error"][0] == 20


def test_suggestions_are_answered_true_and_passed_on() -> None:
    core = new_core()
    events, answers = ask(core, "mining.suggest_difficulty", [0.5])
    assert events == [DifficultySuggested(Decimal("0.5"))]
    assert answers[0]["result"] is True
    events, answers = ask(core, "mining.suggest_target", ["00ff"])
    assert events == [TargetSuggested(255)]
    assert answers[0]["result"] is True


@pytest.mark.parametrize(
    "value", [0, -1, True, None, "nan", "1e999", [], 1e300, "\u0661"], ids=repr
)
def test_a_difficulty_that_is_none_is_refused(value: Any) -> None:
    events, answers = ask(new_core(), "mining.suggest_difficulty", [value])
    assert events == []
    assert answers[0]["error"][0] == 20


@pytest.mark.parametrize("value", ["", "0", "0x1", "f" * 65, 5, "-1", "1_0"], ids=repr)
def test_a_target_that_is_none_is_refused(value: Any) -> None:
    events, answers = ask(new_core(), "mining.suggest_target", [value])
    assert events == []
    assert answers[0]["error"][0] == 20


def test_ping_and_extranonce_subscribe_and_get_transactions() -> None:
    core = authorized_core()
    assert ask(core, "mining.ping", [])[1][0]["result"] == "pong"
    assert ask(core, "mining.extranonce.subscribe", [])[1][0]["result"] is True
    assert ask(core, "mining.get_transactions", ["1f"], 3)[0] == [TransactionsAsked(b"3", "1f")]


class TestConfigureBip310:
    def test_every_requested_code_gets_an_answer(self) -> None:
        codes = ["version-rolling", "minimum-difficulty", "subscribe-extranonce", "info", "other"]
        core = new_core()
        events, answers = ask(
            core,
            "mining.configure",
            [
                codes,
                {
                    "version-rolling.mask": "ffffffff",
                    "version-rolling.min-bit-count": 2,
                    "minimum-difficulty.value": 16,
                    "info.sw-version": "x",
                },
            ],
        )
        assert answers[0]["result"] == {
            "version-rolling": True,
            "version-rolling.mask": "1fffe000",
            "minimum-difficulty": True,
            "subscribe-extranonce": True,
            "info": True,
            "other": False,
        }
        assert events == [MinimumDifficultyAsked(Decimal(16))]
        assert core.version_mask == VERSION_MASK

    def test_the_mask_is_what_both_sides_allow(self) -> None:
        core = new_core()
        options = {"version-rolling.mask": "00c0e001"}
        answers = ask(core, "mining.configure", [["version-rolling"], options])[1]
        assert answers[0]["result"]["version-rolling.mask"] == "00c0e000"
        assert core.version_mask == 0x00C0E000

    @pytest.mark.parametrize(
        ("options", "answer"),
        [
            ({"version-rolling.mask": "0000000f"}, False),
            ({"version-rolling.mask": "0000e000", "version-rolling.min-bit-count": 4}, False),
            ({"version-rolling.mask": "xyz"}, str),
            ({"version-rolling.min-bit-count": "many"}, str),
        ],
        ids=["no common bit", "too few bits", "no hex", "no count"],
    )
    def test_a_mask_that_can_not_be_served_is_refused(self, options: Any, answer: Any) -> None:
        core = new_core()
        result = ask(core, "mining.configure", [["version-rolling"], options])[1][0]["result"]
        value = result["version-rolling"]
        assert value is answer or (answer is str and isinstance(value, str))
        assert core.version_mask == 0

    def test_null_options_count_as_none(self) -> None:
        answer = ask(new_core(), "mining.configure", [["version-rolling"], None])[1][0]
        assert answer["result"]["version-rolling.mask"] == "1fffe000"

    @pytest.mark.parametrize("params", [[], [5], [["info"], 5], [[5], {}]], ids=repr)
    def test_parameters_of_the_wrong_shape_are_error_20(self, params: Any) -> None:
        assert ask(new_core(), "mining.configure", params)[1][0]["error"][0] == 20


class TestFraming:
    @pytest.mark.parametrize(
        "request_id", [0, -5, 1.5, 'a\n"b', None, True, [1, {"a": None}], {"b": []}], ids=repr
    )
    def test_an_id_of_any_json_type_is_echoed(self, request_id: Any) -> None:
        assert ask(new_core(), "mining.ping", [], request_id)[1][0]["id"] == request_id

    def test_an_id_too_long_to_keep_is_no_request(self) -> None:
        core = new_core()
        assert ask(core, "mining.ping", [], "x" * 254)[1][0]["id"] == "x" * 254
        assert ask(core, "mining.ping", [], "x" * 255)[1][0]["error"][0] == -32700

    def test_a_missing_id_is_answered_with_null(self) -> None:
        core = new_core()
        core.receive(b'{"method":"mining.ping"}\n')
        assert parse_lines(core.take_output())[0] == {"id": None, "result": "pong", "error": None}

    def test_null_parameters_count_as_none(self) -> None:
        assert ask(new_core(), "mining.ping", None)[1][0]["result"] == "pong"

    def test_an_unknown_method_is_32601_and_no_garbage(self) -> None:
        core = new_core()
        for _ in range(10):
            assert ask(core, "mining.dance", [])[1][0]["error"][0] == -32601
        assert core.state is State.CONNECTED

    @pytest.mark.parametrize(
        ("line", "code", "request_id"),
        [
            (b"hello", -32700, None),
            (b'{"id":1,"method":"mining.ping"', -32700, None),
            (b'{"id":"\xff","method":"mining.ping"}', -32700, None),
            (b'{"id":1,"method":"\xff"}', -32700, None),
            (b"[" * 500, -32700, None),
            (b'{"id":nan,"method":"mining.ping"}', -32700, None),
            (b"[]", -32600, None),
            (b"5", -32600, None),
            (b'{"id":4}', -32600, 4),
            (b'{"id":4,"method":5}', -32600, 4),
            (b'{"id":4,"method":"mining.ping","params":{}}', -32600, 4),
        ],
    )
    def test_garbage_is_answered_by_its_kind(
        self, line: bytes, code: int, request_id: int | None
    ) -> None:
        core = new_core()
        assert core.receive(line + b"\n") == []
        answer = parse_lines(core.take_output())[0]
        assert answer["error"][0] == code
        assert answer["id"] == request_id

    def test_after_the_third_garbage_line_the_connection_closes(self) -> None:
        core = new_core()
        assert core.receive(b"one\ntwo\n") == []
        events = core.receive(b'three\n{"id":1,"method":"mining.ping"}\n')
        assert [type(event) for event in events] == [CloseAsked]
        assert len(parse_lines(core.take_output())) == 4
        assert core.receive(b"more\n") == []
        assert core.take_output() == b""

    def test_blank_lines_and_answers_to_our_own_requests_are_ignored(self) -> None:
        core = new_core()
        assert core.receive(b'\r\n\n  \n{"id":5,"result":"x/1","error":null}\n') == []
        assert core.take_output() == b""

    def test_a_line_of_the_limit_passes_and_one_byte_more_closes(self) -> None:
        body = b'{"id":1,"method":"mining.ping"}'
        core = new_core()
        core.receive(body.ljust(512) + b"\n")
        assert parse_lines(core.take_output())[0]["result"] == "pong"
        events = core.receive(body.ljust(513) + b"\n")
        assert [type(event) for event in events] == [CloseAsked]

    def test_a_line_without_an_end_closes_when_it_passes_the_limit(self) -> None:
        core = new_core()
        assert core.receive(b" " * 512) == []
        assert [type(event) for event in core.receive(b" ")] == [CloseAsked]


class TestDeadlines:
    def test_who_does_not_subscribe_has_little_time(self) -> None:
        assert new_core().deadline_ms(1_000, 9_000) == 16_000

    def test_who_subscribes_but_does_not_log_in_has_no_more_time(self) -> None:
        core = new_core()
        core.receive(b'{"id":1,"method":"mining.subscribe","params":[]}\n')
        assert core.deadline_ms(1_000, 9_000) == 16_000

    def test_who_has_logged_in_may_be_silent_long(self) -> None:
        assert authorized_core().deadline_ms(1_000, 9_000) == 909_000


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b'{"id":1,"method":"mining.subscribe","params":["a"]}',
                b'{"id":2,"method":"mining.authorize","params":["a.b","x"]}',
                b'{"id":3,"method":"mining.configure","params":[["version-rolling"],{}]}',
                b'{"id":4,"method":"mining.submit","params":["a","b","c","d","e"]}',
                b'{"id":"x","method":"mining.ping"}\r',
                b'{"id":5,"method":"nothing"}',
                b"",
            ]
        ),
        st.binary(max_size=40),
        st.integers(500, 530).map(lambda size: b" " * size),
    ),
    max_size=12,
)


@given(lines=LINES, cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_any_chunking_gives_the_same_events_and_answers(
    lines: list[bytes], cuts: list[int]
) -> None:
    data = b"\n".join(lines)
    whole = new_core()
    expected = whole.receive(data)
    pieces = new_core()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    events: list[Event] = []
    for start, stop in pairwise(edges):
        events += pieces.receive(data[start:stop])
    assert events == expected
    assert pieces.take_output() == whole.take_output()
    assert pieces.state is whole.state


@given(data=st.binary(max_size=2000))
def test_random_bytes_never_raise(data: bytes) -> None:
    for core in (new_core(), authorized_core()):
        core.receive(data)
        core.receive(b"\n" + data + b"\n")
        parse_lines(core.take_output())


@given(
    message=st.dictionaries(
        st.sampled_from(["id", "method", "params", "result"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(), inner),
            max_leaves=12,
        ),
    ),
    method=st.sampled_from(["mining.submit", "mining.configure", "mining.authorize", None]),
)
def test_random_json_never_raises(message: dict[str, Any], method: str | None) -> None:
    if method is not None:
        message["method"] = method
    core = authorized_core()
    core.receive(json.dumps(message).encode() + b"\n")
    parse_lines(core.take_output())
