"""Answers for one document: which kind it is, whether it is valid, and each thing that is not.

Pydantic finds what is wrong; the sentences are made here, from the schema at
the place of the error, so that each says what is allowed. Values of Secrets are
never quoted.
"""

import base64
import binascii
import difflib
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NoReturn

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from pithead.manifests.base import API_VERSION, GROUP, SERVER_METADATA, Metadata, Path, Shape
from pithead.manifests.crds import schema_of
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.errors import Problem, cut, path_text, shown
from pithead.manifests.fields import ALLOWED, LABEL_KEY_ALLOWED, SecretName
from pithead.manifests.objects import Located, Objects, SecretValues
from pithead.manifests.pool import MiningPool
from pithead.manifests.scheme import RewardScheme
from pithead.manifests.source import Document

KINDS: dict[str, type[Shape]] = {
    "MiningPool": MiningPool,
    "CoinEndpoint": CoinEndpoint,
    "RewardScheme": RewardScheme,
}
READ_KINDS = f"MiningPool, CoinEndpoint and RewardScheme of {API_VERSION}, and Secret of v1"

SECRET_VALUE_LENGTH_MAX = 1024


class SecretMetadata(Metadata):
    """Metadata of a Secret, whose name may be longer than ours."""

    name: SecretName
    """Name of the Secret."""


class Secret(Shape):
    """A Kubernetes Secret as far as credentials need it; it never gets a CRD of ours."""

    api_version: Literal["v1"]
    """v1."""
    kind: Literal["Secret"]
    """Secret."""
    metadata: SecretMetadata
    """Name and namespace."""
    type: str = "Opaque"
    """Type of the Secret; not read."""
    immutable: bool = False
    """Not read."""
    string_data: dict[str, str] = Field(default_factory=dict)
    """Texts by key."""
    data: dict[str, str] = Field(default_factory=dict)
    """Texts in base64 by key."""


# Made once: an operator reads hundreds of objects again and again.
_schema_of = cache(schema_of)


class _Reporter:
    """Collects the problems of one document."""

    def __init__(self, document: Document, label: str, shape: type[Shape]) -> None:
        self.document = document
        self.label = label
        self.schema = _schema_of(shape)
        self.secret = shape is Secret
        self.problems: dict[Path, list[Problem]] = {}

    def add(self, path: Path, message: str) -> None:
        line = self.document.line(path)
        problem = Problem(self.document.file, line, self.label, path_text(path), message)
        self.problems.setdefault(path, []).append(problem)

    def add_error(self, error: ErrorDetails) -> None:
        """Turn one pydantic error into problems."""
        path = tuple(part for part in error["loc"] if part != "[key]")
        if path in self.problems:
            return  # An empty value was reported there already.
        if path != error["loc"]:
            self.add(path, f"is not allowed here; expected {LABEL_KEY_ALLOWED}")
        elif error["type"] == "rules":
            for inner, message in error["ctx"]["problems"]:
                self.add((*path, *inner), message)
        elif error["type"] == "extra_forbidden":
            self.add(path, self._unknown(path))
        elif error["type"] in ("too_short", "too_long"):
            self._check_length(path, error["input"])
        elif error["type"] == "missing":
            self.add(path, f"is missing; expected {self._expected(path)}")
        else:
            self.add(path, self._wrong(path, error["input"]))

    def _check_length(self, path: Path, items: Any) -> None:
        # Pydantic counts the valid entries only; the others have errors of their own.
        node = _schema_at(self.schema, path)
        if not node.get("minItems", 0) <= len(items) <= _most(node):
            self.add(path, f"holds {len(items)} entries; expected {expected_text(node)}")

    def _wrong(self, path: Path, value: Any) -> str:
        node = _schema_at(self.schema, path)
        expected = self._expected(path)
        if self.secret:
            return f"the value is not allowed (it is not shown); expected {expected}"
        written = self.document.texts.get(path)
        if written is not None and value is not None and _fits(node, written):
            return (
                f"YAML reads {cut(written)} as {_yaml_kind(value)}; expected {expected}: "
                f'write "{cut(written)}" in quotes'
            )
        if isinstance(value, str) and node.get("type") in ("integer", "boolean"):
            expected += ", without quotes"
        return f"{shown(value)} is not allowed; expected {expected}"

    def _unknown(self, path: Path) -> str:
        node = _schema_at(self.schema, path[:-1])
        known = list(node.get("properties", {}))
        name = str(path[-1])
        if name in _later(self.label, path[:-1]):
            return "is not supported by this release; remove it"
        hint = _meant(name.replace("_", ""), known)
        return f"is not a field here; {hint}expected one of {', '.join(known)}"

    def _expected(self, path: Path) -> str:
        return expected_text(_schema_at(self.schema, path))


