"""The Stratum V1 server side of one connection, without I/O. Pure.

Feed received bytes to `receive` and act on the events it returns; after each
call send `take_output()`. What needs somebody else's decision (a login, a share)
comes out as an event and is answered by its owner with `encoding`; everything
else the core answers itself. The core never raises on foreign input: any other
exception is a fault of this program, of which a miner learns nothing.

Time stays outside: `deadline_ms` says by when the peer must have done something,
the transport owns the clock and closes. The core knows no job, login or coin.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from pithead.stratum import encoding
from pithead.stratum.errors import Code
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
from pithead.stratum.parsing import (
    ID_BYTES_MAX,
    NULL_ID,
    Fault,
    echo_id,
    parse_difficulty,
    parse_line,
    parse_mask,
    parse_target,
    split_lines,
)
from pithead.stratum.states import (
    AUTHORIZE,
    CONFIGURE,
    EXTRANONCE_SUBSCRIBE,
    GET_TRANSACTIONS,
    PING,
    REFUSALS,
    SUBMIT,
    SUBSCRIBE,
    SUGGEST_DIFFICULTY,
    SUGGEST_TARGET,
    TABLE,
    State,
)

VERSION_MASK = 0x1FFFE000
"""Version bits that miners may roll (BIP 320)."""
EXTRANONCE2_SIZE = 8
AGENT_CHARACTERS_MAX = 128
USER_CHARACTERS_MAX = 256
"""Longer than any address with any worker name; the rest of the line bound is for passwords."""


class ProtocolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may do; see `pithead.config.LimitSettings`."""

    line_bytes_max: int = 8192
    garbage_lines_max: int = 3
    subscribe_timeout_ms: int = 15_000
    idle_timeout_ms: int = 900_000


