"""Answers for the words that manifest fields are made of: texts, numbers, kinds of change.

A `Text` holds one pattern that Python and the Kubernetes API server both
apply, together with a phrase that says what is allowed, so an error never
shows a regular expression. Patterns keep to what RE2 and `re` read alike.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

ALLOWED = "x-pithead-allowed"
"""Schema key of the phrase that says what is allowed; it never reaches a CRD."""


class Change(StrEnum):
    """What a change of a field costs. Each field of a spec is marked with one."""

    LIVE = "live"
    """No edge restarts; miners notice nothing."""
    ROLLING = "rolling"
    """Edges restart one after another; each miner moves once."""
    IMMUTABLE = "immutable"
    """Refused: the books or the log depend on it. Make a new object instead."""


class Runtime(StrEnum):
    """Which runtime reads a field; a field without this mark is read by both."""

    CLUSTER = "cluster"
    """`pithead up` accepts the field and ignores it."""
    MACHINE = "one machine"
    """The operator accepts the field and ignores it."""


class OnlyGrows:
    """Mark of a number that may be raised; to lower it is refused as an immutable change is."""


ONLY_GROWS = OnlyGrows()


@dataclass(frozen=True)
class Text:
    """A string of one pattern, bounded in length."""

    pattern: str
    length_max: int
    allowed: str
    """Completes the sentence: expected ..."""
    whole_max: int | None = None
    """When set, a bare whole number from `whole_min` up to this is read as its digits."""
    whole_min: int = 0

    def check(self, value: Any) -> str:
        """Return the text, or raise what pydantic turns into an error at its place."""
        if self.whole_max is not None and type(value) is int:
            if not self.whole_min <= value <= self.whole_max:
                raise PydanticCustomError("not_allowed", "not allowed")
            return str(value)
        if not isinstance(value, str):
            raise PydanticCustomError("not_text", "not a text")
        if len(value) > self.length_max or not re.fullmatch(self.pattern, value):
            raise PydanticCustomError("not_allowed", "not allowed")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Validate by `check` alone."""
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Give the same rules as a structural schema."""
        shape: dict[str, Any] = {"pattern": self.pattern, "maxLength": self.length_max}
        if self.whole_max is None:
            shape["type"] = "string"
        else:
            shape |= {
                "x-kubernetes-int-or-string": True,
                "minimum": self.whole_min,
                "maximum": self.whole_max,
            }
        return shape | {ALLOWED: self.allowed}


def _decimal(whole_digits: int, places: int, *, zero: bool) -> str:
    """Build the pattern of an unsigned decimal; without `zero`, of one above zero.

    RE2 has no look-ahead, so a number below one is an alternative of its own;
    the length bound of its Text, `places` and two characters, bounds its places.
    """
    whole = rf"[1-9][0-9]{{0,{whole_digits - 1}}}"
    fraction = rf"(\.[0-9]{{1,{places}}})?"
    if zero:
        return f"^(0|{whole}){fraction}$"
    return rf"^({whole}{fraction}|0\.0*[1-9][0-9]*)$"


DIGITS_63_BITS = 18
"""A bare whole number stays inside 63 bits, as JSON and CEL need it."""

Name = Annotated[
    str,
    Text(
        r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$",
        40,
        "1 to 40 lower-case letters, digits and inner hyphens, a letter first",
    ),
]
"""Name of an object of ours: short enough that pods and services can be named after it."""

SecretName = Annotated[
    str,
    Text(
        r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        253,
        "a DNS name of lower-case letters, digits, hyphens and dots",
    ),
]
PoolId = Annotated[
    str,
    Text(
        r"^[a-z0-9]([a-z0-9.-]{0,102}[a-z0-9])?$",
        104,
        "1 to 104 lower-case letters, digits, inner dots and hyphens",
    ),
]
"""Sixty-three characters of a namespace, a dot, and forty of a name fit."""

RegionId = Annotated[
    str,
    Text(
        r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$",
        32,
        "1 to 32 lower-case letters, digits and inner hyphens, a letter first",
    ),
]
ListenerName = Annotated[
    str,
    Text(
        r"^[a-z]([a-z0-9]|-[a-z0-9])*$",
        15,
        "1 to 15 lower-case letters, digits and single inner hyphens, a letter first",
    ),
]
"""Fifteen characters and single hyphens, because Kubernetes names ports so."""

ClusterName = Annotated[
    str,
    Text(
        r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$",
        40,
        "1 to 40 lower-case letters, digits and inner hyphens, a letter first",
    ),
]
"""Value of the label by which the kubeconfig Secret of a cluster is found."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
Hostname = Annotated[
    str,
    Text(
        rf"^({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$",
        253,
        "a full DNS name in lower case, such as eu.pool.example.org",
    ),
]

