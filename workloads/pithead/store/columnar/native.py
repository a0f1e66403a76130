"""ClickHouse's Native format: blocks of columns, to and from numpy. Pure.

A block is varint(columns), varint(rows), then for each column its name and type as
varint-length text and its values: numbers as raw little-endian bytes, text each with
its length before it. (The format of `FORMAT Native` without a client revision.)
"""

import re
from collections.abc import Mapping

import numpy as np

from pithead.store.columnar.door import Answer, Column, length_of

TYPES = {
    "UInt8": "<u1",
    "UInt16": "<u2",
    "UInt32": "<u4",
    "UInt64": "<u8",
    "Int8": "<i1",
    "Int16": "<i2",
    "Int32": "<i4",
    "Int64": "<i8",
    "Float64": "<f8",
}
"""numpy's names of the types that pass the door, beside String."""
_SIMPLE = re.compile(r"SimpleAggregateFunction\(\w+, (.+)\)")
NAMES = {np.dtype(code): name for name, code in TYPES.items()}


def encode(columns: Mapping[str, Column]) -> bytes:
    """One block of all rows; types are those of the arrays, text is String."""
    parts = [_varint(len(columns)), _varint(length_of(columns))]
    for name, column in columns.items():
        parts.append(_text(name))
        if isinstance(column, np.ndarray):
            parts += (_text(NAMES[column.dtype]), column.tobytes())
        else:
            parts.append(_text("String"))
            parts += [_text(value) for value in column]
    return b"".join(parts)


def decode(data: bytes | memoryview) -> Answer:
    """Rows of all blocks together. TypeError for a type that does not pass the door."""
    view = memoryview(data)
    position = 0
    names: tuple[str, ...] = ()
    blocks: list[list[Column]] = []
    while position < len(view):
        count, position = _read_varint(view, position)
        rows, position = _read_varint(view, position)
        found, block = [], []
        for _ in range(count):
            name, position = _read_text(view, position)
            kind, position = _read_text(view, position)
            column, position = _read_column(view, position, name, kind, rows)
            found.append(name)
            block.append(column)
        names = tuple(found)
        blocks.append(block)
    return Answer(names, tuple(joined(list(parts)) for parts in zip(*blocks, strict=True)))


def joined(parts: list[Column]) -> Column:
    """One column of the parts that came one after the other."""
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if arrays:
        return np.concatenate(arrays)
    return [value for part in parts for value in part]


def plain(kind: str) -> str:
    """The type of a value: `max` over SimpleAggregateFunction(max, T) is of that type too."""
    found = _SIMPLE.fullmatch(kind)
    return found[1] if found else kind


def _read_column(
    view: memoryview, position: int, name: str, kind: str, rows: int
) -> tuple[Column, int]:
    kind = plain(kind)
    if kind in TYPES:
        dtype = np.dtype(TYPES[kind])
        end = position + rows * dtype.itemsize
        return np.frombuffer(view[position:end], dtype), end
    if kind != "String":
        raise TypeError(f"column {name} is {kind}; ask for integers, Float64 or String")
    values = []
    for _ in range(rows):
        value, position = _read_text(view, position)
        values.append(value)
    return values, position


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(value: str) -> bytes:
    data = value.encode()
    return _varint(len(data)) + data


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _read_text(view: memoryview, position: int) -> tuple[str, int]:
    size, position = _read_varint(view, position)
    return str(view[position : position + size], "utf-8", "replace"), position + size
