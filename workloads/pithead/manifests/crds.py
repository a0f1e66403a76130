"""Answers for the CustomResourceDefinitions: the models as the API server wants them.

A structural schema has a type at every node, no references and no nullable
unions, so pydantic's JSON schema is unfolded here, and what it cannot say is
added: keyed lists, defaults of whole structures, and the CEL rules, which come
from the same `Rule` and `Change` objects that Python enforces. Pure: it returns
texts, and the `pithead crds` command writes them.
"""

import inspect
from typing import Any

import yaml

from pithead.manifests.base import GROUP, VERSION, Shape
from pithead.manifests.changes import change_of, has_marks, item_of, only_grows, shape_of
from pithead.manifests.conditions import READY, SYNCED, WALLET_READY
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.fields import ALLOWED, Change
from pithead.manifests.pool import MiningPool
from pithead.manifests.scheme import RewardScheme

INT32_MAX = 2**31 - 1


def _column(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "string", "jsonPath": path, **more}


def _condition(name: str, type: str, field: str = "status", **more: Any) -> dict[str, Any]:
    return _column(name, f'.status.conditions[?(@.type=="{type}")].{field}', **more)


_READY = _condition("Ready", READY)
_REASON = _condition("Reason", READY, "reason")
_MESSAGE = _condition("Message", READY, "message", priority=1)
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}

# kubectl shows one value a column, so lists have a text or a number of their own in the status.
KINDS: dict[type[Shape], dict[str, Any]] = {
    MiningPool: {
        "plural": "miningpools",
        "short": "mp",
        "columns": [
            _column("Coin", ".spec.coinEndpointRef.name"),
            _READY,
            _column("Regions", ".status.regionsReady"),
            _column("Connections", ".status.connections", type="integer"),
            _column("Hashrate", ".status.hashrate"),
            _REASON,
            _AGE,
            _column("Pool-Id", ".status.poolId", priority=1),
            _column("Threshold", ".spec.payouts.threshold", priority=1),
            _MESSAGE,
        ],
    },
    CoinEndpoint: {
        "plural": "coinendpoints",
        "short": "ce",
        "columns": [
            _column("Coin", ".spec.coin"),
            _column("Network", ".spec.network"),
            _column("Height", ".status.height", type="integer"),
            _condition("Synced", SYNCED),
            _condition("Wallet", WALLET_READY),
            _READY,
            _REASON,
            _AGE,
            _column("Nodes", ".status.nodesReachable", priority=1),
            _MESSAGE,
        ],
    },
    RewardScheme: {
        "plural": "rewardschemes",
        "short": "rws",
        "columns": [
            _column("Method", ".spec.method"),
            _column("Fee-Percent", ".spec.feePercent"),
            _column("Used-By", ".status.users"),
            _READY,
            _REASON,
            _AGE,
            _column("Revision", ".status.revision", priority=1),
            _MESSAGE,
        ],
    },
}


def crd_documents() -> dict[str, str]:
    """The CustomResourceDefinition of each kind as YAML, by file name."""
    return {f"{facts['plural']}.yaml": _yaml(crd(kind)) for kind, facts in KINDS.items()}


