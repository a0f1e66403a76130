"""The Stratum V1 client side of one connection, without I/O. Pure.

Call `start`, feed received bytes to `receive` and act on the events that it
returns; send `take_output()` after each call. The core keeps what the server
has set (extranonce1, target, version mask) and hands each job out together with
what held when it came: a difficulty counts from the next job on, as the field
has it. What the server sends is not trusted: garbage gives the event `Broken`,
never an exception.

It knows no clock, no socket and no search.
"""

from collections.abc import Callable
from fractions import Fraction
from math import inf
from typing import Any

import msgspec

from pithead.coins.notify import NotifiedJob, NotifyError, parse_notify

AGENT = "pithead-mine/1"
VERSION_MASK = 0x1FFFE000
"""Version bits that this miner offers to roll (BIP 320)."""
VERSION_BITS_MIN = 2

LINE_BYTES_MAX = 1024 * 1024
"""A job with the largest coinbase that `coins.notify` takes fits twice."""
TEXT_CHARACTERS_MAX = 256
"""Texts of a server are shown to people and may be anything: they are cut."""
EXTRANONCE1_BYTES_MAX = 32
EXTRANONCE2_BYTES_MAX = 16
WAIT_S_MAX = 300
"""A server may ask to wait before reconnecting, but not for ever."""
TARGET_MAX = (1 << 256) - 1


class Work(msgspec.Struct, frozen=True):
    """A job with all that held when it came; search this from now on."""

    job: NotifiedJob
    target: int
    """A share's hash must not be above it."""
    extranonce1: bytes
    extranonce2_size: int
    version_mask: int


class Authorized(msgspec.Struct, frozen=True):
    """The login may submit shares."""


class Refused(msgspec.Struct, frozen=True):
    """The server does not want this miner: its login, or its subscription."""

    method: str
    code: int | None
    text: str


class SubmitAnswered(msgspec.Struct, frozen=True):
    """What the server said to the submit of this id."""

    id: int
    accepted: bool
    code: int | None
    """Code of the error; None with an accepted share or a bare `false`."""
    text: str


class ReconnectAsked(msgspec.Struct, frozen=True):
    """The server asks to connect again; whether to follow is `endpoint.reconnect_target`'s."""

    host: str
    """Empty for the same host."""
    port: int
    """0 for the same port."""
    wait_s: int


class MessageShown(msgspec.Struct, frozen=True):
    """The server has something to say to the miner's owner."""

    text: str


class Broken(msgspec.Struct, frozen=True):
    """The server does not speak Stratum: close."""

    reason: str


Event = Work | Authorized | Refused | SubmitAnswered | ReconnectAsked | MessageShown | Broken

_CONFIGURE = "mining.configure"
_SUBSCRIBE = "mining.subscribe"
_AUTHORIZE = "mining.authorize"
_SUBMIT = "mining.submit"
_EXTRANONCE_SUBSCRIBE = "mining.extranonce.subscribe"


class _Malformed(ValueError):
    """A message of the wrong shape; becomes `Broken`."""


