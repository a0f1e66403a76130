"""The client core: against the server core of the edge, against scripts, against garbage.

`Pair` joins both cores back to back, so that each test of it checks both sides.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.params import DIFF1_SHA256D
from pithead.miner.protocol import (
    LINE_BYTES_MAX,
    TARGET_MAX,
    Authorized,
    Broken,
    ClientProtocol,
    Event,
    MessageShown,
    ReconnectAsked,
    Refused,
    SubmitAnswered,
    Work,
)
from pithead.stratum import encoding
from pithead.stratum.errors import Code
from pithead.stratum.messages import AuthorizeAsked, SubmitAsked, Subscribed
from pithead.stratum.protocol import ProtocolLimits, ServerProtocol
from tests.unit.miner.pool import MASK, job_of, line

pytestmark = pytest.mark.gate

EXTRANONCE1 = bytes([1, 0, 0, 0, 9])
NOTIFY = line("mining.notify", *job_of().notify_params(clean=True))


def client(**changes: Any) -> ClientProtocol:
    core = ClientProtocol("addr.rig", "x", diff1_target=DIFF1_SHA256D, **changes)
    core.start()
    return core


def sent(core: ClientProtocol) -> list[dict[str, Any]]:
    return [json.loads(text) for text in core.take_output().splitlines()]


def answer(request_id: int, result: Any, error: Any = None) -> bytes:
    return json.dumps({"id": request_id, "result": result, "error": error}).encode() + b"\n"


def greeted() -> ClientProtocol:
    """A client that has been taken in; request ids 1 to 4 are used."""
    core = client()
    core.receive(answer(1, {"version-rolling": True, "version-rolling.mask": "00ffe000"}))
    core.receive(answer(2, [[], EXTRANONCE1.hex(), 8]))
    core.receive(answer(3, None, [20, "no", None]))
    assert core.receive(answer(4, True)) == [Authorized()]
    core.take_output()
    return core


class Pair:
    """Client and server core, joined."""

    def __init__(self) -> None:
        self.client = client()
        self.server = ServerProtocol(ProtocolLimits(), EXTRANONCE1)
        self.asked: list[Any] = []
        self.told: list[Event] = []

    def settle(self) -> None:
        """Carry bytes both ways until both are silent."""
        while data := self.client.take_output() + b"":
            self.asked += self.server.receive(data)
            self.say(self.server.take_output())

    def say(self, data: bytes) -> None:
        self.told += self.client.receive(data)


def test_both_cores_greet_each_other_and_agree() -> None:
    pair = Pair()
    pair.settle()
    assert pair.asked[0] == Subscribed("pithead-mine/1")
    (authorize,) = (event for event in pair.asked if isinstance(event, AuthorizeAsked))
    assert (authorize.user, authorize.password) == ("addr.rig", "x")
    pair.server.authorized()
    pair.say(encoding.answer_true(authorize.id))
    assert pair.told == [Authorized()]
    assert pair.client.extranonce1 == EXTRANONCE1
    assert pair.client.extranonce2_size == 8
    assert pair.client.version_mask == pair.server.version_mask == MASK


def test_work_and_shares_cross_both_cores_unchanged() -> None:
    pair = Pair()
    pair.settle()
    pair.server.authorized()
    job = job_of()
    pair.say(encoding.set_difficulty(0.25) + encoding.notify(job.notify_params(clean=True)))
    (work,) = pair.told
    assert isinstance(work, Work)
    assert work.target == DIFF1_SHA256D * 4
    assert work.job.header(EXTRANONCE1, bytes(8), 5, 6, 7) == job.header(
        EXTRANONCE1, bytes(8), 5, 6, 7
    )
    asked = pair.client.submit(work.job.job_id, bytes([255] * 8), 0x6B49D200, 0x0A, 0x2000)
    pair.asked.clear()
    pair.settle()
    (submit,) = pair.asked
    assert submit == SubmitAsked(
        b"%d" % asked, "addr.rig", job.job_id, "ff" * 8, "6b49d200", "0000000a", "00002000"
    )
    pair.told.clear()
    pair.say(encoding.answer_true(submit.id))
    assert pair.told == [SubmitAnswered(asked, True, None, "")]


@pytest.mark.parametrize("code", [Code.OTHER, Code.JOB_NOT_FOUND, Code.DUPLICATE])
def test_a_refusal_crosses_with_its_code_and_text(code: Code) -> None:
    pair = Pair()
    pair.settle()
    pair.server.authorized()
    asked = pair.client.submit("1", bytes(8), 0, 0, None)
    pair.say(encoding.error(b"%d" % asked, code, "why"))
    assert pair.told == [SubmitAnswered(asked, False, int(code), "why")]


def test_the_servers_reconnect_means_the_same_host() -> None:
    core = greeted()
    assert core.receive(encoding.RECONNECT) == [ReconnectAsked("", 0, 0)]


@given(st.lists(st.integers(1, 40), max_size=60))
def test_any_chunking_means_the_same(sizes: list[int]) -> None:
    data = (
        line("mining.set_difficulty", 1)
        + NOTIFY
        + line("client.show_message", "hello")
        + line("mining.set_extranonce", "aabb", 4)
        + NOTIFY
    )
    whole = greeted().receive(data)
    core, parts, at = greeted(), [], 0
    for size in sizes:
        parts += core.receive(data[at : at + size])
        at += size
    parts += core.receive(data[at:])
    assert parts == whole
    assert len(whole) == 3


def test_without_extensions_on_the_server_nothing_is_rolled() -> None:
    core = client()
    core.receive(answer(1, None, [-32601, "unknown method", None]))
    core.receive(answer(2, [[], "00", 4]))
    assert core.version_mask == 0
    core.take_output()
    core.submit("j", b"\x01\x02\x03\x04", 1, 2, None)
    assert sent(core)[0]["params"] == ["addr.rig", "j", "01020304", "00000001", "00000002"]


def test_version_rolling_is_not_offered_when_switched_off() -> None:
    assert [message["method"] for message in sent(client(version_mask=0))] == ["mining.subscribe"]


def test_the_login_is_sent_after_the_subscription() -> None:
    core = client()
    assert [m["method"] for m in sent(core)] == ["mining.configure", "mining.subscribe"]
    core.receive(answer(2, [[], "00", 4]))
    assert [m["method"] for m in sent(core)] == [
        "mining.extranonce.subscribe",
        "mining.authorize",
    ]


def test_a_difficulty_counts_from_the_next_job_on() -> None:
    core = greeted()
    (first,) = core.receive(NOTIFY)
    core.receive(line("mining.set_difficulty", 2))
    (second,) = core.receive(NOTIFY)
    assert isinstance(first, Work)
    assert isinstance(second, Work)
    assert (first.target, second.target) == (DIFF1_SHA256D, DIFF1_SHA256D // 2)


def test_an_extranonce_counts_from_the_next_job_on() -> None:
    core = greeted()
    assert core.receive(line("mining.set_extranonce", "0102", 6)) == []
    (work,) = core.receive(NOTIFY)
    assert isinstance(work, Work)
    assert (work.extranonce1, work.extranonce2_size) == (b"\x01\x02", 6)


def test_a_version_mask_counts_at_once_within_what_was_offered() -> None:
    core = greeted()
    assert core.receive(line("mining.set_version_mask", "ffffffff")) == []
    core.receive(NOTIFY)
    (work,) = core.receive(line("mining.set_version_mask", "00006001"))
    assert isinstance(work, Work)
    assert work.version_mask == 0x6000


def test_a_target_may_be_set_directly() -> None:
    core = greeted()
    core.receive(line("mining.set_target", "00ff" + "00" * 30))
    (work,) = core.receive(NOTIFY)
    assert isinstance(work, Work)
    assert work.target == 0xFF << 240


def test_a_tiny_difficulty_is_any_hash_at_all() -> None:
    core = greeted()
    core.receive(line("mining.set_difficulty", 1e-300))
    assert core.target == TARGET_MAX


@pytest.mark.parametrize(
    ("result", "error", "code", "text"),
    [
        (None, [24, "unauthorized", None], 24, "unauthorized"),
        (False, None, None, ""),
        (None, {"code": -1, "message": "bad\nlogin"}, -1, "badlogin"),
        (None, "plain text", None, "plain text"),
        (None, [20], None, "[20]"),
        (None, [20, None], 20, ""),
        ("true", None, None, ""),
    ],
)
def test_a_refused_login_is_told_with_what_was_said(
    result: Any, error: Any, code: int | None, text: str
) -> None:
    core = client()
    core.receive(answer(2, [[], "00", 4]))
    assert core.receive(answer(4, result, error)) == [Refused("mining.authorize", code, text)]


def test_a_refused_subscription_is_told() -> None:
    core = client()
    assert core.receive(answer(2, None, [20, "full", None])) == [
        Refused("mining.subscribe", 20, "full")
    ]


def test_messages_are_shown_cut_to_size() -> None:
    core = greeted()
    (event,) = core.receive(line("client.show_message", "x" * 1000))
    assert event == MessageShown("x" * 256)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ([], ReconnectAsked("", 0, 0)),
        (["us.pool.tld", 3334, 5], ReconnectAsked("us.pool.tld", 3334, 5)),
        (["us.pool.tld", "3334", "5"], ReconnectAsked("us.pool.tld", 3334, 5)),
        ([None, None, 10**6], ReconnectAsked("", 0, 300)),
        ([5, [], -1], ReconnectAsked("", 0, 0)),
    ],
)
def test_reconnect_is_understood_in_the_forms_of_the_field(
    params: list[Any], expected: ReconnectAsked
) -> None:
    assert greeted().receive(line("client.reconnect", *params)) == [expected]


def test_the_servers_questions_are_answered() -> None:
    core = greeted()
    for request_id, method in enumerate(["client.get_version", "mining.ping", "mining.what"]):
        core.receive(json.dumps({"id": request_id, "method": method}).encode() + b"\n")
    version, ping, unknown = sent(core)
    assert version["result"].startswith("pithead-mine")
    assert ping["result"] == "pong"
    assert unknown["error"][0] == -32601


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"[]\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b"x" * (LINE_BYTES_MAX + 1),
        line("mining.notify", "too", "few"),
        line("mining.set_difficulty", 0),
        line("mining.set_difficulty", -1),
        line("mining.set_difficulty", True),
        line("mining.set_difficulty", "1"),
        line("mining.set_difficulty"),
        b'{"method":"mining.set_difficulty","params":[1e999]}\n',
        line("mining.set_target", "xyz"),
        line("mining.set_target"),
        line("mining.set_target", "-5"),
        line("mining.set_extranonce", "00"),
        line("mining.set_extranonce", "0x", 4),
        line("mining.set_extranonce", 5, 4),
        line("mining.set_extranonce", "00", 0),
        line("mining.set_extranonce", "00", 17),
        line("mining.set_version_mask", 5),
    ],
)
def test_what_is_no_stratum_breaks_the_connection(data: bytes) -> None:
    core = greeted()
    (event,) = core.receive(data)
    assert isinstance(event, Broken)
    assert core.receive(NOTIFY) == []


def test_work_before_the_subscription_breaks_the_connection() -> None:
    (event,) = client().receive(NOTIFY)
    assert isinstance(event, Broken)


@pytest.mark.parametrize("result", [None, [], [1, "00"], [[], "00", "4"], [[], 7, 4]])
def test_a_malformed_subscription_breaks_the_connection(result: Any) -> None:
    (event,) = client().receive(answer(2, result))
    assert isinstance(event, Broken)


def test_answers_to_nothing_are_ignored() -> None:
    core = greeted()
    for request_id in (99, None, "4", True, 1.5):
        data = json.dumps({"id": request_id, "result": True, "error": None}).encode() + b"\n"
        assert core.receive(data) == []
    assert core.receive(b"\n\r\n") == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
methods = st.sampled_from(
    [
        "mining.notify",
        "mining.set_difficulty",
        "mining.set_target",
        "mining.set_extranonce",
        "mining.set_version_mask",
        "client.reconnect",
        "client.show_message",
    ]
)


@given(st.binary(max_size=200))
def test_garbage_never_raises(data: bytes) -> None:
    client().receive(data + b"\n")


@given(methods, json_values)
def test_known_methods_with_any_parameters_never_raise(method: str, params: Any) -> None:
    message = {"method": method, "params": params, "id": None}
    greeted().receive(json.dumps(message).encode() + b"\n")


@given(st.integers(1, 5), json_values, json_values)
def test_any_answers_never_raise(request_id: int, result: Any, error: Any) -> None:
    core = client()
    core.receive(answer(2, [[], "00", 4]))
    core.submit("j", bytes(4), 0, 0, None)
    core.receive(answer(request_id, result, error))
