"""Answers for the field table of the three kinds, and the documentation page made of it.

One walk over the models lists every field of a spec with its bounds, default
and cost of change; the page and the tests both come from that list. Pure: it
returns a text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pithead.manifests.base import API_VERSION, Path, Shape
from pithead.manifests.changes import change_of, item_of, shape_of
from pithead.manifests.crds import KINDS, schema_of
from pithead.manifests.errors import path_text
from pithead.manifests.fields import Change
from pithead.manifests.validation import expected_text

INTRODUCTION = f"""# Manifests

A pool is described by objects of three kinds, `{API_VERSION}`, and by `v1` Secrets with the
credentials of coin nodes. `pithead up -f FILE|DIR` reads them from YAML files; the same files can
be applied to a cluster that has the definitions of `crds/`.

- Files end in `.yaml` or `.yml`; a file may hold several documents. Directories are read without
  their subdirectories. Numbers with a point stand in quotes (`"0.01"`), so that nothing is
  rounded on the way, and so does `"Off"`, which YAML would read as `false`.
- Every mistake is reported in one go, each as `file:line: kind/name: spec.path: what is wrong and
  what is allowed`. A field that is not listed here is a mistake, not ignored.
- References name objects of the same namespace.

## What a change costs

| change | meaning |
|---|---|
| live | No edge restarts; miners notice nothing. |
| rolling | Edges restart one after another; each miner moves once. |
| immutable | Refused: books or log depend on it. Make a new object instead. |

`pithead up` takes changes up when it is started again. It remembers what its data directory was
started with, and refuses immutable changes before it starts anything. A pool that was left out and
comes back goes on with the books of its poolId.
"""

RULES_TITLE = "Rules over several fields:"

ENDING = """## Canonical parameters of a RewardScheme

What changes money is written as canonical JSON: sorted keys, no white space, integers and strings
only. The SHA-256 of that text is the revision that splits name.

```json
{"fee_ppm":10000,"method":"PPLNS","window":{"factor_ppm":2000000}}
{"fee_ppm":10000,"method":"PPLNS","window":{"weight":"200000"}}
```

`fee_ppm` is the fee in parts per million of a block's value. `factor_ppm` is N in parts per
million, for a window of N x the expected hashes at the block's bits; `weight` is the window's
whole weight.

## Demo miners

The annotation `pithead.dev/demo-miners` of a MiningPool lists hashes per second, such as `"16000,
8000, 0.5"`. `pithead up` starts a built-in CPU miner for each; nothing else reads it.

## Secrets

A node's `credentialsSecretRef` names a Secret with the keys `username` and `password`, as
`stringData` or `data`. Its values never appear in errors.

## On one machine

`pithead up` adds what one machine needs: all objects in one namespace, one CoinEndpoint a chain,
one active region a pool, ports that do not clash, and equal `payouts` in pools that share a
CoinEndpoint, since one wallet pays them. The first of these pools by name bears the network fee
of payouts.
"""


@dataclass(frozen=True)
class Row:
    """One field of a spec."""

    kind: str
    path: str
    allowed: str
    default: str
    """`required`, `none`, or the value."""
    change: Change | None
    """None for a structure whose fields have marks of their own."""
    meaning: str


def rows(kind: type[Shape]) -> Iterator[Row]:
    """Every field of a kind's spec, in order."""
    spec = shape_of(kind.model_fields["spec"])
    if spec is None:
        raise TypeError(f"{kind.__name__} has no spec")
    yield from _rows(kind.__name__, spec, schema_of(spec), ("spec",), None)


def _rows(
    kind: str, shape: type[Shape], schema: dict[str, Any], path: Path, outer: Change | None
) -> Iterator[Row]:
    required = schema.get("required", [])
    for name, field in shape.model_fields.items():
        alias = field.alias or name
        node = schema["properties"][alias]
        here = (*path, alias)
        inner, item = shape_of(field), item_of(field)
        change = change_of(field) or outer
        allowed = "a mapping" if inner is not None else expected_text(node)
        yield Row(
            kind=kind,
            path=path_text(here) + ("[]" if item is not None else ""),
            allowed=allowed,
            default=_default(node, inner, required=alias in required),
            change=change if inner is None or change_of(field) else None,
            meaning=node.get("description", ""),
        )
        if inner is not None:
            yield from _rows(kind, inner, node, here, change_of(field))
        elif item is not None:
            listed = (*here[:-1], f"{alias}[]")
            yield from _item_rows(kind, item, node["items"], listed)


def _item_rows(kind: str, item: type[Shape], schema: dict[str, Any], path: Path) -> Iterator[Row]:
    prefix = path_text(path[:-1]) + "." + str(path[-1])
    for row in _rows(kind, item, schema, (), None):
        yield Row(
            row.kind, f"{prefix}.{row.path}", row.allowed, row.default, row.change, row.meaning
        )


def _default(node: dict[str, Any], inner: type[Shape] | None, *, required: bool) -> str:
    if required:
        return "required"
    if "default" not in node:
        return "none"
    if inner is not None:
        return "of its fields"
    value = node["default"]
    if isinstance(value, bool):
        return "true" if value else "false"
    return "empty" if value in ([], ()) else str(value)


def manifest_page() -> str:
    """The documentation page of all three kinds as Markdown."""
    parts = [INTRODUCTION]
    for kind in KINDS:
        parts.append(f"## {kind.__name__}\n\n{kind.__doc__}\n")
        parts.append(_table(kind))
        rules = list(_rules(kind))
        if rules:
            parts.append("\n".join([RULES_TITLE, "", *rules]) + "\n")
    parts.append(ENDING)
    return "\n".join(parts)


def _table(kind: type[Shape]) -> str:
    lines = ["| field | meaning | allowed | default | change |", "|---|---|---|---|---|"]
    for row in rows(kind):
        change = row.change.value if row.change else ""
        cells = (f"`{row.path}`", row.meaning, row.allowed, row.default, change)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _rules(kind: type[Shape]) -> Iterator[str]:
    waiting: list[tuple[str, type[Shape] | None]] = [("spec", shape_of(kind.model_fields["spec"]))]
    while waiting:
        path, shape = waiting.pop(0)
        if shape is None:
            continue
        yield from (f"- `{path}`: `{rule.cel}` (else: {rule.message})" for rule in shape.RULES)
        for name, field in shape.model_fields.items():
            alias = field.alias or name
            waiting.append((f"{path}.{alias}", shape_of(field)))
            waiting.append((f"{path}.{alias}[]", item_of(field)))