class ClientProtocol:
    """One connection's protocol state."""

    def __init__(
        self, user: str, password: str, *, diff1_target: int, version_mask: int = VERSION_MASK
    ) -> None:
        """`diff1_target` is the algorithm's; `version_mask` 0 offers no version rolling."""
        self.extranonce1 = b""
        self.extranonce2_size = 0
        self.version_mask = 0
        self.target = diff1_target
        """Target of the jobs to come; difficulty 1 until the server sets one."""
        self.broken = False
        self._user = user
        self._password = password
        self._diff1_target = diff1_target
        self._offered_mask = version_mask
        self._work: Work | None = None
        self._next_id = 1
        self._asked: dict[int, str] = {}
        self._out: list[bytes] = []
        self._kept = b""

    def start(self) -> None:
        """Begin the conversation; the rest of the greeting follows the server's answers."""
        if self._offered_mask:
            self._ask(
                _CONFIGURE,
                [
                    ["version-rolling"],
                    {
                        "version-rolling.mask": f"{self._offered_mask:08x}",
                        "version-rolling.min-bit-count": VERSION_BITS_MIN,
                    },
                ],
            )
        self._ask(_SUBSCRIBE, [AGENT])

    def submit(
        self, job_id: str, extranonce2: bytes, ntime: int, nonce: int, version_bits: int | None
    ) -> int:
        """Send a share and return the id under which its answer comes.

        `version_bits` are the rolled bits alone; None without version rolling.
        """
        params = [self._user, job_id, extranonce2.hex(), f"{ntime:08x}", f"{nonce:08x}"]
        if version_bits is not None:
            params.append(f"{version_bits:08x}")
        return self._ask(_SUBMIT, params)

    def take_output(self) -> bytes:
        """Return what is to be sent now, and forget it."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes in any chunking and return what they mean, in order; nothing once broken."""
        events: list[Event] = []
        if self.broken:
            return events
        *lines, self._kept = (self._kept + data).split(b"\n")
        try:
            for line in lines:
                if line.strip():
                    self._line(line, events)
            if len(self._kept) > LINE_BYTES_MAX:
                raise _Malformed(f"a line exceeds {LINE_BYTES_MAX} bytes")
        except _Malformed as error:
            self.broken = True
            self._kept = b""
            events.append(Broken(str(error)))
        return events

    def _ask(self, method: str, params: list[Any]) -> int:
        request_id = self._next_id
        self._next_id += 1
        self._asked[request_id] = method
        self._send({"id": request_id, "method": method, "params": params})
        return request_id

    def _send(self, message: dict[str, Any]) -> None:
        self._out.append(msgspec.json.encode(message) + b"\n")

    def _line(self, line: bytes, events: list[Event]) -> None:
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _Malformed("a line is no JSON") from error
        if not isinstance(message, dict):
            raise _Malformed("a line is no JSON object")
        method = message.get("method")
        if isinstance(method, str):
            self._request(method, message.get("id"), message.get("params"), events)
        else:
            self._answer(message, events)

    def _request(self, method: str, request_id: Any, params: Any, events: list[Event]) -> None:
        handler = _REQUESTS.get(method)
        if handler is not None:
            handler(self, params if isinstance(params, list) else [], events)
        elif request_id is not None:
            self._reply(method, request_id)

    def _reply(self, method: str, request_id: Any) -> None:
        if method == "client.get_version":
            self._send({"id": request_id, "result": AGENT, "error": None})
        elif method == "mining.ping":
            self._send({"id": request_id, "result": "pong", "error": None})
        else:
            error = [-32601, f"unknown method {method[:64]}", None]
            self._send({"id": request_id, "result": None, "error": error})

    def _answer(self, message: dict[str, Any], events: list[Event]) -> None:
        answered = message.get("id")
        method = self._asked.pop(answered, None) if type(answered) is int else None
        if method is None:
            # An error to nobody's question comes before a server closes; the close tells.
            return
        error = message.get("error")
        result = message.get("result")
        handler = _ANSWERS[method]
        handler(self, int(message["id"]), result, error, events)

    def _configured(self, _id: int, result: Any, error: Any, _events: list[Event]) -> None:
        # A server without extensions answers with an error: then nothing is rolled.
        if error is not None or not isinstance(result, dict):
            return
        mask = result.get("version-rolling.mask")
        if result.get("version-rolling") is True and mask is not None:
            self.version_mask = _hex_number(mask, "version mask") & self._offered_mask

    def _subscribed(self, _id: int, result: Any, error: Any, events: list[Event]) -> None:
        if error is not None:
            events.append(Refused(_SUBSCRIBE, *_explain(error)))
            return
        if not isinstance(result, list) or len(result) < 3:
            raise _Malformed("the answer to mining.subscribe is no list of three")
        self._take_extranonce(result[1], result[2])
        self._ask(_EXTRANONCE_SUBSCRIBE, [])
        self._ask(_AUTHORIZE, [self._user, self._password])

    def _authorized(self, _id: int, result: Any, error: Any, events: list[Event]) -> None:
        if error is None and result is True:
            events.append(Authorized())
        else:
            events.append(Refused(_AUTHORIZE, *_explain(error)))

    def _submitted(self, request_id: int, result: Any, error: Any, events: list[Event]) -> None:
        accepted = error is None and result is True
        code, text = (None, "") if accepted else _explain(error)
        events.append(SubmitAnswered(request_id, accepted, code, text))

    def _ignored(self, _id: int, _result: Any, _error: Any, _events: list[Event]) -> None:
        """Take an answer that changes nothing."""

    def _notify(self, params: list[Any], events: list[Event]) -> None:
        try:
            job = parse_notify(params)
        except NotifyError as error:
            raise _Malformed(str(error)) from error
        if not self.extranonce2_size:
            raise _Malformed("mining.notify came before the answer to mining.subscribe")
        self._hand_out(job, events)

    def _hand_out(self, job: NotifiedJob, events: list[Event]) -> None:
        self._work = Work(
            job, self.target, self.extranonce1, self.extranonce2_size, self.version_mask
        )
        events.append(self._work)

    def _set_difficulty(self, params: list[Any], _events: list[Event]) -> None:
        value = params[0] if params else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
            raise _Malformed("mining.set_difficulty without a positive number")
        ratio = Fraction(value)
        target = self._diff1_target * ratio.denominator // ratio.numerator
        self.target = min(target, TARGET_MAX)

    def _set_target(self, params: list[Any], _events: list[Event]) -> None:
        self.target = _hex_number(params[0] if params else None, "target")

    def _set_extranonce(self, params: list[Any], _events: list[Event]) -> None:
        if len(params) < 2:
            raise _Malformed("mining.set_extranonce takes two parameters")
        self._take_extranonce(params[0], params[1])

    def _set_version_mask(self, params: list[Any], events: list[Event]) -> None:
        """A mask counts at once, for jobs that are out as well (BIP 310)."""
        mask = _hex_number(params[0] if params else None, "version mask")
        self.version_mask = mask & self._offered_mask
        if self._work is not None:
            self._work = msgspec.structs.replace(self._work, version_mask=self.version_mask)
            events.append(self._work)

    def _reconnect(self, params: list[Any], events: list[Event]) -> None:
        host, port, wait_s = [*params, None, None, None][:3]
        events.append(
            ReconnectAsked(
                host if isinstance(host, str) else "",
                _number(port),
                min(_number(wait_s), WAIT_S_MAX),
            )
        )

    def _show_message(self, params: list[Any], events: list[Event]) -> None:
        if params and isinstance(params[0], str):
            events.append(MessageShown(_shown(params[0])))

    def _take_extranonce(self, extranonce1: Any, size: Any) -> None:
        if type(size) is not int or not 0 < size <= EXTRANONCE2_BYTES_MAX:
            raise _Malformed(f"an extranonce2 size outside 1 .. {EXTRANONCE2_BYTES_MAX}")
        if not isinstance(extranonce1, str) or len(extranonce1) > 2 * EXTRANONCE1_BYTES_MAX:
            raise _Malformed(f"an extranonce1 that is no hex of {EXTRANONCE1_BYTES_MAX} bytes")
        try:
            self.extranonce1 = bytes.fromhex(extranonce1)
        except ValueError as error:
            raise _Malformed("an extranonce1 that is no hex") from error
        self.extranonce2_size = size