CoinName = Annotated[
    str,
    Text(r"^[a-z][a-z0-9-]{0,31}$", 32, "the name of a coin, such as devchain or litecoin"),
]
NetworkName = Annotated[
    str,
    Text(r"^[a-z][a-z0-9-]{0,31}$", 32, "a network of the coin, such as mainnet or regtest"),
]
WalletName = Annotated[
    str,
    Text(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", 64, "1 to 64 letters, digits, _ and -"),
]
_HOST = r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
NodeUrl = Annotated[
    str,
    Text(
        rf"^http://{_HOST}:{_PORT}$",
        300,
        "http://HOST:PORT, without a user, password or path (they come from the Secret)",
    ),
]
HostPort = Annotated[
    str, Text(rf"^{_HOST}:{_PORT}$", 300, "HOST:PORT, such as kafka.example.org:9092")
]
ServerName = Annotated[
    str,
    Text(
        r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,39})$",
        253,
        "a DNS name or an address, without a port",
    ),
]
DatabaseName = Annotated[
    str,
    Text(
        r"^[a-z_][a-z0-9_]{0,62}$",
        63,
        "1 to 63 lower-case letters, digits and underscores, no digit first",
    ),
]
Host = Annotated[
    str,
    Text(
        r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]{2,39})$",
        39,
        "an IPv4 or IPv6 address of this machine, such as 0.0.0.0 or 127.0.0.1",
    ),
]
CoinAmount = Annotated[
    str,
    Text(
        _decimal(12, 18, zero=False),
        20,
        'coins above zero: a whole number, or a decimal in quotes such as "0.01"',
        whole_min=1,
        whole_max=10**12 - 1,
    ),
]
Percent = Annotated[
    str,
    Text(
        _decimal(2, 4, zero=True),
        7,
        'a percentage below 100: a whole number, or a decimal in quotes such as "1.25"',
        whole_max=99,
    ),
]
Factor = Annotated[
    str,
    Text(
        _decimal(4, 6, zero=False),
        8,
        'a factor above zero and below 10000: a whole number, or a decimal in quotes such as "2.5"',
        whole_min=1,
        whole_max=9999,
    ),
]
Weight = Annotated[
    str,
    Text(
        r"^[1-9][0-9]{0,37}$",
        38,
        "a whole number above zero",
        whole_min=1,
        whole_max=10**DIGITS_63_BITS - 1,
    ),
]
Difficulty = Annotated[
    str,
    Text(
        _decimal(DIGITS_63_BITS, 18, zero=False),
        20,
        'a difficulty above zero: a whole number, or a decimal in quotes such as "0.001"',
        whole_min=1,
        whole_max=10**DIGITS_63_BITS - 1,
    ),
]

LABEL_KEY_ALLOWED = "a label or annotation key, such as example.org/name"
LabelKey = Annotated[str, Text(r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,316}$", 317, LABEL_KEY_ALLOWED)]
AnnotationValue = Annotated[
    str, Text(r"^[\s\S]*$", 1024, "a text of at most 1024 characters, in quotes")
]


def _cron_field(number: str) -> str:
    """Build the pattern of one field of a schedule: lists of *, N, N-M, each perhaps with /STEP."""
    item = rf"(\*|({number})(-({number}))?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


CronSchedule = Annotated[
    str,
    Text(
        "^"
        + " ".join(
            map(
                _cron_field,
                (
                    "[1-5]?[0-9]",
                    "1?[0-9]|2[0-3]",
                    "[1-9]|[12][0-9]|3[01]",
                    "[1-9]|1[0-2]",
                    "[0-6]",
                ),
            )
        )
        + "$",
        100,
        'five cron fields of numbers, one space between, such as "0 * * * *" for every full hour',
    ),
]

Switch = Annotated[bool, Strict()]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
# API servers read bounds as floats, and refuse a CRD with one that a float cannot hold.
Generation = Annotated[int, Strict(), Field(ge=0, le=2**53)]
Count = Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)]
Height = Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)]
ShortText = Annotated[str, Text(r"^[\s\S]*$", 256, "at most 256 characters")]
"""A text of a status."""
