"""Error codes and refusals as miners see them. Pure; see `failures` for those of operators."""

from enum import IntEnum


class Code(IntEnum):
    """Stratum V1 error codes; the negative ones are JSON-RPC's own."""

    OTHER = 20
    JOB_NOT_FOUND = 21
    DUPLICATE = 22
    LOW_DIFFICULTY = 23
    UNAUTHORIZED = 24
    NOT_SUBSCRIBED = 25
    PARSE = -32700
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601


class LoginError(ValueError):
    """Raised for a login that can not be credited; the text is what the miner reads."""
