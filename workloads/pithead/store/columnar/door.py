"""The protocol of a columnar database, what may go through it, and what can go wrong. Pure.

Columns go in and come out as numpy integers and floats, or lists of text. Times are
unsigned seconds (`DateTime('UTC')` takes and `toUInt32()` gives them), sums wider than 64
bits are asked for as text. So both implementations agree to the bit.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[Any] | list[str]
"""Integers of any width, floats of 64 bits, or text."""

Param: TypeAlias = int | float | str | Sequence[int] | Sequence[str]
Params: TypeAlias = Mapping[str, Param]

TOKENS_SINCE = (22, 8)
"""Release from which a repeated insert with the same token changes nothing, in views as well."""

QUERY_LIMIT_S = 30
"""After this long the database gives a question up."""

_PLACE = re.compile(r"\{(\w+)\}")


class Server(NamedTuple):
    """What a database is able to do, by its release."""

    major: int
    minor: int

    @classmethod
    def of(cls, version: str) -> "Server":
        """Read the text of `SELECT version()`."""
        major, minor, *_ = version.split(".")
        return cls(int(major), int(minor))

    @property
    def modern(self) -> bool:
        """Whether it knows insert tokens, TTL, codecs and SimpleAggregateFunction."""
        return self >= TOKENS_SINCE


class ColumnarError(Exception):
    """Base of everything that a columnar database raises for a reason outside the program."""


class ColumnarAway(ColumnarError):
    """Raised when it cannot be reached, or is too busy: another try later may do."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {' '.join(reason.split())[:400]}")
        self.where = where


class ColumnarRefused(ColumnarError):
    """Raised when it refuses a statement; `code` is ClickHouse's, 0 where there is none."""

    def __init__(self, where: str, code: int, reason: str) -> None:
        super().__init__(f"{where}: refused with code {code}: {' '.join(reason.split())[:400]}")
        self.where = where
        self.code = code


class ColumnarMissing(ColumnarError):
    """Raised when the program for an embedded database is not installed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a question, as columns in the order asked for; no columns when no rows."""

    names: tuple[str, ...]
    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def __getitem__(self, name: str) -> Column:
        """A column by name; an empty one where there are no rows."""
        if not self.names:
            return []
        return self.columns[self.names.index(name)]

    def rows(self) -> list[tuple[Any, ...]]:
        """The same by row, as Python's own integers, floats and text."""
        return list(zip(*(listed(column) for column in self.columns), strict=True))


class Columnar(Protocol):
    """A database; any number of tasks may use it side by side."""

    @property
    def server(self) -> Server:
        """What it is able to do."""
        ...

    async def command(self, text: str, params: Params | None = None) -> None:
        """Run a statement that answers nothing: DDL, or INSERT .. SELECT."""
        ...

    async def insert(self, table: str, columns: Mapping[str, Column], *, token: str = "") -> None:
        """Insert rows given as columns of equal length; nothing for none.

        On a modern server a repeat with the same token changes nothing, neither in the
        table nor in what its views feed. Elsewhere the token has no effect.
        """
        ...

    async def query(
        self,
        text: str,
        params: Params | None = None,
        *,
        limit_s: int = QUERY_LIMIT_S,
        threads: int = 0,
    ) -> Answer:
        """Ask; `{name}` in the text stands for a parameter, written as a literal.

        Result columns are integers, Float64 or String; anything else is a TypeError.
        `threads` bounds what the database uses for it; 0 is all cores, and one thread
        costs less where little is read.
        """
        ...

    async def close(self) -> None:
        """Give everything back; a second call does nothing."""
        ...


def listed(column: Column) -> list[Any]:
    """A column as a list of Python's own values."""
    return column.tolist() if isinstance(column, np.ndarray) else column


def bound(text: str, params: Params | None) -> str:
    """Put parameters into a statement as literals; KeyError for one that is not given."""
    if params is None:
        return text
    return _PLACE.sub(lambda found: literal(params[found[1]]), text)


def literal(value: Param) -> str:
    """SQL text of a value. A text can not end its own quotes, whatever is in it."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
        return f"'{escaped}'"
    if isinstance(value, int | float):
        return repr(value)
    return f"({', '.join(literal(each) for each in value)})"


def length_of(columns: Mapping[str, Column]) -> int:
    """Rows that the columns hold; ValueError when they differ."""
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns of different lengths: {sorted(lengths)}")
    return lengths.pop() if lengths else 0