def _hex_number(value: Any, name: str) -> int:
    if not isinstance(value, str) or len(value) > 64:
        raise _Malformed(f"a {name} that is no hex")
    try:
        number = int(value, 16)
    except ValueError as error:
        raise _Malformed(f"a {name} that is no hex") from error
    if number < 0:
        raise _Malformed(f"a {name} below zero")
    return number


def _number(value: Any) -> int:
    """Read a port or a time, which pools send as numbers or as strings; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if type(value) is int and 0 <= value < 1 << 31 else 0


def _explain(error: Any) -> tuple[int | None, str]:
    """Return code and text of an error in the shapes that pools use."""
    code: Any = None
    text: Any = None
    if isinstance(error, list) and len(error) >= 2:
        code, text = error[0], error[1]
    elif isinstance(error, dict):
        code, text = error.get("code"), error.get("message")
    elif error is not None:
        text = error
    shown = text if isinstance(text, str) else "" if text is None else repr(text)
    return (code if type(code) is int else None), _shown(shown)


def _shown(text: str) -> str:
    return "".join(filter(str.isprintable, text))[:TEXT_CHARACTERS_MAX]


Answer = Callable[[ClientProtocol, int, Any, Any, list[Event]], None]
Request = Callable[[ClientProtocol, list[Any], list[Event]], None]

_ANSWERS: dict[str, Answer] = {
    _CONFIGURE: ClientProtocol._configured,
    _SUBSCRIBE: ClientProtocol._subscribed,
    _AUTHORIZE: ClientProtocol._authorized,
    _SUBMIT: ClientProtocol._submitted,
    _EXTRANONCE_SUBSCRIBE: ClientProtocol._ignored,
}

_REQUESTS: dict[str, Request] = {
    "mining.notify": ClientProtocol._notify,
    "mining.set_difficulty": ClientProtocol._set_difficulty,
    "mining.set_target": ClientProtocol._set_target,
    "mining.set_extranonce": ClientProtocol._set_extranonce,
    "mining.set_version_mask": ClientProtocol._set_version_mask,
    "client.reconnect": ClientProtocol._reconnect,
    "client.show_message": ClientProtocol._show_message,
}