class ServerProtocol:
    """One connection's protocol state."""

    __slots__ = (
        "_garbage",
        "_kept",
        "_limits",
        "_login_durable",
        "_out",
        "extranonce1",
        "state",
        "version_mask",
    )

    def __init__(self, limits: ProtocolLimits, extranonce1: bytes) -> None:
        """`extranonce1` is this connection's for life; no other of the process has it."""
        self.state = State.CONNECTED
        self.extranonce1 = extranonce1
        self.version_mask = 0
        """Bits that this miner said it rolls; 0 until it configures version-rolling."""
        self._limits = limits
        self._kept = b""
        self._garbage = 0
        self._login_durable = False
        self._out: list[bytes] = []

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes in any chunking and return what they ask for."""
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events
        lines, self._kept = split_lines(self._kept, data)
        for line in lines:
            if len(line) > self._limits.line_bytes_max:
                self._close(events, f"a line exceeds {self._limits.line_bytes_max} bytes")
                return events
            self._line(line, events)
            if self._closed():
                return events
        if len(self._kept) > self._limits.line_bytes_max:
            self._close(events, f"a line exceeds {self._limits.line_bytes_max} bytes")
        return events

    def _closed(self) -> bool:
        return self.state is State.CLOSED

    def take_output(self) -> bytes:
        """Return what is to be sent now, and forget it."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def authorized(self) -> None:
        """Note that a login is durable: shares may come, once the connection has subscribed."""
        self._login_durable = True
        if self.state is State.SUBSCRIBED:
            self.state = State.AUTHORIZED

    def deadline_ms(self, connected_ms: int, heard_ms: int) -> int:
        """Return when to close for silence, on the clock of the two arguments.

        `connected_ms` is when the connection was made, `heard_ms` when the peer
        last sent anything. Without a login, saying something else gains no time.
        """
        if self.state in (State.CONNECTED, State.SUBSCRIBED):
            return connected_ms + self._limits.subscribe_timeout_ms
        return heard_ms + self._limits.idle_timeout_ms

    def _close(self, events: list[Event], reason: str) -> None:
        self._out.append(encoding.error(NULL_ID, Code.INVALID_REQUEST, reason))
        self.state = State.CLOSED
        self._kept = b""
        events.append(CloseAsked(reason))

    def _line(self, line: bytes, events: list[Event]) -> None:
        line = line.strip()
        if not line:
            return
        request = parse_line(line)
        if request is None:
            return
        if isinstance(request, Fault):
            self._fault(request, events)
            return
        request_id = echo_id(request.id)
        if request_id is None:
            text = f"parse error: id is no JSON value of at most {ID_BYTES_MAX} bytes"
            self._fault(Fault(NULL_ID, Code.PARSE, text), events)
            return
        outcome = TABLE[self.state].get(request.method)
        if outcome is None:
            text = f"unknown method {request.method[:64]}"
            self._out.append(encoding.error(request_id, Code.UNKNOWN_METHOD, text))
        elif isinstance(outcome, Code):
            self._out.append(encoding.error(request_id, outcome, REFUSALS[outcome]))
            if request.method == SUBMIT:
                events.append(SubmitMalformed())
        else:
            _HANDLERS[request.method](self, request_id, request.params or [], events)

    def _fault(self, fault: Fault, events: list[Event]) -> None:
        self._out.append(encoding.error(fault.id, fault.code, fault.text))
        self._garbage += 1
        if self._garbage >= self._limits.garbage_lines_max:
            self._close(events, "too many lines that are no Stratum")

    def _refuse(self, request_id: bytes, text: str) -> None:
        self._out.append(encoding.error(request_id, Code.OTHER, text))

    def _submit(self, request_id: bytes, params: list[Any], events: list[Event]) -> None:
        if len(params) == 5:
            params.append("")
        if len(params) == 6:
            user, job, extranonce2, ntime, nonce, version_bits = params
            # Spelt out because every share passes here: a loop takes three times as long.
            if (
                type(user) is str
                and type(job) is str
                and type(extranonce2) is str
                and type(ntime) is str
                and type(nonce) is str
                and type(version_bits) is str
            ):
                events.append(
                    SubmitAsked(request_id, user, job, extranonce2, ntime, nonce, version_bits)
                )
                return
        text = "submit takes worker, job id, extranonce2, ntime, nonce[, version bits], all strings"
        self._refuse(request_id, text)
        events.append(SubmitMalformed())

    def _subscribe(self, request_id: bytes, params: list[Any], events: list[Event]) -> None:
        agent = params[0] if params and isinstance(params[0], str) else ""
        agent = "".join(filter(str.isprintable, agent))
        self._out.append(encoding.subscribed(request_id, self.extranonce1, EXTRANONCE2_SIZE))
        if self.state is State.CONNECTED:
            self.state = State.AUTHORIZED if self._login_durable else State.SUBSCRIBED
            events.append(Subscribed(agent[:AGENT_CHARACTERS_MAX]))

    def _authorize(self, request_id: bytes, params: list[Any], events: list[Event]) -> None:
        user = params[0] if params else None
        if not isinstance(user, str) or len(user) > USER_CHARACTERS_MAX:
            text = f"authorize takes a login of at most {USER_CHARACTERS_MAX} characters"
            self._out.append(encoding.error(request_id, Code.UNAUTHORIZED, text))
            return
        password = params[1] if len(params) > 1 and isinstance(params[1], str) else ""
        events.append(AuthorizeAsked(request_id, user, password))

    def _configure(self, request_id: bytes, params: list[Any], events: list[Event]) -> None:
        """Answer every requested extension code (BIP 310)."""
        codes = params[0] if params else None
        options = params[1] if len(params) > 1 and params[1] is not None else {}
        if not isinstance(codes, list) or not isinstance(options, dict):
            self._refuse(request_id, "configure takes an array of codes and an object of options")
            return
        result: dict[str, Any] = {}
        for code in codes:
            if not isinstance(code, str):
                self._refuse(request_id, "configure: extension codes are strings")
                return
            if code == "version-rolling":
                self._version_rolling(options, result)
            elif code == "minimum-difficulty":
                difficulty = parse_difficulty(options.get("minimum-difficulty.value"))
                result[code] = difficulty is not None
                if difficulty is not None:
                    events.append(MinimumDifficultyAsked(difficulty))
            else:
                result[code] = code in ("subscribe-extranonce", "info")
        self._out.append(encoding.answer(request_id, result))

    def _version_rolling(self, options: dict[str, Any], result: dict[str, Any]) -> None:
        wanted = parse_mask(options.get("version-rolling.mask", "ffffffff"))
        bits_min = options.get("version-rolling.min-bit-count", 0)
        if wanted is None or isinstance(bits_min, bool) or not isinstance(bits_min, int):
            result["version-rolling"] = "mask is up to eight hex digits, min-bit-count an integer"
            return
        mask = wanted & VERSION_MASK
        if mask == 0 or mask.bit_count() < bits_min:
            result["version-rolling"] = False
            return
        self.version_mask = mask
        result["version-rolling"] = True
        result["version-rolling.mask"] = f"{mask:08x}"

    def _suggest_difficulty(
        self, request_id: bytes, params: list[Any], events: list[Event]
    ) -> None:
        difficulty = parse_difficulty(params[0]) if params else None
        if difficulty is None:
            self._refuse(request_id, "suggest_difficulty takes a positive number")
            return
        self._out.append(encoding.answer_true(request_id))
        events.append(DifficultySuggested(difficulty))

    def _suggest_target(self, request_id: bytes, params: list[Any], events: list[Event]) -> None:
        target = parse_target(params[0]) if params else None
        if target is None:
            self._refuse(request_id, "suggest_target takes a target of up to 64 hex digits")
            return
        self._out.append(encoding.answer_true(request_id))
        events.append(TargetSuggested(target))

    def _true(self, request_id: bytes, _params: list[Any], _events: list[Event]) -> None:
        self._out.append(encoding.answer_true(request_id))

    def _ping(self, request_id: bytes, _params: list[Any], _events: list[Event]) -> None:
        self._out.append(encoding.answer(request_id, "pong"))

    def _transactions(self, request_id: bytes, params: list[Any], events: list[Event]) -> None:
        job = params[0] if params else None
        if not isinstance(job, str):
            self._refuse(request_id, "get_transactions takes a job id")
            return
        events.append(TransactionsAsked(request_id, job))


Handler = Callable[[ServerProtocol, bytes, list[Any], list[Event]], None]

_HANDLERS: dict[str, Handler] = {
    CONFIGURE: ServerProtocol._configure,
    SUBSCRIBE: ServerProtocol._subscribe,
    AUTHORIZE: ServerProtocol._authorize,
    SUBMIT: ServerProtocol._submit,
    SUGGEST_DIFFICULTY: ServerProtocol._suggest_difficulty,
    SUGGEST_TARGET: ServerProtocol._suggest_target,
    EXTRANONCE_SUBSCRIBE: ServerProtocol._true,
    GET_TRANSACTIONS: ServerProtocol._transactions,
    PING: ServerProtocol._ping,
}
