"""Answers for what a change of a spec costs: which fields differ and of which kind each is.

A field marked with a `Change` is compared as a whole; an unmarked one is a
structure that is gone into. A structure that is marked and whose fields are
marked too is gone into when both specs have it; its own mark is the cost of
giving or removing it. Lists with a key are matched by it: what both have is
gone into, what only one has is a change of the list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from pithead.manifests.base import Path, Shape
from pithead.manifests.fields import Change, OnlyGrows, Runtime


@dataclass(frozen=True)
class FieldChange:
    """One field that differs between two specs."""

    path: Path
    change: Change
    old: object
    new: object


def change_of(field: FieldInfo) -> Change | None:
    """The mark of a field, or None when it is a structure that is gone into."""
    return next((each for each in field.metadata if isinstance(each, Change)), None)


def runtime_of(field: FieldInfo) -> Runtime | None:
    """The only runtime that reads a field, or None when both do."""
    return next((each for each in field.metadata if isinstance(each, Runtime)), None)


def only_grows(field: FieldInfo) -> bool:
    """Whether a number may be raised and never lowered."""
    return any(isinstance(each, OnlyGrows) for each in field.metadata)


def shape_of(field: FieldInfo) -> type[Shape] | None:
    """The structure that a field holds, alone or optional; None for anything else."""
    candidates = (field.annotation, *get_args(field.annotation))
    if getattr(field.annotation, "__origin__", None) is tuple:
        return None
    return next(
        (each for each in candidates if isinstance(each, type) and issubclass(each, Shape)), None
    )


def item_of(field: FieldInfo) -> type[Shape] | None:
    """The structure that a list's items have; None when the field is no list of structures."""
    if getattr(field.annotation, "__origin__", None) is not tuple:
        return None
    item = get_args(field.annotation)[0]
    return item if isinstance(item, type) and issubclass(item, Shape) else None


def changes(old: Shape, new: Shape) -> tuple[FieldChange, ...]:
    """All differences between two specs of one kind, in the order of the fields."""
    return tuple(_changes(old, new, ()))


def refused_changes(old: Shape, new: Shape) -> tuple[FieldChange, ...]:
    """The differences that are not allowed: the changes of immutable fields."""
    return tuple(each for each in changes(old, new) if each.change is Change.IMMUTABLE)


def _changes(old: Shape, new: Shape, path: Path) -> Iterator[FieldChange]:
    for name, field in type(old).model_fields.items():
        here = (*path, field.alias or name)
        before, after = getattr(old, name), getattr(new, name)
        mark = change_of(field)
        item = item_of(field)
        if before == after:
            continue
        shape = shape_of(field)
        if mark is not None and item is not None and item.LIST_KEY:
            yield from _list_changes(before, after, here, mark, item.LIST_KEY)
        elif shape is not None and before and after and has_marks(shape):
            yield from _changes(before, after, here)
        elif mark is not None:
            lowered = only_grows(field) and after < before
            yield FieldChange(here, Change.IMMUTABLE if lowered else mark, before, after)
        else:
            if shape is None:
                raise TypeError(f"{type(old).__name__}.{name} is neither marked nor a structure")
            # An absent structure stands for its defaults.
            yield from _changes(before or shape(), after or shape(), here)


def has_marks(shape: type[Shape]) -> bool:
    """Whether fields of a structure are marked themselves."""
    return any(change_of(field) for field in shape.model_fields.values())


def _list_changes(
    old: tuple[Any, ...], new: tuple[Any, ...], path: Path, mark: Change, key: str
) -> Iterator[FieldChange]:
    before = {getattr(item, key): item for item in old}
    after = {getattr(item, key): item for item in new}
    if list(before) != list(after):
        yield FieldChange(path, mark, tuple(before), tuple(after))
    for value, item in before.items():
        if value in after:
            yield from _changes(item, after[value], (*path, value))
