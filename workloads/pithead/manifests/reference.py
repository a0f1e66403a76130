"""Answers for the field table of the three kinds, and the documentation page made of it.

One walk over the models lists every field of a spec with its bounds, default
and cost of change; the page and the tests both come from that list. Pure: it
returns a text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pithead.manifests.base import API_VERSION, Path, Shape
from pithead.manifests.changes import change_of, item_of, only_grows, runtime_of, shape_of
from pithead.manifests.crds import KINDS, schema_of
from pithead.manifests.errors import path_text
from pithead.manifests.fields import Change, Runtime
from pithead.manifests.validation import expected_text

INTRODUCTION = f"""# Manifests

A pool is described by objects of three kinds, `{API_VERSION}`, and by `v1` Secrets with the
credentials of what it uses. `pithead up -f FILE|DIR` reads them from YAML files; the same files can
be applied to a cluster that has the definitions of `crds/`. Fields that the tables mark with
`cluster` are accepted and ignored by `pithead up`, those with `one machine` by the operator.

- Files end in `.yaml` or `.yml`; a file may hold several documents. Directories are read without
  their subdirectories. Numbers with a point stand in quotes (`"0.01"`), so that nothing is
  rounded on the way, and so does `"Off"`, which YAML would read as `false`.
- Every mistake is reported in one go, each as `file:line: kind/name: spec.path: what is wrong and
  what is allowed`. A field that is not listed here is a mistake, not ignored.
- References name objects of the same namespace.
- The API server applies the same rules, those over several fields as CEL, so that what one object
  shows to be wrong is refused by `kubectl apply`.

## What a change costs

| change | meaning |
|---|---|
| live | No edge restarts; miners notice nothing. |
| rolling | Edges restart one after another; each miner moves once. |
| immutable | Refused: books or log depend on it. Make a new object instead. |

A number that "can be raised" is refused when it is lowered.

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

| field | keys | type |
|---|---|---|
| `CoinEndpoint` `spec.nodes[].credentialsSecretRef` | `username`, `password` | `Opaque` |
| `CoinEndpoint` `spec.wallet.credentialsSecretRef` | `username`, `password` | `Opaque` |
| `MiningPool` `spec.stream.kafka.credentialsSecretRef` | `username`, `password` | `Opaque` |
| `MiningPool` `spec.stream.kafka.tls.caSecretRef` | `ca.crt` | `Opaque` |
| `MiningPool` `spec.regions[].stream`: `relayCredentialsSecretRef` and the two of its `kafka` \
| as above | `Opaque` |
| `MiningPool` `spec.database.adminSecretRef` | `username`, `password` | `Opaque` |
| `MiningPool` `spec.analytics.credentialsSecretRef` | `username`, `password` | `Opaque` |
| `MiningPool` `spec.listeners[].tls.secretRef` | `tls.crt`, `tls.key` | `kubernetes.io/tls` |

All but the last are read in the namespace of the pool, on the hub. Those of nodes and of Kafka are
copied to the regions, to each those of the Kafka that its edges write to; those of wallets, of the
database and of ClickHouse never leave the hub. The last lives in the namespace of the same name in
each region, so that each region has a certificate of its own.
`pithead up` reads those of nodes, as `stringData` or `data`. Values never appear in errors.

## On one machine

`pithead up` adds what one machine needs: all objects in one namespace, one CoinEndpoint a chain,
one active region a pool (those with a `cluster` are not counted and not run), ports that do not
clash, and equal `payouts` in pools that share a CoinEndpoint, since one wallet pays them. The first
of these pools by name bears the network fee of payouts. A listener with `tls` is served without it.

## In a cluster

The operator adds what a cluster needs. An object that breaks one of these is `Stalled`, with a
message that says what to do, and the others go on:

- A pool has `stream.kafka` and `database`. Pools of one namespace share one hub, so theirs are
  equal, and so are `analytics` and `relay`; of two that differ, the younger one is wrong. No two
  namespaces share a database.
- A CoinEndpoint has nodes, and a wallet with a user that no node has: the users of nodes go to
  every region, and what can be taken there must not spend.
- Every Secret on the hub is there with its keys. Addresses are not those of the pod itself.
- A poolId is used once. `<pool>-<region>` is not the same for two pools and regions, and
  `<namespace>.<pool>` has at most 63 characters.