def _meant(word: str, known: Sequence[str]) -> str:
    """Ask for the known word that is nearest, whatever its case; empty when none is near."""
    close = difflib.get_close_matches(word.lower(), [each.lower() for each in known], 1)
    return next((f"did you mean {each}? " for each in known if [each.lower()] == close), "")


def expected_text(node: dict[str, Any]) -> str:
    """What a schema node allows, as the end of a sentence."""
    if ALLOWED in node:
        return str(node[ALLOWED])
    if "enum" in node:
        values = [str(value) for value in node["enum"]]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    kind = node.get("type")
    if kind == "integer":
        return f"a whole number from {node['minimum']} to {node['maximum']}"
    if kind == "array":
        each = f", each {expected_text(node['items'])}" if ALLOWED in node["items"] else ""
        return f"a list of {node.get('minItems', 0)} to {_most(node)} entries{each}"
    if kind == "object" and "maxProperties" in node:
        return f"a mapping of at most {_most(node)} texts"
    if kind == "object" and "properties" in node:
        return f"a mapping with {', '.join(node['properties'])}"
    return {
        "boolean": "true or false",
        "object": "a mapping of texts",
        "string": "a text (in quotes when it looks like a number)",
    }.get(str(kind), "another value")


def _most(node: dict[str, Any]) -> int:
    most: int = node.get("maxItems", node.get("maxProperties", 0))
    return most


def _schema_at(node: dict[str, Any], path: Path) -> dict[str, Any]:
    for part in path:
        if isinstance(part, int):
            node = node.get("items", {})
        elif "properties" in node:
            node = node["properties"].get(part, {})
        else:
            patterns = node.get("patternProperties", {})
            node = next(iter(patterns.values()), node.get("additionalProperties", {}))
        if not isinstance(node, dict):
            return {}
    return node


def _fits(node: dict[str, Any], text: str) -> bool:
    if "enum" in node:
        return text in node["enum"]
    if "pattern" in node:
        fits = len(text) <= node["maxLength"] and re.fullmatch(node["pattern"], text)
        return fits is not None and fits is not False
    return node.get("type") == "string"


def _yaml_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a number"


def _later(label: str, path: Path) -> frozenset[str]:
    """Fields of later releases at `path` of a kind."""
    shape: type[Shape] | None = KINDS.get(label.partition("/")[0])
    for part in path:
        if shape is None:
            break
        if isinstance(part, str):
            shape = _SHAPES.get((shape, part))
    return shape.LATER if shape is not None else frozenset()


def _shapes() -> dict[tuple[type[Shape], str], type[Shape]]:
    from pithead.manifests.changes import item_of, shape_of  # noqa: PLC0415

    found: dict[tuple[type[Shape], str], type[Shape]] = {}
    waiting: list[type[Shape]] = list(KINDS.values())
    while waiting:
        shape = waiting.pop()
        for name, field in shape.model_fields.items():
            inner = shape_of(field) or item_of(field)
            if inner is not None:
                found[shape, field.alias or name] = inner
                waiting.append(inner)
    return found


_SHAPES = _shapes()


