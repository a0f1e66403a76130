"""Answers for what a reader of manifests is told: where, which object, which field, what to do.

Each problem prints as one line:

    file:line: kind/name: spec.path: what is wrong and what is allowed

Text that came from a manifest is cut and escaped before it is shown; values of
Secrets are never shown.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pithead.manifests.base import Path

SHOWN_LENGTH_MAX = 60
"""Long enough to recognise a value, short enough for one line."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a manifest."""

    file: str
    line: int
    """Counted from 1; 0 when the file as a whole is meant."""
    object: str
    """kind/name, or empty when no object is meant."""
    path: str
    """Field, such as spec.listeners[0].port, or empty when the object as a whole is meant."""
    message: str
    reason: str = "Invalid"
    """One CamelCase word for programs; becomes the reason of a condition in a cluster."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.object, self.path, self.message) if part)


class ManifestErrors(Exception):
    """Raised when manifests cannot be used; carries every problem that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def cut(text: str) -> str:
    """Shorten foreign text to one readable piece, with what does not print written out."""
    start = text[: SHOWN_LENGTH_MAX + 1]
    text = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in start)
    return text if len(text) <= SHOWN_LENGTH_MAX else text[: SHOWN_LENGTH_MAX - 3] + "..."


def shown(value: Any) -> str:
    """A value from a manifest as an error quotes it: escaped, cut, never a whole structure."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "an empty value"
    return cut(json.dumps(value, ensure_ascii=False))


def path_text(path: Path) -> str:
    """A path as people write it: spec.listeners[0].port."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}"
        else:
            text += f"[{cut(json.dumps(part, ensure_ascii=False)[1:-1])}]"
    return text.removeprefix(".")
