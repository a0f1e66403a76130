"""Answers for what all manifest models share: strictness, metadata, rules over several fields.

A `Rule` holds one condition twice: as CEL for the API server and as Python for
everybody else. Its Python form returns the places that break it, so an error
points at the guilty item and not at the whole object. Keyed lists (a model
with `LIST_KEY`) are unique by that key on both sides, lists of texts are sets.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from pithead.manifests.fields import Generation, LabelKey, Name, SecretName, Text

GROUP = "pithead.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "pithead.dev/v1alpha1"

Path = tuple[str | int, ...]
"""Where in an object: keys as YAML spells them, and indices."""


@dataclass(frozen=True)
class Rule:
    """A condition over several fields of one object, in both languages."""

    cel: str
    """Holds when true; `self` is the object."""
    message: str
    """What is wrong and what is allowed."""
    field: str
    """The field that the API server names in its answer; dots lead into structures."""
    broken: Callable[[Any], Iterable[Path]]
    """The places that break the rule; none when it holds."""


class Shape(BaseModel):
    """Base of every structure in a manifest: camelCase in YAML, frozen, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_alias=True,
        # For callers in Python only; the loader validates by alias alone.
        validate_by_name=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    LIST_KEY: ClassVar[str] = ""
    """The field by which a list of these is keyed."""
    LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields that the design names and this release does not honour yet."""

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        """Raise one error that carries every broken rule, each with its place."""
        problems = [(path, rule.message) for rule in type(self).RULES for path in rule.broken(self)]
        problems += self._repeated_keys()
        if problems:
            raise PydanticCustomError(
                "rules",
                "{text}",
                {"text": "; ".join(text for _, text in problems), "problems": problems},
            )
        return self

    def _repeated_keys(self) -> list[tuple[Path, str]]:
        problems: list[tuple[Path, str]] = []
        for name, field in type(self).model_fields.items():
            items = getattr(self, name)
            if not isinstance(items, tuple) or not items:
                continue
            key = type(items[0]).LIST_KEY if isinstance(items[0], Shape) else ""
            seen: set[object] = set()
            for index, item in enumerate(items):
                value = getattr(item, key) if key else item
                if value in seen:
                    where: Path = (field.alias or name, index)
                    where = (*where, key) if key else where
                    what = f"each {key} is given once" if key else "each is given once"
                    problems.append((where, f"{value} appears twice; {what}"))
                seen.add(value)
        return problems


class Reference(Shape):
    """A reference to an object of the same namespace."""

    name: Name
    """Name of the object."""


class SecretReference(Shape):
    """A Secret of the same namespace; which keys it holds stands at the field that refers to it."""

    name: SecretName
    """Name of the Secret."""


class Metadata(Shape):
    """The metadata of an object, as far as Pithead reads it."""

    name: Name
    """Name of the object, unique in its kind and namespace."""
    namespace: Annotated[
        str,
        Text(
            r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            63,
            "1 to 63 lower-case letters, digits and inner hyphens",
        ),
    ] = "default"
    """Namespace; references stay inside it."""
    labels: dict[LabelKey, str] = Field(default_factory=dict)
    """Labels; Pithead does not read them."""
    annotations: dict[LabelKey, str] = Field(default_factory=dict)
    """Annotations; Pithead reads those under pithead.dev/."""
    generation: Generation = 0
    """Generation of the spec, given by the API server."""


SERVER_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
"""What the API server adds to objects that were read back; accepted and not read."""
