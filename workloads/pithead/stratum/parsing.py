"""Lines and JSON of the wire: bytes in, requests or the fault to answer out. Pure.

Nothing here raises on foreign input: whatever a peer sends becomes a `Request`,
a `Fault` with the code and id of its answer, or None for what needs no answer.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from pithead.stratum.errors import Code

NULL_ID: Final = b"null"
ID_BYTES_MAX = 256
"""An id is kept until its share is durable, and thousands of shares may wait."""

DIFFICULTY_MAX = Decimal(2) ** 256
"""No target is harder; it also keeps arithmetic on suggestions small."""
DIFFICULTY_MIN = Decimal(1) / DIFFICULTY_MAX

_HEX_MASK = re.compile(r"[0-9a-fA-F]{1,8}")
_HEX_TARGET = re.compile(r"[0-9a-fA-F]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,80}(\.[0-9]{1,80})?([eE][+-]?[0-9]{1,3})?")


class Request(msgspec.Struct, gc=False):
    """One JSON-RPC request; parameters are of any JSON type until their method looks at them."""

    method: str
    id: msgspec.Raw = msgspec.Raw(NULL_ID)
    params: list[Any] | None = None


class Fault(msgspec.Struct, frozen=True, gc=False):
    """A line that is no request."""

    id: bytes
    code: Code
    text: str


_decoder = msgspec.json.Decoder(Request)
_generic = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()


def split_lines(kept: bytes, data: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete lines of `kept` + `data`, and what stays for later."""
    if kept:
        data = kept + data
    lines = data.split(b"\n")
    return lines, lines.pop()


def parse_line(line: bytes) -> Request | Fault | None:
    """Read one line. None for a peer's answer to one of our own requests, which nobody awaits."""
    try:
        request = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _explain(line)
    return request


def echo_id(raw: msgspec.Raw) -> bytes | None:
    """Return the bytes of an id to echo, or None when it is too long or only looks like JSON.

    The decoder skips over ids without looking inside strings, so those are
    decoded here; numbers, by far the most, need no second look.
    """
    text = bytes(raw)
    if len(text) > ID_BYTES_MAX:
        return None
    if text.isdigit() or text == NULL_ID:
        return text
    try:
        _any.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return text


def _explain(line: bytes) -> Fault | None:
    """Tell apart what is no JSON at all from JSON that is no request."""
    try:
        value = _any.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Fault(NULL_ID, Code.PARSE, "parse error: one JSON object a line is expected")
    if not isinstance(value, dict):
        return Fault(NULL_ID, Code.INVALID_REQUEST, "invalid request: a JSON object is expected")
    request_id = bytes(_generic.decode(line).get("id", NULL_ID))
    if "method" not in value and ("result" in value or "error" in value):
        return None
    if not isinstance(value.get("method"), str):
        return Fault(request_id, Code.INVALID_REQUEST, "invalid request: method must be a string")
    return Fault(request_id, Code.INVALID_REQUEST, "invalid request: params must be an array")


def parse_difficulty(value: object) -> Decimal | None:
    """Read a shown difficulty: a positive JSON number or its decimal string; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = str(value)
    if not _NUMBER.fullmatch(text):
        return None
    try:
        difficulty = Decimal(text)
    except InvalidOperation:
        return None
    return difficulty if DIFFICULTY_MIN <= difficulty <= DIFFICULTY_MAX else None


def parse_target(value: object) -> int | None:
    """Read a 256-bit share target in big-endian hex; None for anything else and for 0."""
    if not isinstance(value, str) or not _HEX_TARGET.fullmatch(value):
        return None
    return int(value, 16) or None


def parse_mask(value: object) -> int | None:
    """Read a version mask of at most eight hex digits (BIP 310); else None."""
    if not isinstance(value, str) or not _HEX_MASK.fullmatch(value):
        return None
    return int(value, 16)


def parse_hex(text: str, size: int) -> bytes | None:
    """Read exactly `size` bytes of hex in either case, without sign, prefix or space; else None.

    Callers key on the bytes, never on the text: keys made of foreign spellings let
    one share through twice in public pool software.
    """
    if len(text) != 2 * size:
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    # Spaces between digits, which `fromhex` skips, leave fewer bytes.
    return value if len(value) == size else None
