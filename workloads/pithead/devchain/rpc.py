"""What the RPC methods share: their errors, the reading of their parameters, their context.

Codes and texts are litecoind's, as far as clients go by them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pithead.coins.tx import Tx, TxError, parse_tx
from pithead.devchain.chain import Entry
from pithead.devchain.faults import Faults
from pithead.devchain.state import State

MISC_ERROR = -1
TYPE_ERROR = -3
WALLET_ERROR = -4
INVALID_ADDRESS_OR_KEY = -5
INVALID_PARAMETER = -8
NOT_CONNECTED = -9
IN_INITIAL_DOWNLOAD = -10
INVALID_LABEL_NAME = -11
WALLET_NOT_FOUND = -18
WALLET_NOT_SPECIFIED = -19
DESERIALIZATION_ERROR = -22
VERIFY_ERROR = -25
VERIFY_REJECTED = -26
VERIFY_ALREADY_IN_CHAIN = -27
METHOD_NOT_FOUND = -32601
INVALID_REQUEST = -32600
PARSE_ERROR = -32700

Method = Callable[["Context", Sequence[Any]], Any | Awaitable[Any]]
KindT = TypeVar("KindT")


class RpcError(Exception):
    """An error answer."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


@dataclass(slots=True)
class Context:
    """What methods act on."""

    state: State
    now_ms: Callable[[], int]
    secret: Callable[[], bytes]
    """32 random bytes."""
    stop: asyncio.Event
    started_s: int
    faults: Faults
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, when tip or mempool change."""
    wallet: str | None = None
    """Wallet that the request names by its path."""

    def now_s(self) -> int:
        """Unix seconds."""
        return self.now_ms() // 1000

    def announce(self) -> None:
        """Wake those who wait for a change."""
        self.moved.set()
        self.moved = asyncio.Event()


def parameter(
    params: Sequence[Any], index: int, kind: type[KindT], default: KindT | None = None
) -> KindT:
    """Parameter `index`, or the default when it is missing or null; raises RpcError."""
    value = params[index] if index < len(params) else None
    if value is None:
        if default is None:
            raise RpcError(MISC_ERROR, f"parameter {index + 1} is missing")
        return default
    # In Python a bool is an int; in JSON it is not.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RpcError(
            TYPE_ERROR,
            f"parameter {index + 1}: expected {kind.__name__}, got {type(value).__name__}",
        )
    return value


def hash_parameter(params: Sequence[Any], index: int, name: str) -> bytes:
    """A hash in internal order."""
    return hash_of(parameter(params, index, str), name)


def hash_of(text: str, name: str) -> bytes:
    """A hash in internal order from its hex."""
    if len(text) != 64:
        raise RpcError(
            INVALID_PARAMETER, f"{name} must be of length 64 (not {len(text)}, for '{text[:80]}')"
        )
    try:
        return bytes.fromhex(text)[::-1]
    except ValueError as error:
        raise RpcError(
            INVALID_PARAMETER, f"{name} must be hexadecimal string (not '{text}')"
        ) from error


def tx_of(text: str) -> Tx:
    """A transaction from its hex."""
    try:
        return parse_tx(bytes.fromhex(text))
    except (TxError, ValueError) as error:
        raise RpcError(DESERIALIZATION_ERROR, f"TX decode failed: {error}") from error


def entry_of(context: Context, identity: bytes) -> Entry:
    """A known block."""
    entry = context.state.chain.entries.get(identity)
    if entry is None:
        raise RpcError(INVALID_ADDRESS_OR_KEY, "Block not found")
    return entry


def mapping_of(value: object, name: str) -> Mapping[str, Any]:
    """An object, whose keys JSON makes strings."""
    if not isinstance(value, dict):
        raise RpcError(TYPE_ERROR, f"{name} is not an object")
    return value
