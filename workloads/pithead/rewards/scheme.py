"""Reward schemes: what a scheme is, how one is found, and how its parameters are read.

A scheme is a pure value behind the entry-point group `pithead.schemes`: it reads
its parameters from their canonical JSON, says how much weight its window needs,
and splits a value over a window. A revision is the hash of that JSON, so the text
is compared, not only its meaning. A scheme knows no database, node or clock.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

GROUP = "pithead.schemes"
PPM = 1_000_000
"""Parts in a whole: fees and window factors are parts per million."""

PARAMETERS_BYTES_MAX = 16 * 1024
"""A scheme's parameters are a few dozen bytes; what is larger is not one of ours."""


class SchemeError(Exception):
    """Base of what can be wrong with a scheme as a manifest gives it."""


class UnknownMethod(SchemeError):
    """Raised when no installed scheme answers to a method."""

    def __init__(self, method: str, known: Iterable[str]) -> None:
        self.method = method
        self.known = tuple(sorted(known))
        super().__init__(
            f"method {method!r} is not known; there is: {', '.join(self.known) or 'none'}"
        )


class ParametersRefused(SchemeError):
    """Raised when parameters are not the canonical JSON that their method expects."""

    def __init__(self, path: str, expected: str, got: object) -> None:
        self.path = path
        self.expected = expected
        self.got = got
        super().__init__(f"{path or 'parameters'}: expected {expected}, got {got!r}"[:512])


class ConservedMoneyViolated(Exception):
    """Raised before money would appear or vanish: parts do not add up to the whole."""

    def __init__(self, where: str, expected: int, got: int) -> None:
        self.where = where
        self.expected = expected
        self.got = got
        super().__init__(f"{where}: parts add up to {got} base units, expected {expected}")


@dataclass(frozen=True, slots=True)
class WindowCell:
    """One account's weight in a window: in all groups but the last taken, and in the last."""

    account: int
    full: int
    last: int


@dataclass(frozen=True, slots=True)
class Window:
    """The groups of shares that a split stands on, summed by account.

    Groups are taken backwards until their sum reaches the wanted weight. Of the
    last group taken, which weighs `group_weight` (G), only `needed` (r) counts.
    """

    cells: tuple[WindowCell, ...]
    group_weight: int
    needed: int


@dataclass(frozen=True, slots=True)
class SplitShare:
    """What one account gets, in base units, and the weight with which it entered."""

    account: int
    amount: int
    weight: int


@dataclass(frozen=True, slots=True)
class Split:
    """A value split in base units: shares in the order of accounts, fee, and what is carried on."""

    value: int
    carried: int
    fee: int
    remainder: int
    shares: tuple[SplitShare, ...]

    def check(self) -> None:
        """Raise ConservedMoneyViolated unless credits + fee + remainder = value + carried."""
        parts = [share.amount for share in self.shares]
        if min([*parts, self.fee, self.remainder]) < 0:
            raise ConservedMoneyViolated("a negative part of a split", 0, min(parts, default=0))
        got = sum(parts) + self.fee + self.remainder
        if got != self.value + self.carried:
            raise ConservedMoneyViolated("split", self.value + self.carried, got)


class BoundScheme(Protocol):
    """A scheme with the parameters of one revision."""

    def window_weight(self, expected_hashes: int, shift: int) -> int:
        """Weight that a window needs, for a block that takes `expected_hashes` to find.

        Weight is expected hashes >> `shift` of the coin and network.
        """

    def split(self, value: int, carried: int, window: Window) -> Split:
        """Split `value` + `carried` base units over a window, to the last unit."""


@runtime_checkable
class RewardScheme(Protocol):
    """A method of sharing rewards, as an entry point of `pithead.schemes` offers it."""

    @property
    def method(self) -> str:
        """Name of the method in manifests, for example `PPLNS`."""

    def bind(self, parameters: str) -> BoundScheme:
        """Read the canonical JSON of a revision; raises ParametersRefused."""


def revision_of(parameters: str) -> str:
    """Hex sha256 of canonical parameters: the name of a revision."""
    return hashlib.sha256(parameters.encode()).hexdigest()


def canonical(document: dict[str, Any]) -> str:
    """Write parameters in their one canonical form: sorted keys, no spaces, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def parse_canonical(parameters: str) -> dict[str, Any]:
    """Read parameters and refuse any text that is not canonical JSON of an object without floats.

    Equal meaning in two spellings would be two revisions, so the spelling is part of the form.
    """
    if len(parameters) > PARAMETERS_BYTES_MAX:
        raise ParametersRefused("", f"at most {PARAMETERS_BYTES_MAX} characters", len(parameters))
    try:
        document = json.loads(
            parameters,
            parse_float=_refuse("an integer, no fraction or exponent"),
            parse_constant=_refuse("an integer"),
        )
    except (ValueError, RecursionError) as error:
        raise ParametersRefused("", "JSON", str(error)) from error
    if not isinstance(document, dict):
        raise ParametersRefused("", "a JSON object", document)
    if canonical(document) != parameters:
        raise ParametersRefused("", f"the canonical form {canonical(document)}", parameters)
    return document


def _refuse(expected: str) -> Callable[[str], object]:
    def refuse(text: str) -> object:
        raise ParametersRefused("", expected, text)

    return refuse


@cache
def schemes() -> dict[str, RewardScheme]:
    """All installed schemes by their method. The entry point's name is the method."""
    found: dict[str, RewardScheme] = {}
    for point in entry_points(group=GROUP):
        loaded = point.load()
        if not isinstance(loaded, RewardScheme) or loaded.method != point.name:
            raise TypeError(
                f"entry point {point.name} of {GROUP}: {point.value} is not a scheme of that method"
            )
        found[point.name] = loaded
    return found


def scheme_for(method: str) -> RewardScheme:
    """The installed scheme of a method; raises UnknownMethod."""
    known = schemes()
    if method not in known:
        raise UnknownMethod(method, known)
    return known[method]