def crd(kind: type[Shape]) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind as a plain object."""
    facts = KINDS[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{facts['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.__name__,
                "listKind": f"{kind.__name__}List",
                "plural": facts["plural"],
                "singular": kind.__name__.lower(),
                "shortNames": [facts["short"]],
                "categories": ["pithead"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": facts["columns"],
                    "schema": {"openAPIV3Schema": _without_phrases(_root(kind))},
                }
            ],
        },
    }


def _root(kind: type[Shape]) -> dict[str, Any]:
    schema = schema_of(kind)
    name = schema["properties"]["metadata"]["properties"]["name"]
    properties = dict(schema["properties"])
    # The API server owns these three; a schema may narrow nothing of them but the name.
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {
        "type": "object",
        "properties": {
            "name": {key: name[key] for key in ("type", "maxLength", "pattern")},
        },
    }
    return schema | {"required": ["spec"], "properties": properties}


def schema_of(shape: type[Shape]) -> dict[str, Any]:
    """The structural schema of a structure, with the phrases that errors are made of."""
    document = shape.model_json_schema(by_alias=True)
    definitions = document.pop("$defs", {})
    return _object(shape, document, definitions)


def _object(shape: type[Shape], raw: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    rules = [
        {"rule": rule.cel, "message": rule.message}
        | ({"fieldPath": f".{rule.field}"} if rule.field else {})
        for rule in shape.RULES
    ]
    required = raw.get("required", [])
    for name, field in shape.model_fields.items():
        alias = field.alias or name
        node = _node(raw["properties"][alias], field, definitions)
        inner = shape_of(field)
        if isinstance(field.default_factory, type) and issubclass(field.default_factory, Shape):
            node["default"] = {}
        always = alias in required or "default" in node
        if inner is not None and change_of(field) is None and not always:
            rules += _rules_of_absent(alias, node)
        if only_grows(field):
            node["x-kubernetes-validations"] = [
                {"rule": "self >= oldSelf", "message": f"{alias} can be raised, not lowered"}
            ]
        if change_of(field) is Change.IMMUTABLE and name != shape.LIST_KEY:
            if always:
                node["x-kubernetes-validations"] = [
                    {"rule": "self == oldSelf", "message": f"{alias} is immutable"}
                ]
            else:
                rules.append(_rule_of_optional(alias, inner))
        properties[alias] = node
    schema: dict[str, Any] = {"type": "object", "description": inspect.getdoc(shape) or ""}
    if required:
        schema["required"] = required
    schema["properties"] = properties
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def _rule_of_optional(alias: str, inner: type[Shape] | None) -> dict[str, str]:
    """Keep an immutable field as it is, or as absent as it is.

    A structure whose fields have marks of their own is kept in being only.
    """
    rule = f"has(self.{alias}) == has(oldSelf.{alias})"
    if inner is None or not has_marks(inner):
        rule += f" && (!has(self.{alias}) || self.{alias} == oldSelf.{alias})"
    return {"rule": rule, "message": f"{alias} is immutable", "fieldPath": f".{alias}"}


def _rules_of_absent(alias: str, node: dict[str, Any]) -> list[dict[str, str]]:
    """Move the rules of immutable fields out of a structure that may be absent.

    An absent structure stands for its defaults, and inside it the API server compares nothing
    while it comes or goes.
    """
    rules = []
    for name, inner in node["properties"].items():
        if inner.pop("x-kubernetes-validations", None) is None:
            continue
        new, old = (
            f"(has({each}.{alias}) ? {each}.{alias}.{name} : {inner['default']})"
            for each in ("self", "oldSelf")
        )
        message = f"{name} is immutable"
        rules.append({"rule": f"{new} == {old}", "message": message, "fieldPath": f".{alias}"})
    return rules


def _node(raw: dict[str, Any], field: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """One field's schema: optional unions folded, references unfolded, bounds kept."""
    flat = dict(raw)
    if "anyOf" in flat:
        branches = [each for each in flat.pop("anyOf") if each != {"type": "null"}]
        if len(branches) != 1:
            raise TypeError(f"a union has no structural form: {raw}")
        flat = branches[0] | flat
    description = " ".join(flat.pop("description", "").split())
    flat.pop("title", None)
    shape, item = shape_of(field), item_of(field)
    if shape is not None:
        flat = _object(shape, definitions[flat["$ref"].rpartition("/")[2]], definitions)
    elif item is not None:
        raw_item = definitions[flat["items"]["$ref"].rpartition("/")[2]]
        flat["items"] = _object(item, raw_item, definitions)
        flat |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [item.LIST_KEY]}
    elif flat.get("type") == "array":
        flat["x-kubernetes-list-type"] = "set"
    if "const" in flat:
        flat["enum"] = [flat.pop("const")]
    if flat.get("type") == "integer":
        flat["format"] = "int32" if flat.get("maximum", INT32_MAX + 1) <= INT32_MAX else "int64"
    if flat.get("default", ...) is None:
        del flat["default"]
    if description:
        flat = {"description": description} | {k: v for k, v in flat.items() if k != "description"}
    return flat


def _without_phrases(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_phrases(value) for key, value in node.items() if key != ALLOWED}
    if isinstance(node, list | tuple):
        return [_without_phrases(value) for value in node]
    return node


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
