"""What a connection may ask in which state: one table gives code, manual and test. Pure.

The table holds every (state, method) pair: the next state when the request may
be served, or the code with which it is refused; a refusal changes nothing. Three
things it can not express: `mining.authorize` moves on only when its owner says
that the session record is durable (`AUTHORIZED`); when that came first,
`mining.subscribe` moves to AUTHORIZED at once; and any error of framing moves to
CLOSED from everywhere.
"""

from enum import Enum, auto

from pithead.stratum.errors import Code


class State(Enum):
    """How far a connection has come."""

    CONNECTED = auto()
    SUBSCRIBED = auto()
    AUTHORIZED = auto()
    CLOSED = auto()


CONFIGURE = "mining.configure"
SUBSCRIBE = "mining.subscribe"
AUTHORIZE = "mining.authorize"
SUBMIT = "mining.submit"
SUGGEST_DIFFICULTY = "mining.suggest_difficulty"
SUGGEST_TARGET = "mining.suggest_target"
EXTRANONCE_SUBSCRIBE = "mining.extranonce.subscribe"
GET_TRANSACTIONS = "mining.get_transactions"
PING = "mining.ping"

METHODS = (
    CONFIGURE,
    SUBSCRIBE,
    AUTHORIZE,
    SUBMIT,
    SUGGEST_DIFFICULTY,
    SUGGEST_TARGET,
    EXTRANONCE_SUBSCRIBE,
    GET_TRANSACTIONS,
    PING,
)

Outcome = State | Code

_FREE = (CONFIGURE, SUGGEST_DIFFICULTY, SUGGEST_TARGET, EXTRANONCE_SUBSCRIBE, PING)


def _stays(state: State, methods: tuple[str, ...]) -> dict[str, Outcome]:
    return dict.fromkeys(methods, state)


TABLE: dict[State, dict[str, Outcome]] = {
    State.CONNECTED: _stays(State.CONNECTED, _FREE)
    | {
        SUBSCRIBE: State.SUBSCRIBED,
        # Some proxies log in first; a connection has its extranonce1 from the start.
        AUTHORIZE: State.CONNECTED,
        SUBMIT: Code.NOT_SUBSCRIBED,
        GET_TRANSACTIONS: Code.NOT_SUBSCRIBED,
    },
    State.SUBSCRIBED: _stays(State.SUBSCRIBED, _FREE)
    | {
        # A second subscribe gets the same extranonce1 again: it is this connection's for life.
        SUBSCRIBE: State.SUBSCRIBED,
        AUTHORIZE: State.SUBSCRIBED,
        SUBMIT: Code.UNAUTHORIZED,
        GET_TRANSACTIONS: Code.UNAUTHORIZED,
    },
    State.AUTHORIZED: _stays(State.AUTHORIZED, METHODS),
    State.CLOSED: dict.fromkeys(METHODS, Code.OTHER),
}

REFUSALS: dict[Code, str] = {
    Code.NOT_SUBSCRIBED: "not subscribed: send mining.subscribe first",
    Code.UNAUTHORIZED: "unauthorized worker: send mining.authorize first",
    Code.OTHER: "the connection is closing",
}
