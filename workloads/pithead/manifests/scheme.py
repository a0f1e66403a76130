"""Answers for the RewardScheme kind, and for the canonical text of what changes money.

A revision is the SHA-256 of the canonical parameters: JSON with sorted keys,
no white space, integers and strings only, so that every reader on every
platform gets the same bytes. For PPLNS:

    {"fee_ppm":10000,"method":"PPLNS","window":{"factor_ppm":2000000}}
    {"fee_ppm":10000,"method":"PPLNS","window":{"weight":"200000"}}

`fee_ppm` is the pool's fee in parts per million of a block's value;
`factor_ppm` is N of W = N x expected hashes at the block's bits, in parts per
million; `weight` is an absolute W. Names, labels and everything else that does
not change money stay out.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pithead.manifests.amounts import ppm_of_factor, ppm_of_percent
from pithead.manifests.base import API_VERSION, Metadata, Path, Rule, Shape
from pithead.manifests.conditions import Conditions
from pithead.manifests.fields import (
    Change,
    Count,
    Factor,
    Generation,
    Height,
    Name,
    Percent,
    PoolId,
    ShortText,
    Text,
    Weight,
)


class Window(Shape):
    """How far a PPLNS window reaches back: networkFactor or weight."""

    network_factor: Annotated[Factor | None, Change.LIVE] = None
    """N: the window holds N times the expected hashes of one block."""
    weight: Annotated[Weight | None, Change.LIVE] = None
    """The window's whole weight (expected hashes >> the coin's shift), for test chains."""

    @staticmethod
    def _not_one(window: "Window") -> Iterator[Path]:
        if (window.network_factor is None) == (window.weight is None):
            yield ()

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.networkFactor) != has(self.weight)",
            "exactly one of networkFactor and weight is given",
            "",
            _not_one,
        ),
    )


class Pplns(Shape):
    """Pay per last N shares: a block is shared over the window of work before it."""

    window: Window
    """How far the window reaches back."""


class RewardSchemeSpec(Shape):
    """How a block's value is split. Each change of a parameter makes a new revision."""

    LATER = frozenset(
        {"findersBonus", "reserve", "shadow", "pps", "fpps", "ppsPlus", "prop", "solo"}
    )

    method: Annotated[Literal["PPLNS"], Change.IMMUTABLE]
    """Method of the split."""
    fee_percent: Annotated[Percent, Change.LIVE]
    """The pool's part of each block, in percent, with up to four places."""
    pplns: Annotated[Pplns | None, Change.LIVE] = None
    """Parameters of PPLNS."""

    @staticmethod
    def _wrong_member(spec: "RewardSchemeSpec") -> Iterator[Path]:
        if (spec.method == "PPLNS") != (spec.pplns is not None):
            yield ("pplns",)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.method == 'PPLNS') == has(self.pplns)",
            "the parameters of the method are missing; method PPLNS takes pplns",
            "pplns",
            _wrong_member,
        ),
    )


RevisionName = Annotated[str, Text(r"^[0-9a-f]{64}$", 64, "64 hexadecimal digits")]


class RevisionUse(Shape):
    """A pool in which a revision holds."""

    LIST_KEY = "pool"

    pool: PoolId
    """poolId of the pool."""
    slot: Count
    """Slot of the scheme in this pool; blocks show it."""
    effective_height: Height
    """Height from which the revision holds."""


class RevisionStatus(Shape):
    """A revision of the scheme."""

    LIST_KEY = "revision"

    revision: RevisionName
    """SHA-256 of its parameters."""
    parameters: Annotated[str, Text(r"^[\s\S]*$", 1024, "at most 1024 characters")] = ""
    """Its parameters, as canonical JSON."""
    used_by: Annotated[tuple[RevisionUse, ...], Field(max_length=64)] = ()
    """Pools in which it holds."""


class RewardSchemeStatus(Shape):
    """What was last observed."""

    observed_generation: Generation = 0
    """Generation of the spec that was observed."""
    revision: RevisionName | None = None
    """Revision of the observed parameters."""
    users: ShortText = ""
    """Names of the MiningPools that offer the scheme, in one line."""
    used_by: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    """Names of the MiningPools that offer the scheme."""
    revisions: Annotated[tuple[RevisionStatus, ...], Field(max_length=32)] = ()
    """The newest revisions, and where each holds."""
    conditions: Conditions = ()
    """Ready, Reconciling, Stalled."""


class RewardScheme(Shape):
    """A way to split block rewards: method, fee and window."""

    api_version: Literal["pithead.dev/v1alpha1"] = API_VERSION
    """pithead.dev/v1alpha1."""
    kind: Literal["RewardScheme"] = "RewardScheme"
    """RewardScheme."""
    metadata: Metadata
    """Name and namespace."""
    spec: RewardSchemeSpec
    """What is wanted."""
    status: RewardSchemeStatus | None = None
    """What was last observed; written by Pithead."""


def canonical_parameters(scheme: RewardScheme) -> str:
    """All of `scheme` that changes money, as canonical JSON (see the module's docstring)."""
    spec = scheme.spec
    parameters: dict[str, Any] = {
        "method": spec.method,
        "fee_ppm": ppm_of_percent(spec.fee_percent),
    }
    if spec.pplns is not None:
        window = spec.pplns.window
        if window.weight is not None:
            parameters["window"] = {"weight": window.weight}
        elif window.network_factor is not None:
            parameters["window"] = {"factor_ppm": ppm_of_factor(window.network_factor)}
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def revision_of(parameters: str) -> str:
    """Hex SHA-256 of canonical parameters: the name of the revision."""
    return hashlib.sha256(parameters.encode()).hexdigest()
