"""Answers for reading YAML with positions: text in, plain values and the line of each out.

YAML is read as the Kubernetes tools read it (version 1.1: a bare `Off` is
false), but strictly: a key given twice, a tag, a merge key or a value that is
no string, number, boolean, list or mapping is a problem, not a guess. Depth and
size are bounded before anything is built, and an alias counts as all that it
stands for, so a small file cannot become a large one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from pithead.manifests.base import Path
from pithead.manifests.errors import Problem, cut, shown

FILE_BYTES_MAX = 1024 * 1024
"""As much as Kubernetes stores of one object (etcd's request limit is 1.5 MiB)."""
DEPTH_MAX = 32
"""Our deepest field lies at 8; objects read back from a server carry deeper metadata."""
NODES_MAX = 50_000
"""Values of one file, aliases expanded: some hundred pools."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEX = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_OCTAL = re.compile(r"[-+]?0o?[0-7]+")
_FLOAT = re.compile(
    r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
DIGITS_MAX = 100
"""Digits of a number; longer ones only cost time."""


@dataclass(frozen=True)
class Document:
    """One YAML document: its value, and where each part of it stands."""

    file: str
    value: Any
    lines: dict[Path, int]
    """Line of each part: of its key in a mapping, of the item in a list."""
    texts: dict[Path, str]
    """How a value that YAML does not read as a text was written."""

    def line(self, path: Path) -> int:
        """Line of `path`, or of the nearest part around it that exists."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class _Loader(yaml.SafeLoader):
    """Resolves nothing: which plain scalars are numbers is decided here."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the base class's own form


class _Refused(Exception):
    """Carries a problem out of the recursion."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message
        super().__init__(message)


@dataclass
class _Builder:
    """Builds plain values from one file's nodes within a common bound."""

    file: str
    nodes_left: int = NODES_MAX
    problems: list[Problem] = field(default_factory=list)

    def document(self, root: yaml.Node) -> Document:
        lines: dict[Path, int] = {(): root.start_mark.line + 1}
        document = Document(self.file, None, lines, {})
        value = self._value(root, (), document)
        return Document(self.file, value, lines, document.texts)

    def _value(self, node: yaml.Node, path: Path, document: Document) -> Any:
        line = node.start_mark.line + 1
        self.nodes_left -= 1
        if self.nodes_left < 0:
            raise _Refused(line, f"the file holds more than {NODES_MAX} values; split it")
        if len(path) > DEPTH_MAX:
            raise _Refused(line, f"nested deeper than {DEPTH_MAX} levels")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, document)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                document.lines[(*path, index)] = item.start_mark.line + 1
                items.append(self._value(item, (*path, index), document))
            return items
        if not isinstance(node, yaml.ScalarNode):
            raise TypeError(f"{type(node).__name__} is no YAML node")
        value = _scalar(node)
        if not isinstance(value, str):
            document.texts[path] = node.value
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else key_node
            if not isinstance(key, str):
                what = shown(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "this"
                self._problem(line, f"{what} is no text; keys are texts, in quotes where needed")
                continue
            if key == "<<" and key_node.style is None:
                self._problem(line, "merge keys (<<) are not read; write the fields out")
                continue
            if key in found:
                first = document.lines[(*path, key)]
                self._problem(line, f"{shown(key)} is given twice; the first is in line {first}")
                continue
            document.lines[(*path, key)] = line
            found[key] = self._value(value_node, (*path, key), document)
        return found

    def _problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, "", "", message))


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text: str = node.value
    if node.style is not None:
        return text
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) > DIGITS_MAX:
        return text
    for pattern, convert in _NUMBERS:
        if pattern.fullmatch(text):
            return convert(text)
    return text


_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
    (_INT, int),
    (_HEX, lambda text: int(text, 16)),
    (_OCTAL, lambda text: int(text.replace("o", ""), 8)),
    (_FLOAT, lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan").lower())),
)


def read_documents(content: bytes, file: str) -> tuple[list[Document], list[Problem]]:
    """Read all documents of one file; empty ones are left out.

    Never raises for bad content: a file that is not YAML or beyond a bound has
    no documents and a problem that says where.
    """
    if len(content) > FILE_BYTES_MAX:
        return [], [Problem(file, 0, "", "", f"larger than {FILE_BYTES_MAX} bytes; split the file")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [], [Problem(file, line, "", "", "not UTF-8 text; save the file as UTF-8")]
    builder = _Builder(file)
    try:
        _check_events(text)
        documents = [builder.document(root) for root in yaml.compose_all(text, Loader=_Loader)]
    except yaml.MarkedYAMLError as error:
        return [], [_syntax_problem(file, error)]
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character {error.character:#x} is not allowed in YAML; remove it"
        return [], [Problem(file, line, "", "", message)]
    except _Refused as error:
        return [], [Problem(file, error.line, "", "", error.message)]
    return [each for each in documents if each.value is not None], builder.problems


def _check_events(text: str) -> None:
    """Bound depth and refuse tags before the composer, which recurses, sees the text."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if count > 2 * NODES_MAX:
            raise _Refused(line, f"the file holds more than {NODES_MAX} values; split it")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            raise _Refused(line, f"nested deeper than {DEPTH_MAX} levels")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _Refused(line, f"the tag {cut(str(tag))} is not read; write the plain value")


def _syntax_problem(file: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(file, mark.line + 1 if mark else 0, "", "", f"not YAML: {said}")
