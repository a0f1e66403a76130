"""The CRDs: unchanged since committed, and structural as apiextensions v1 demands."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pithead.manifests.crds import KINDS, crd, crd_documents
from tests.unit.manifests.test_base import crd_rules

pytestmark = pytest.mark.gate

ROOT = Path(__file__).resolve().parents[3]

TYPES = {"object", "array", "string", "integer", "boolean"}
KEYWORDS = {
    "type", "description", "required", "properties", "items", "enum", "format", "default",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-validations", "additionalProperties", "maxProperties",
}  # fmt: skip
"""What a schema of ours may say; $ref, anyOf, nullable, title and const are not among it."""

CEL_FORMS = (
    r"self == oldSelf",
    r"has\(self\.(\w+)\) == has\(oldSelf\.\1\)",
    (
        r"has\(self\.(\w+)\) == has\(oldSelf\.\1\)"
        r" && \(!has\(self\.\1\) \|\| self\.\1 == oldSelf\.\1\)"
    ),
    (
        r"\(has\(self\.(\w+)\) \? self\.\1\.(\w+) : (\w+)\)"
        r" == \(has\(oldSelf\.\1\) \? oldSelf\.\1\.\2 : \3\)"
    ),
    r"self >= oldSelf",
)


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every node of a schema with its path."""
    found = [(path, schema)]
    for name, inner in schema.get("properties", {}).items():
        found += nodes(inner, f"{path}.{name}")
    for inside in ("items", "additionalProperties"):
        if inside in schema:
            found += nodes(schema[inside], f"{path}[]")
    return found


def schema(kind: type[Any]) -> dict[str, Any]:
    """The schema of a kind as it stands in the written YAML."""
    text = crd_documents()[f"{KINDS[kind]['plural']}.yaml"]
    (version,) = yaml.safe_load(text)["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


ALL = [(kind.__name__, path, node) for kind in KINDS for path, node in nodes(schema(kind))]
OURS = [each for each in ALL if each[1].startswith((".spec", ".status"))]


def test_committed_definitions_are_those_of_the_models() -> None:
    committed = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    assert committed == crd_documents(), "run: pithead crds"


@pytest.mark.parametrize(
    ("kind", "path", "node"), ALL, ids=lambda v: v if isinstance(v, str) else ""
)
def test_node_is_structural(kind: str, path: str, node: dict[str, Any]) -> None:
    assert set(node) <= KEYWORDS
    if node.get("x-kubernetes-int-or-string"):
        assert "type" not in node
    else:
        assert node["type"] in TYPES
    assert set(node.get("required", [])) <= set(node.get("properties", {}))


@pytest.mark.parametrize(
    ("kind", "path", "node"), OURS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_node_is_bounded_and_described(kind: str, path: str, node: dict[str, Any]) -> None:
    assert node.get("description") or path.endswith("[]")
    if node.get("type") == "string":
        assert "enum" in node or (node["maxLength"] and node["pattern"])
    if node.get("type") == "integer":
        assert node["minimum"] < node["maximum"]
        assert (node["format"] == "int32") == (node["maximum"] < 2**31)
        # API servers read bounds as floats.
        assert node["maximum"] <= 2**60
    if node.get("x-kubernetes-int-or-string"):
        assert node["maxLength"]
        assert node["minimum"] < node["maximum"]
        assert node["pattern"]
    if node.get("type") == "object":
        assert node.get("properties") or node["maxProperties"] <= 32
    if node.get("type") == "array":
        assert node["maxItems"] <= (32 if path.startswith(".spec") else 256)
        if node["items"]["type"] == "string":
            assert node["x-kubernetes-list-type"] == "set"
            return
        (key,) = node["x-kubernetes-list-map-keys"]
        assert node["x-kubernetes-list-type"] == "map"
        assert key in node["items"]["required"]
        assert "x-kubernetes-validations" not in node["items"]["properties"][key]


@pytest.mark.parametrize(
    ("kind", "path", "node"),
    [each for each in OURS if "default" in each[2]],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_default_fits_its_own_schema(kind: str, path: str, node: dict[str, Any]) -> None:
    default = node["default"]
    if node.get("type") == "object":
        assert default == {}
        assert not node.get("required"), "an empty default would lack a required field"
    elif node.get("type") == "array":
        assert default == []
        assert not node.get("minItems")
    elif "enum" in node:
        assert default in node["enum"]
    elif node["type"] == "string":
        assert re.fullmatch(node["pattern"], default)
    elif node["type"] == "integer":
        assert node["minimum"] <= default <= node["maximum"]
    else:
        assert isinstance(default, bool)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_rules_name_fields_that_exist(kind: type[Any]) -> None:
    for _, node in nodes(schema(kind)):
        for rule in node.get("x-kubernetes-validations", []):
            assert set(rule) <= {"rule", "message", "fieldPath"}
            assert rule["message"]
            assert "\n" not in rule["message"]
            at = node
            for part in rule.get("fieldPath", "").split(".")[1:]:
                at = at["properties"][part]
            for used in re.findall(r"(?:self|oldSelf)\.(\w+)(?!\()\b", rule["rule"]):
                assert used in node["properties"]


def test_rules_on_changes_have_one_of_five_forms() -> None:
    for kind in KINDS:
        for rule in crd_rules(crd(kind)):
            if "oldSelf" in rule["rule"]:
                assert any(re.fullmatch(form, rule["rule"]) for form in CEL_FORMS)


def test_optional_field_without_default_cannot_be_added_to_dodge_immutability() -> None:
    pool_schema = next(schema(kind) for kind in KINDS if kind.__name__ == "MiningPool")
    rules = [rule["rule"] for rule in pool_schema["properties"]["spec"]["x-kubernetes-validations"]]
    assert any(rule.startswith("has(self.poolId) == has(oldSelf.poolId)") for rule in rules)


@pytest.mark.parametrize(
    ("kind", "short", "columns"),
    [
        (
            "MiningPool",
            "mp",
            ["Coin", "Ready", "Regions", "Connections", "Hashrate", "Reason", "Age"],
        ),
        (
            "CoinEndpoint",
            "ce",
            ["Coin", "Network", "Height", "Synced", "Wallet", "Ready", "Reason", "Age"],
        ),
        ("RewardScheme", "rws", ["Method", "Fee-Percent", "Used-By", "Ready", "Reason", "Age"]),
    ],
)
def test_kubectl_shows_the_kind_by_its_short_name(
    kind: str, short: str, columns: list[str]
) -> None:
    model = next(each for each in KINDS if each.__name__ == kind)
    definition = crd(model)
    names = definition["spec"]["names"]
    (version,) = definition["spec"]["versions"]
    assert definition["metadata"]["name"] == f"{names['plural']}.pithead.dev"
    assert names["shortNames"] == [short]
    assert names["categories"] == ["pithead"]
    assert version["subresources"] == {"status": {}}
    given = version["additionalPrinterColumns"]
    assert [column["name"] for column in given if not column.get("priority")] == columns
    properties = schema(model)["properties"]
    for column in given:
        if column["name"] == "Age":
            continue
        assert "[*]" not in column["jsonPath"], "kubectl shows only the first of a list"
        at = {"properties": properties}
        for part in re.findall(r"\.(\w+)", re.sub(r"\[.*?\]", "", column["jsonPath"])):
            at = at.get("items", at)["properties"][part]
