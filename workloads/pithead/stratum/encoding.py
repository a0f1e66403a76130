"""Canonical bytes of everything an edge sends: one JSON object a line. Pure.

Answers echo the request's id as it stood on the wire. What many connections
share (a notification, the tail of a `true`) is built once.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from pithead.stratum.errors import Code

_encode = msgspec.json.encode


class Refusal(msgspec.Struct, frozen=True):
    """What a miner reads when it is refused."""

    code: Code
    text: str


TRUE_TAIL = b',"result":true,"error":null}\n'
RECONNECT = b'{"id":null,"method":"client.reconnect","params":[]}\n'
"""Empty parameters mean "the same host": the only form that every client accepts."""


def answer_true(request_id: bytes) -> bytes:
    """Encode the answer `true`."""
    return b'{"id":' + request_id + TRUE_TAIL


def answer(request_id: bytes, result: Any) -> bytes:
    """Encode a result of any JSON type."""
    return b'{"id":%b,"result":%b,"error":null}\n' % (request_id, _encode(result))


def error(request_id: bytes, code: Code, text: str) -> bytes:
    """Encode a refusal with its code and a sentence."""
    return b'{"id":%b,"result":null,"error":[%d,%b,null]}\n' % (request_id, code, _encode(text))


def refused(request_id: bytes, refusal: Refusal) -> bytes:
    """Encode a refusal that is always the same."""
    return error(request_id, refusal.code, refusal.text)


def subscribed(request_id: bytes, extranonce1: bytes, extranonce2_size: int) -> bytes:
    """Encode the answer to mining.subscribe; the subscription id is the extranonce1."""
    name = extranonce1.hex()
    subscriptions = [["mining.set_difficulty", name], ["mining.notify", name]]
    return answer(request_id, [subscriptions, name, extranonce2_size])


def set_difficulty(difficulty: float) -> bytes:
    """Encode mining.set_difficulty; whole numbers go out as integers, as most pools send them."""
    shown = int(difficulty) if difficulty.is_integer() else difficulty
    return b'{"id":null,"method":"mining.set_difficulty","params":[%b]}\n' % _encode(shown)


def notify(params: Sequence[object]) -> bytes:
    """Encode mining.notify from its nine parameters."""
    return b'{"id":null,"method":"mining.notify","params":%b}\n' % _encode(params)