- Equal `payouts` in pools that share a CoinEndpoint, and one CoinEndpoint a chain, as on one
  machine.

`kubectl get mp,ce,rws` shows all three kinds, and so does `kubectl get pithead`; `-o wide` adds the
message of the `Ready` condition. RewardScheme has the short name `rws`, because `rs` is taken by
ReplicaSet.
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
    runtime: Runtime | None = None
    """The only runtime that reads the field; None when both do."""
    grows: bool = False
    """Whether the number can be raised and not lowered."""


def rows(kind: type[Shape], part: str = "spec") -> Iterator[Row]:
    """Every field of a kind's spec, or of its status, in order."""
    shape = shape_of(kind.model_fields[part])
    if shape is None:
        raise TypeError(f"{kind.__name__} has no {part}")
    yield from _rows(kind.__name__, shape, schema_of(shape), (part,), (None, None))


Marks = tuple[Change | None, Runtime | None]
"""Marks that a structure gives to the fields inside it."""


def _rows(
    kind: str, shape: type[Shape], schema: dict[str, Any], path: Path, outer: Marks
) -> Iterator[Row]:
    required = schema.get("required", [])
    for name, field in shape.model_fields.items():
        alias = field.alias or name
        node = schema["properties"][alias]
        here = (*path, alias)
        inner, item = shape_of(field), item_of(field)
        change = change_of(field) or outer[0]
        runtime = runtime_of(field) or outer[1]
        allowed = "a mapping" if inner is not None else expected_text(node)
        yield Row(
            kind=kind,
            path=path_text(here) + ("[]" if item is not None else ""),
            allowed=allowed,
            default=_default(node, inner, required=alias in required),
            change=change if inner is None or change_of(field) else None,
            meaning=node.get("description", ""),
            runtime=runtime,
            grows=only_grows(field),
        )
        if inner is not None:
            yield from _rows(kind, inner, node, here, (change, runtime))
        elif item is not None:
            listed = (*here[:-1], f"{alias}[]")
            prefix = f"{path_text(listed[:-1])}.{listed[-1]}"
            for row in _rows(kind, item, node["items"], (), (None, runtime)):
                yield replace(row, path=f"{prefix}.{row.path}")


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
    return "empty" if value in ([], (), {}, "") else str(value)


def manifest_page() -> str:
    """The documentation page of all three kinds as Markdown."""
    parts = [INTRODUCTION]
    for kind in KINDS:
        parts.append(f"## {kind.__name__}\n\n{kind.__doc__}\n")
        parts.append(_table(kind))
        rules = list(_rules(kind))
        if rules:
            parts.append("\n".join([RULES_TITLE, "", *rules]) + "\n")
        parts.append(_status_table(kind))
    parts.append(ENDING)
    return "\n".join(parts)


def _table(kind: type[Shape]) -> str:
    lines = [
        "| field | meaning | allowed | default | change | read by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(kind):
        change = row.change.value if row.change else ""
        change += ", can be raised" if row.grows else ""
        runtime = row.runtime.value if row.runtime else "both"
        lines.append(_line(f"`{row.path}`", row.meaning, row.allowed, row.default, change, runtime))
    return "\n".join(lines) + "\n"


def _status_table(kind: type[Shape]) -> str:
    lines = ["Status, written by the operator:", "", "| field | meaning |", "|---|---|"]
    lines += [
        _line(f"`{row.path}`", row.meaning)
        for row in rows(kind, "status")
        if "conditions[]." not in row.path
    ]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rules(kind: type[Shape]) -> Iterator[str]:
    waiting: list[tuple[str, type[Shape] | None]] = [("spec", shape_of(kind.model_fields["spec"]))]
    yield from (f"- `{rule.cel}` (else: {rule.message})" for rule in kind.RULES)
    while waiting:
        path, shape = waiting.pop(0)
        if shape is None:
            continue
        yield from (f"- `{path}`: `{rule.cel}` (else: {rule.message})" for rule in shape.RULES)
        for name, field in shape.model_fields.items():
            alias = field.alias or name
            waiting.append((f"{path}.{alias}", shape_of(field)))
            waiting.append((f"{path}.{alias}[]", item_of(field)))
