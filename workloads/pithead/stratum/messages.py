"""What a miner asked, as events of the protocol core. Pure.

Requests that the core can answer alone (configure, ping and the like) make no
event unless somebody else must know. `id` is the request's own id as it stood
on the wire, to be echoed byte for byte.
"""

from decimal import Decimal

import msgspec


class Subscribed(msgspec.Struct, frozen=True, gc=False):
    """The connection may now get work; `agent` is the client's name of itself, cut to size."""

    agent: str


class AuthorizeAsked(msgspec.Struct, frozen=True, gc=False):
    """A login wants to be credited; answer it once its session record is durable."""

    id: bytes
    user: str
    password: str


class SubmitAsked(msgspec.Struct, frozen=True, gc=False):
    """A share as sent: six strings of unchecked content; `version_bits` empty when left out."""

    id: bytes
    user: str
    job: str
    extranonce2: str
    ntime: str
    nonce: str
    version_bits: str


class SubmitMalformed(msgspec.Struct, frozen=True, gc=False):
    """A submit of wrong shape was answered with an error; it counts as invalid."""


class DifficultySuggested(msgspec.Struct, frozen=True, gc=False):
    """The miner would like to start at this shown difficulty."""

    difficulty: Decimal


class TargetSuggested(msgspec.Struct, frozen=True, gc=False):
    """The miner would like to start at this share target."""

    target: int


class MinimumDifficultyAsked(msgspec.Struct, frozen=True, gc=False):
    """The miner wants no difficulty below this shown one (extension minimum-difficulty)."""

    difficulty: Decimal


class TransactionsAsked(msgspec.Struct, frozen=True, gc=False):
    """The miner wants to see the transactions of a job."""

    id: bytes
    job: str


class CloseAsked(msgspec.Struct, frozen=True, gc=False):
    """The peer broke the framing rules: send what is to be sent, then close."""

    reason: str


Event = (
    Subscribed
    | AuthorizeAsked
    | SubmitAsked
    | SubmitMalformed
    | DifficultySuggested
    | TargetSuggested
    | MinimumDifficultyAsked
    | TransactionsAsked
    | CloseAsked
)