def read_object(document: Document, objects: Objects, problems: list[Problem]) -> None:
    """Validate one document into `objects`, or add what is wrong with it to `problems`."""
    value = document.value
    if not isinstance(value, dict):
        problems.append(
            Problem(
                document.file,
                document.line(()),
                "",
                "",
                f"a manifest is a mapping, not {shown(value)}",
            )
        )
        return
    kind, version = value.get("kind"), value.get("apiVersion")
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    label = f"{_word(kind)}/{_word(name)}"
    shape = _shape_for(kind, version)
    if shape is None:
        path, message = _unread(kind, version)
        problems.append(
            Problem(document.file, document.line(path), label, path_text(path), message)
        )
        return
    objects.named.add((str(kind), str(name)))
    report = _Reporter(document, label, shape)
    if isinstance(metadata, dict):
        value = value | {"metadata": _own_metadata(metadata)}
    if version is None:
        report.add(("apiVersion",), f"is missing; expected {API_VERSION}")
    _report_empty(value.get("spec"), ("spec",), report)
    model = None
    try:
        model = shape.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            report.add_error(detail)
    secret = _secret_values(model, report) if isinstance(model, Secret) else None
    if report.problems:
        problems.extend(each for found in report.problems.values() for each in found)
    elif model is not None:
        _place(model, secret, document, label, objects)


def _place(
    model: Shape, secret: SecretValues | None, document: Document, label: str, objects: Objects
) -> None:
    match model:
        case MiningPool():
            objects.pools.append(_located(model, model.metadata, document, label))
        case CoinEndpoint():
            objects.endpoints.append(_located(model, model.metadata, document, label))
        case RewardScheme():
            objects.schemes.append(_located(model, model.metadata, document, label))
        case Secret() if secret is not None:
            objects.secrets.append(_located(secret, model.metadata, document, label))
        case _:
            _unreachable(model)


def _unreachable(model: Shape) -> NoReturn:
    raise TypeError(f"{type(model).__name__} is no kind that is read")


def _located(value: Any, metadata: Metadata, document: Document, label: str) -> Located[Any]:
    return Located(value, document, label, metadata.namespace, metadata.name)


def _word(value: Any) -> str:
    return cut(value) if isinstance(value, str) and value.isprintable() and value else "?"


def _shape_for(kind: Any, version: Any) -> type[Shape] | None:
    if not isinstance(kind, str):
        return None
    # An apiVersion that was left out is reported as missing; kinds of ours are never others'.
    if kind in KINDS and (version is None or str(version).startswith(f"{GROUP}/")):
        return KINDS[kind]
    if kind == "Secret" and version in ("v1", None):
        return Secret
    return None


def _unread(kind: Any, version: Any) -> tuple[Path, str]:
    if not isinstance(kind, str):
        what = "is missing" if kind is None else f"{shown(kind)} is not a kind"
        return ("kind",), f"{what}; kinds that are read: {READ_KINDS}"
    if kind in (*KINDS, "Secret"):
        expected = "v1" if kind == "Secret" else API_VERSION
        return ("apiVersion",), f"{shown(version)} is not allowed; expected {expected}"
    hint = _meant(kind, (*KINDS, "Secret"))
    return ("kind",), f"{shown(kind)} is not read; {hint}kinds that are read: {READ_KINDS}"


def _own_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in SERVER_METADATA}


def _report_empty(value: Any, path: Path, report: _Reporter) -> None:
    """Report fields that are written without a value: the API server would not take them."""
    if value is None and path != ("spec",):
        report.add(path, "is empty; give a value or remove the line")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _report_empty(inner, (*path, key), report)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _report_empty(inner, (*path, index), report)


def _secret_values(secret: Secret, report: _Reporter) -> SecretValues:
    values: dict[str, str] = {}
    for key, encoded in secret.data.items():
        try:
            values[key] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            report.add(("data", key), "the value is not base64 of a text; use stringData for plain")
    # As the API server does, stringData wins over data.
    values |= secret.string_data
    for key in ("username", "password"):
        value = values.get(key)
        if value is None:
            continue
        where: Path = ("stringData" if key in secret.string_data else "data", key)
        if not value or len(value) > SECRET_VALUE_LENGTH_MAX or not value.isprintable():
            report.add(
                where, f"expected 1 to {SECRET_VALUE_LENGTH_MAX} printable characters in one line"
            )
        elif key == "username" and ":" in value:
            report.add(where, "a user name cannot hold a colon (HTTP basic authentication)")
    return SecretValues(secret.metadata.name, secret.metadata.namespace, values)
