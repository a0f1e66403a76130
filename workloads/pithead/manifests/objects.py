"""Answers for sets of manifests: objects with the place they come from, and what all of them mean.

`Objects` gathers what was read, valid or not, for the checks across objects.
`Manifests` is what is left when nothing is wrong: references resolve, names are
unique, and the runtime asks no further questions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pithead.manifests.base import Path, Shape
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.errors import Problem, path_text
from pithead.manifests.pool import DEMO_MINERS, MiningPool
from pithead.manifests.scheme import RewardScheme
from pithead.manifests.source import Document

ShapeT = TypeVar("ShapeT", bound=Shape)


@dataclass(frozen=True)
class Credentials:
    """User and password of a node, from a Secret."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class SecretValues:
    """The texts that a Secret holds, by key."""

    name: str
    namespace: str
    values: Mapping[str, str] = field(repr=False)


ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Located(Generic[ValueT]):
    """An object and where it stands."""

    value: ValueT
    document: Document
    label: str
    """kind/name."""
    namespace: str
    name: str

    def problem(self, path: Path, message: str, reason: str = "Invalid") -> Problem:
        """What is wrong at `path` of this object."""
        line = self.document.line(path)
        return Problem(self.document.file, line, self.label, path_text(path), message, reason)

    @property
    def place(self) -> str:
        """file:line of the object."""
        return f"{self.document.file}:{self.document.line(())}"

    @property
    def named(self) -> str:
        """The object as another one's problem names it, with its place when it is from a file."""
        return f"{self.label} ({self.place})" if self.document.file else self.label


@dataclass
class Objects:
    """All objects that were read, in the order of their documents."""

    pools: list[Located[MiningPool]] = field(default_factory=list)
    endpoints: list[Located[CoinEndpoint]] = field(default_factory=list)
    schemes: list[Located[RewardScheme]] = field(default_factory=list)
    secrets: list[Located[SecretValues]] = field(default_factory=list)
    named: set[tuple[str, str]] = field(default_factory=set)
    """Kind and name of every object, also of those that did not validate."""

    def manifests(self, namespace: str) -> "Manifests":
        """The objects as the runtime wants them; all checks have passed."""
        secrets = {each.name: each.value.values for each in self.secrets}
        used = {
            node.credentials_secret_ref.name
            for endpoint in self.endpoints
            for node in endpoint.value.spec.nodes
        }
        return Manifests(
            namespace=namespace,
            pools=tuple(sorted((p.value for p in self.pools), key=lambda p: p.metadata.name)),
            endpoints={each.name: each.value for each in self.endpoints},
            schemes={each.name: each.value for each in self.schemes},
            credentials={
                name: Credentials(secrets[name]["username"], secrets[name]["password"])
                for name in sorted(used)
            },
            secrets=secrets,
            places=self._places(),
        )

    def _places(self) -> dict[str, Located[Any]]:
        found: dict[str, Located[Any]] = {}
        found |= {each.label: each for each in self.pools}
        found |= {each.label: each for each in self.endpoints}
        found |= {each.label: each for each in self.schemes}
        return found


@dataclass(frozen=True)
class Manifests:
    """Checked manifests of one namespace."""

    namespace: str
    pools: tuple[MiningPool, ...]
    """Ordered by name."""
    endpoints: Mapping[str, CoinEndpoint]
    schemes: Mapping[str, RewardScheme]
    credentials: Mapping[str, Credentials]
    """Of nodes, by the name of their Secret."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """The texts of every Secret that was read, by its name and by key."""
    places: Mapping[str, Located[Any]] = field(default_factory=dict, repr=False, compare=False)
    """Where each object of ours stands, by kind/name, for problems that show only later."""

    def endpoint(self, pool: MiningPool) -> CoinEndpoint:
        """The CoinEndpoint that a pool mines on."""
        return self.endpoints[pool.spec.coin_endpoint_ref.name]

    def offered(self, pool: MiningPool) -> tuple[RewardScheme, ...]:
        """The RewardSchemes that a pool offers, in its order."""
        return tuple(self.schemes[each.name] for each in pool.spec.schemes)

    def used_endpoints(self) -> tuple[CoinEndpoint, ...]:
        """The CoinEndpoints that some pool mines on, by name."""
        names = {pool.spec.coin_endpoint_ref.name for pool in self.pools}
        return tuple(self.endpoints[name] for name in sorted(names))


DEMO_MINERS_MAX = 64


def demo_hashrates(pool: MiningPool) -> tuple[Decimal, ...]:
    """Hash rates of a pool's demo miners, hashes per second; none without the annotation.

    Raises ValueError, with a sentence, when the annotation is not a list of such numbers.
    """
    text = pool.metadata.annotations.get(DEMO_MINERS, "")
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > DEMO_MINERS_MAX:
        raise ValueError(f"{len(parts)} demo miners are given; at most {DEMO_MINERS_MAX} are run")
    rates = []
    for part in parts:
        whole, point, fraction = part.partition(".")
        digits = whole + fraction
        # Decimal would also take signs, exponents and other scripts' digits.
        plain = digits.isascii() and digits.isdigit() and len(digits) <= 18
        if not plain or (point and not fraction) or not whole or not Decimal(part):
            raise ValueError(
                "expected hashes per second of each demo miner, numbers above zero "
                'with commas between, such as "16000, 8000, 0.5"'
            )
        rates.append(Decimal(part))
    return tuple(rates)
